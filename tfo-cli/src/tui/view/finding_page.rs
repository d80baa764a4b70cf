//! The page of a finding: what is wrong, the evidence for it, what it costs, and what mends it.

use ratatui::text::{Line, Span};

use super::findings::severity;
use crate::{
    model::diagnosis::{Finding, Id, Subject},
    output::{clean, diagnosis},
    tui::{Permission, command::Command, state::State},
};

/// Columns for the headings on the left.
const HEADING: usize = 11;

/// The lines of the page.
pub fn lines(state: &State, id: Id, subject: &Subject, width: u16) -> Vec<Line<'static>> {
    match state.finding(id, subject) {
        Some(finding) => of(state, finding, width),
        None => vec!["this finding is not there any more; Esc goes back".into()],
    }
}

/// The lines about a finding; the page of a destination has them, too.
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
        // The user copies a command from the screen, so it is broken only at blanks.
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

/// The key that adds the rule of the fix, where that is a rule and keys may change the policy.
fn hint(state: &State, finding: &Finding) -> Option<String> {
    let is_rule = finding.fix.as_ref().is_some_and(|fix| fix.is_rule);
    let key = state.keys.first(Command::AddRule)?;
    (is_rule && state.permission == Permission::Allowed)
        .then(|| format!("{key} adds this rule, after showing what it would change"))
}
