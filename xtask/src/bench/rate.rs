//! Rates in alternating rounds: connections per second with nothing, with ours and with theirs attached.

use std::time::Duration;

use anyhow::Result;

use super::load::{Kind, Load};
use super::observer::{Observer, Tool};
use crate::interrupt;

/// Each round measures all three close together in time: the machine's own speed drifts.
const CONTESTANTS: [Option<Tool>; 3] = [None, Some(Tool::Top), Some(Tool::Tcplife)];

/// Medians over the rounds, per contestant in their order; the first is what the others are compared with.
#[derive(Debug)]
pub struct Rates {
    /// Per second.
    pub per_second: Vec<f64>,
    /// Of what the first one did in the same round.
    pub ratios: Vec<f64>,
}

/// Connections per second with nothing, `top` and `tcplife` attached.
pub fn measure(rounds: u32, seconds: u32) -> Result<Rates> {
    let names = CONTESTANTS.map(|tool| tool.map_or("none", Tool::name));
    alternate(&names, rounds, |index| with(CONTESTANTS[index], seconds))
}

/// Measures contestants in alternating rounds.
pub fn alternate(names: &[&str], rounds: u32, measure: impl Fn(usize) -> Result<f64>) -> Result<Rates> {
    let mut columns = vec![Vec::new(); names.len()];
    for round in 0..rounds {
        // Every other round backwards, so that being first or last favours nobody.
        let mut order: Vec<_> = columns.iter_mut().enumerate().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (index, column) in order {
            column.push(measure(index)?);
        }
        let shown: Vec<_> = names
            .iter()
            .zip(&columns)
            .map(|(name, column)| format!("{name} {:.0}/s", column[column.len() - 1]))
            .collect();
        println!("    round {}: {}", round + 1, shown.join(", "));
    }
    let base = columns.first().cloned().unwrap_or_default();
    Ok(Rates {
        ratios: columns
            .iter()
            .map(|column| median(&mut ratios(column, &base)))
            .collect(),
        per_second: columns.iter_mut().map(|column| median(column)).collect(),
    })
}

fn with(tool: Option<Tool>, seconds: u32) -> Result<f64> {
    let observer = tool.map(Observer::start).transpose()?;
    let rate = Load::run(Kind::Tfo, seconds)?.per_second();
    if let Some(observer) = observer {
        observer.stop()?;
        // Detaching frees programs in the background.
        interrupt::sleep(Duration::from_millis(300))?;
    }
    Ok(rate)
}

/// Each value as a part of the base measured in the same round.
pub fn ratios(values: &[f64], bases: &[f64]) -> Vec<f64> {
    values
        .iter()
        .zip(bases)
        .map(|(value, base)| value / base)
        .collect()
}

/// The middle value, 0 of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let median_of = |values: &[f64]| median(&mut values.to_vec()).to_string();
        assert_eq!(median_of(&[3.0, 1.0, 2.0]), "2");
        assert_eq!(median_of(&[4.0, 1.0, 2.0, 3.0]), "2.5");
        assert_eq!(median_of(&[]), "0");
    }

    #[test]
    fn one_slow_round_does_not_decide() {
        let mut pairs = ratios(&[98.0, 10.0, 99.0], &[100.0, 100.0, 100.0]);
        assert!((median(&mut pairs) - 0.98).abs() < 1e-9);
    }
}
