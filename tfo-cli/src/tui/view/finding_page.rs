//! A finding: what is the matter, by which evidence, at what price, and what mends it.

use ratatui::text::{Line, Span};

use super::findings::severity;
use crate::{
    model::diagnosis::{Finding, Id, Subject},
    output::{clean, diagnosis},
    tui::{Permission, command::Command, state::State},
};

/// Room for the headings.
const HEADING: usize = 11;

/// All of it, as text.
pub fn lines(state: &State, id: Id, subject: &Subject, width: u16) -> Vec<Line<'static>> {
    match state.finding(id, subject) {
        Some(finding) => of(state, finding, width),
        None => vec!["this finding is not there any more; Esc goes back".into()],
    }
}

/// The lines of a finding.
pub fn of(state: &State, finding: &Finding, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(vec![
        Span::styled(
            format!(" {} ", finding.severity.name()),
            severity(state, finding.severity),
        ),
        Span::raw(" "),
        Span::styled(finding.id.name(), state.theme.accent),
        Span::raw(format!(
            "  {}  {}",
            diagnosis::place(finding),
            diagnosis::service(finding, &state.snapshot)
        )),
    ])];
    lines.extend(super::wrapped(&clean(&finding.sentence), width));
    let room = width.saturating_sub(u16::try_from(HEADING).unwrap_or(0));
    for (heading, text) in diagnosis::details(finding, &state.snapshot) {
        // A command is copied from the screen: it is cut nowhere but at blanks.
        for (place, line) in super::wrapped(&text, room).into_iter().enumerate() {
            let heading = if place == 0 { heading } else { "" };
            let style = if heading == "fix" || place > 0 && finding.command() == Some(text.as_str()) {
                state.theme.strong
            } else {
                ratatui::style::Style::new()
            };
            let mut spans = vec![Span::styled(format!("{heading:<HEADING$}"), state.theme.dim)];
            spans.extend(line.spans.into_iter().map(|span| span.patch_style(style)));
            lines.push(Line::from(spans));
        }
    }
    if let Some(hint) = hint(state, finding) {
        lines.push(Line::from(Span::styled(hint, state.theme.accent)));
    }
    lines
}

/// Which key makes the rule.
fn hint(state: &State, finding: &Finding) -> Option<String> {
    let is_rule = finding.fix.as_ref().is_some_and(|fix| fix.is_rule);
    let key = state.keys.first(Command::AddRule)?;
    (is_rule && state.permission == Permission::Allowed)
        .then(|| format!("{key} adds this rule, after showing what it would change"))
}
