//! Connections per second with nothing, with ours and with theirs attached, in alternating rounds.

use std::time::Duration;

use anyhow::Result;

use super::load::{Kind, Load};
use super::observer::{Observer, Tool};
use crate::interrupt;

/// Each round measures all three close together in time: the machine's own speed drifts.
const CONTESTANTS: [Option<Tool>; 3] = [None, Some(Tool::Top), Some(Tool::Tcplife)];

/// Medians over the rounds.
#[derive(Debug)]
pub struct Rates {
    /// Connections per second, in the order none, `top`, `tcplife`.
    pub per_second: [f64; 3],
    /// Of the rate without anything attached in the same round.
    pub top_ratio: f64,
    pub tcplife_ratio: f64,
}

pub fn measure(rounds: u32, seconds: u32) -> Result<Rates> {
    let mut columns: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        // Every other round backwards, so that being first or last favours nobody.
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        for contestant in order {
            let rate = with(CONTESTANTS[contestant], seconds)?;
            columns[contestant].push(rate);
        }
        let last = |column: &Vec<f64>| column.last().copied().unwrap_or_default();
        println!(
            "    round {}: none {:.0}/s, tfo-cli top {:.0}/s, tcplife {:.0}/s",
            round + 1,
            last(&columns[0]),
            last(&columns[1]),
            last(&columns[2])
        );
    }
    let [none, top, tcplife] = &mut columns;
    Ok(Rates {
        top_ratio: median(&mut ratios(top, none)),
        tcplife_ratio: median(&mut ratios(tcplife, none)),
        per_second: [median(none), median(top), median(tcplife)],
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
