//! Measured values against the budgets: the table on the terminal. [`document`] makes the page of it. It judges in words and never by exit code: a
//! number from a busy machine is a reason to look, not to fail.

pub mod chart;
pub mod document;

use super::rate::median;

/// Rows that belong together.
#[derive(Debug, Clone)]
pub struct Section {
    pub title: &'static str,
    /// What was done, in plain sentences.
    pub about: String,
    pub rows: Vec<Row>,
    /// Rows with this unit are drawn as bars.
    pub drawn: Option<&'static str>,
    /// What the section cannot say, by name: a tool that does not run here.
    pub missing: Vec<String>,
}

impl Section {
    pub fn new(title: &'static str, about: impl Into<String>) -> Self {
        Self {
            title,
            about: about.into(),
            rows: Vec::new(),
            drawn: None,
            missing: Vec::new(),
        }
    }

    pub fn drawn(mut self, unit: &'static str) -> Self {
        self.drawn = Some(unit);
        self
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }
}

/// Which side of the budget is good.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
    /// Shown for comparison.
    None,
}

/// One measured value: the median of its samples.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub samples: Vec<f64>,
    pub unit: &'static str,
    pub budget: Budget,
}

impl Row {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str, budget: Budget) -> Self {
        Self::of(what, vec![value], unit, budget)
    }

    pub fn of(what: impl Into<String>, samples: Vec<f64>, unit: &'static str, budget: Budget) -> Self {
        Self {
            what: what.into(),
            samples,
            unit,
            budget,
        }
    }

    pub fn value(&self) -> f64 {
        median(&self.samples)
    }

    fn cells(&self) -> [String; 5] {
        let (budget, ratio, verdict) = match self.budget {
            Budget::None => (String::new(), String::new(), ""),
            // Nothing lost is a budget without a ratio.
            Budget::AtMost(limit) => (
                format!("<= {limit}"),
                ratio(self.value(), limit),
                ok(self.value() <= limit),
            ),
            Budget::AtLeast(limit) => (
                format!(">= {limit}"),
                ratio(self.value(), limit),
                ok(self.value() >= limit),
            ),
        };
        [
            self.what.clone(),
            format!("{} {}", number(self.value()), self.unit),
            budget,
            ratio,
            verdict.to_owned(),
        ]
    }
}

/// The rows as aligned text.
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let heads = ["what", "measured", "budget", "of budget", ""].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heads)
        .chain(rows.into_iter().map(Row::cells))
        .collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|cells| cells[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    lines
        .iter()
        .map(|[what, measured, budget, ratio, verdict]| {
            let [a, b, c, d, _] = widths;
            format!("{what:<a$}  {measured:>b$}  {budget:>c$}  {ratio:>d$}  {verdict}")
                .trim_end()
                .to_owned()
                + "\n"
        })
        .collect()
}

fn ok(good: bool) -> &'static str {
    if good { "ok" } else { "over" }
}

fn ratio(value: f64, limit: f64) -> String {
    if limit == 0.0 {
        String::new()
    } else {
        format!("{:.2}", value / limit)
    }
}

/// Three or more significant digits, no exponent.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || value == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_both_kinds_of_budget() {
        let text = table(&[
            Row::new("run time", 2.5, "us", Budget::AtMost(4.0)),
            Row::new("rate", 0.95, "of none", Budget::AtLeast(0.97)),
            Row::new("tcplife", 32.8, "us", Budget::None),
            Row::new("lost", 0.0, "events", Budget::AtMost(0.0)),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].contains("<= 4") && lines[1].contains("0.6") && lines[1].ends_with("ok"),
            "{text}"
        );
        assert!(lines[2].ends_with("over"), "{text}");
        assert!(lines[3].ends_with("32.8 us"), "{text}");
        assert!(
            lines[4].ends_with("ok") && lines[4].contains("0 events"),
            "{text}"
        );
    }

    #[test]
    fn numbers_keep_their_leading_digits() {
        assert_eq!(
            [12345.6, 45.67, 4.567, 0.0456, 0.0].map(number),
            ["12346", "45.7", "4.57", "0.046", "0"]
        );
    }
}
