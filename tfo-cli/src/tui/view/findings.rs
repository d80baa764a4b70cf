//! The table of findings, worst first.

use ratatui::{style::Style, text::Span};

use super::grid::{self, Cell, ListColumn, TableColumn};
use crate::{
    model::diagnosis::{Finding, Severity},
    output::{clean, diagnosis, number},
    tui::state::State,
};

/// The columns of the table.
const COLUMNS: [ListColumn; 7] = [
    ListColumn::text("severity", "", 4),
    ListColumn::text("diagnosis", "DIAGNOSIS", 19),
    ListColumn::text("where", "WHERE", 15),
    ListColumn::text("service", "SERVICE", 12).hidden(2),
    ListColumn::number("cost", "COST/H", 8).hidden(1),
    ListColumn::text("confidence", "SURE", 6).hidden(3),
    ListColumn::text("what", "WHAT", 20).hidden(4),
];

/// The columns, as wide as this state needs them.
pub fn columns(state: &State) -> Vec<TableColumn> {
    let widest = |text: &dyn Fn(&Finding) -> usize| {
        let all = state.snapshot.diagnosis.findings.iter().map(text);
        u16::try_from(all.max().unwrap_or(0)).unwrap_or(u16::MAX)
    };
    let length = |text: String| text.chars().count();
    grid::list_columns(&COLUMNS, |name, least| match name {
        "diagnosis" => least..=widest(&|one| one.id.name().len()).max(least),
        "where" => {
            let width = widest(&|one| length(diagnosis::place(one))).clamp(least, 50);
            width..=width
        }
        "service" => least..=widest(&|one| length(diagnosis::service(one, &state.snapshot))).clamp(least, 40),
        "what" => least..=widest(&|one| length(one.sentence.clone())).max(least),
        _ => least..=least,
    })
}

/// The cell of a finding in the column of this id.
pub fn cell(state: &State, index: u32, id: usize) -> Cell {
    let Some(finding) = state.snapshot.diagnosis.findings.get(index as usize) else {
        return Cell::default();
    };
    let text = match COLUMNS[id].name {
        "severity" => finding.severity.name().to_owned(),
        "diagnosis" => finding.id.name().to_owned(),
        "where" => diagnosis::place(finding),
        "service" => diagnosis::service(finding, &state.snapshot),
        "cost" => match finding.cost.and_then(|cost| cost.per_hour_us) {
            Some(us) => number::duration(us),
            None => "-".to_owned(),
        },
        "confidence" => finding.confidence.name().to_owned(),
        _ => clean(&finding.sentence),
    };
    let style = match COLUMNS[id].name {
        "severity" => severity(state, finding.severity),
        _ => Style::new(),
    };
    Span::styled(text, style)
}

/// The style of a severity.
pub fn severity(state: &State, severity: Severity) -> Style {
    match severity {
        Severity::Fail => state.theme.alert,
        Severity::Warn => state.theme.strong,
        Severity::Info => state.theme.dim,
    }
}
