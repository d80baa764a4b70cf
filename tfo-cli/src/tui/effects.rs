//! Does what the state asked for: the only place of the dashboard, besides the terminal, with I/O.

use std::sync::Arc;

use tfo_common::DestKey;

use super::{
    Enforcer, ModelHandle,
    action::{Action, Format},
    policy::Answer,
    state::{Page, State, View},
    terminal::{self, Screen},
    update::{self, Effect},
    view::grid,
};
use crate::{
    model::diagnosis::{self, Facts},
    output::{
        export,
        report::{self, Origin, Report},
        time,
    },
    resolver::{Lookups, Resolver},
};

/// What effects need.
pub struct Effects<'a> {
    handle: &'a dyn ModelHandle,
    /// Where keys may change the policy.
    enforcer: Option<&'a dyn Enforcer>,
    /// The destination the handle knows to be open.
    open: Option<DestKey>,
    /// Started with the first name that is wanted.
    lookups: Option<Lookups>,
}

impl<'a> Effects<'a> {
    /// Effects on this handle, and on the policy where they are allowed.
    pub fn new(handle: &'a dyn ModelHandle, enforcer: Option<&'a dyn Enforcer>) -> Self {
        Self {
            handle,
            enforcer,
            open: None,
            lookups: None,
        }
    }

    /// What came back meanwhile.
    pub fn finished(&self) -> Vec<Action> {
        let names = self.lookups.iter().flat_map(Lookups::found);
        let mut actions: Vec<Action> = names.map(|(ip, name)| Action::Resolved(ip, name)).collect();
        if let Some(answer) = self.enforcer.and_then(Enforcer::finished) {
            if let Answer::Changed(_) = answer {
                self.handle.look_at(self.open);
            }
            actions.push(Action::Policy(answer));
        }
        actions
    }

    /// Tells the handle when another destination is open.
    pub fn follow(&mut self, state: &State) {
        let open = match state.page {
            Some(Page::Destination(key)) => Some(key),
            _ => None,
        };
        if open != self.open {
            self.open = open;
            self.handle.look_at(open);
        }
    }

    /// Applies them; true when it is time to leave.
    pub fn apply(
        &mut self,
        effects: Vec<Effect>,
        state: &mut State,
        screen: &mut Screen,
    ) -> anyhow::Result<bool> {
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::Redraw => screen.clear()?,
                Effect::Suspend => screen.suspend()?,
                Effect::Clear => self.handle.clear(),
                Effect::Copy(text) => {
                    terminal::copy(&text)?;
                    let message = format!("copied {} characters", text.chars().count());
                    update::update(state, Action::Message(message));
                }
                Effect::Export(format) => {
                    let message = match write(state, format) {
                        Ok(path) => format!("written to {path}"),
                        Err(error) => format!("not exported: {error:#}"),
                    };
                    update::update(state, Action::Message(message));
                }
                Effect::Report => {
                    let message = match report(state) {
                        Ok(path) => format!("written to {path}"),
                        Err(error) => format!("no report: {error:#}"),
                    };
                    update::update(state, Action::Message(message));
                }
                Effect::Policy(job) => {
                    if let Some(enforcer) = self.enforcer {
                        enforcer.begin(job);
                    }
                }
                Effect::Resolve(wanted) => {
                    let lookups = match &mut self.lookups {
                        Some(lookups) => lookups,
                        none => none.insert(Lookups::start(Resolver::of_the_system())?),
                    };
                    for ip in wanted {
                        lookups.ask(ip);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// The report of what is on the screen, of the past as well; returns where it is.
fn report(state: &State) -> anyhow::Result<String> {
    let mut snapshot = state.snapshot.clone();
    snapshot.diagnosis = Arc::new(diagnosis::diagnose(&Facts::new(&snapshot)));
    let origin = Origin {
        what: "the dashboard, as it was on the screen".to_owned(),
        command: "tfo-cli top".to_owned(),
        sha256: None,
        remarks: state
            .status
            .iter()
            .map(|remark| remark.trim().to_owned())
            .collect(),
    };
    let report = Report::new(&snapshot, &state.history, state.back, &origin);
    let stamp = time::compact(snapshot.wall_ns(snapshot.at_ns));
    let path = std::env::current_dir()?.join(format!("tfo-report-{stamp}.html"));
    export::new_file(&path, |out| report.write(report::Format::Html, out))?;
    Ok(path.display().to_string())
}

fn write(state: &State, format: Format) -> anyhow::Result<String> {
    let (names, rows) = match state.view {
        View::Host => (
            vec!["text"],
            super::view::text_of_cursor(state)
                .into_iter()
                .map(|text| vec![text])
                .collect(),
        ),
        _ => grid::contents(state),
    };
    let (extension, format) = match format {
        Format::Markdown => ("md", export::Format::Markdown),
        Format::Csv => ("csv", export::Format::Csv),
        Format::Json => ("json", export::Format::Json),
    };
    let view = View::ALL[state.view as usize].1.to_lowercase();
    let stamp = time::compact(state.snapshot.wall_ns(state.snapshot.at_ns));
    let name = format!("tfo-{view}-{stamp}.{extension}");
    export::to_file(&name, &state.snapshot, &export::Table { names, rows }, format)
}
