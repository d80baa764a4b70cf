//! The table of measured values against the budgets. It judges in words and never by exit code: a
//! number from a busy machine is a reason to look, not to fail.

/// Which side of the budget is good.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
    /// Shown for comparison.
    None,
}

/// One measured value.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub budget: Budget,
}

impl Row {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str, budget: Budget) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            budget,
        }
    }

    fn cells(&self) -> [String; 5] {
        let (budget, ratio, verdict) = match self.budget {
            Budget::None => (String::new(), String::new(), ""),
            // Nothing lost is a budget without a ratio.
            Budget::AtMost(limit) => (
                format!("<= {limit}"),
                ratio(self.value, limit),
                ok(self.value <= limit),
            ),
            Budget::AtLeast(limit) => (
                format!(">= {limit}"),
                ratio(self.value, limit),
                ok(self.value >= limit),
            ),
        };
        [
            self.what.clone(),
            format!("{} {}", number(self.value), self.unit),
            budget,
            ratio,
            verdict.to_owned(),
        ]
    }
}

/// The rows as aligned text.
pub fn table(rows: &[Row]) -> String {
    let heads = ["what", "measured", "budget", "of budget", ""].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heads)
        .chain(rows.iter().map(Row::cells))
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
fn number(value: f64) -> String {
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
