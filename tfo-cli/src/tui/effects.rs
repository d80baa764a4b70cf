//! Carries out the effects that `update` returns. Besides `terminal`, no other part of the dashboard does I/O.

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

/// What effects are carried out with.
pub struct Effects<'a> {
    handle: &'a dyn ModelHandle,
    /// Plans and changes rules; `None` when keys may not change the policy.
    enforcer: Option<&'a dyn Enforcer>,
    /// The destination that the handle was told last.
    open: Option<DestKey>,
    /// Looks host names up; started with the first address.
    lookups: Option<Lookups>,
}

impl<'a> Effects<'a> {
    /// Carries out effects on this model, and on the policy where there is an enforcer.
    pub fn new(handle: &'a dyn ModelHandle, enforcer: Option<&'a dyn Enforcer>) -> Self {
        Self {
            handle,
            enforcer,
            open: None,
            lookups: None,
        }
    }

    /// The host names and answers about the policy that have arrived since the last call.
    pub fn finished(&self) -> Vec<Action> {
        let names = self.lookups.iter().flat_map(Lookups::found);
        let mut actions: Vec<Action> = names.map(|(ip, name)| Action::Resolved(ip, name)).collect();
        if let Some(answer) = self.enforcer.and_then(Enforcer::finished) {
            if let Answer::Changed(_) = answer {
                self.handle.set_open_destination(self.open);
            }
            actions.push(Action::Policy(answer));
        }
        actions
    }

    /// Tells the handle when another destination has its page open, or none.
    pub fn report_open_destination(&mut self, state: &State) {
        let open = match state.page {
            Some(Page::Destination(key)) => Some(key),
            _ => None,
        };
        if open != self.open {
            self.open = open;
            self.handle.set_open_destination(open);
        }
    }

    /// Carries the effects out, in order; true when one of them is to quit.
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
                Effect::Resolve(addresses) => {
                    let lookups = match &mut self.lookups {
                        Some(lookups) => lookups,
                        none => none.insert(Lookups::start(Resolver::of_the_system())?),
                    };
                    for ip in addresses {
                        lookups.ask(ip);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Writes the report of the instant that is shown, which may be a past one; returns the path of the file.
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
    let report = Report::new(&snapshot, &state.history, state.readings_back, &origin);
    let stamp = time::compact(snapshot.wall_ns(snapshot.at_ns));
    let path = std::env::current_dir()?.join(format!("tfo-report-{stamp}.html"));
    export::new_file(&path, |out| report.write(report::Format::Html, out))?;
    Ok(path.display().to_string())
}

/// Writes the table of the view into a new file of the current directory; returns the path of the file.
fn write(state: &State, format: Format) -> anyhow::Result<String> {
    let table = match state.view {
        View::Host => export::Table {
            names: vec!["text"],
            rows: super::view::selected_text(state)
                .into_iter()
                .map(|text| vec![text])
                .collect(),
        },
        _ => grid::contents(state),
    };
    let (extension, format) = match format {
        Format::Markdown => ("md", export::Format::Markdown),
        Format::Csv => ("csv", export::Format::Csv),
        Format::Json => ("json", export::Format::Json),
    };
    let view = state.view.title().to_lowercase();
    let stamp = time::compact(state.snapshot.wall_ns(state.snapshot.at_ns));
    let name = format!("tfo-{view}-{stamp}.{extension}");
    export::to_file(&name, &state.snapshot, &table, format)
}
