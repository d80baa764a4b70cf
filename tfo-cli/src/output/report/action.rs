//! What to do now: the fixes, worst finding first. Findings that the same fix mends are named together.

use super::super::{clean, diagnosis};
use crate::model::diagnosis::{CostKind, Finding, Fix};

/// How a fix says that nothing has to be taken back.
const NO_UNDO: &str = "none needed: ";

/// Something to do.
#[derive(Clone, Debug)]
pub struct Action {
    /// Numbers of the findings it mends, with what each is and where.
    pub findings: Vec<(usize, String)>,
    /// Severity of the worst of them, and what it costs.
    pub weight: String,
    /// What to type; nothing where it cannot be typed.
    pub command: Option<String>,
    /// What that does, or what to do instead, in whole sentences.
    pub what: String,
    /// How to take it back, in whole sentences; may be empty.
    pub undo: String,
}

/// Those of findings in this order.
pub fn all<'a>(findings: impl Iterator<Item = (usize, &'a Finding)>) -> Vec<Action> {
    let mut actions: Vec<(Action, &Fix)> = Vec::new();
    for (number, finding) in findings {
        let Some(fix) = finding.fix.as_ref().filter(|_| !finding.is_over) else {
            continue;
        };
        let name = clean(&format!("{} at {}", finding.id.name(), diagnosis::place(finding)));
        match actions.iter_mut().find(|(_, known)| *known == fix) {
            Some((action, _)) => action.findings.push((number, name)),
            None => actions.push((
                Action {
                    findings: vec![(number, name)],
                    weight: weight(finding),
                    command: fix.command.as_deref().map(clean),
                    what: sentence(&clean(&fix.what)),
                    undo: undo(&clean(&fix.undo)),
                },
                fix,
            )),
        }
    }
    actions.into_iter().map(|(action, _)| action).collect()
}

/// `fail, 1.01s lost by each connection`.
fn weight(finding: &Finding) -> String {
    let severity = finding.severity.name();
    let Some(cost) = &finding.cost else {
        return severity.to_owned();
    };
    let each = super::super::number::duration(cost.per_connection_us);
    match cost.kind {
        CostKind::Lost => format!("{severity}, {each} lost by each connection"),
        CostKind::NotSaved => format!("{severity}, {each} not saved by each connection"),
    }
}

fn undo(text: &str) -> String {
    match text.strip_prefix(NO_UNDO) {
        _ if text.is_empty() => String::new(),
        Some(why) => format!("There is nothing to take back: {}.", why.trim_end_matches('.')),
        None => format!("To take it back: {}.", text.trim_end_matches('.')),
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}
