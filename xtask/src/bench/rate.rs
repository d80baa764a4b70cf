//! Rates in alternating rounds: connections per second with nothing, with ours and with others attached.

use std::cell::Cell;

use anyhow::Result;

use super::empty::Idle;
use super::load::Shape;
use super::watcher::Watcher;

/// Who is compared in [`connections`].
#[derive(Debug, Clone)]
pub struct Contestant {
    pub name: &'static str,
    pub watcher: Watcher,
    /// A tool that has to run in the load's network namespace.
    pub beside: Option<&'static str>,
}

impl From<Watcher> for Contestant {
    fn from(watcher: Watcher) -> Self {
        Self {
            name: watcher.name(),
            watcher,
            beside: None,
        }
    }
}

/// Rates in alternating rounds.
#[derive(Debug)]
pub struct Rates {
    /// Per second, of the first contestant, which the others are compared with.
    pub base: Vec<f64>,
    /// Of each other contestant in their order: what is left of the base, one for each round.
    left: Vec<Vec<f64>>,
}

impl Rates {
    /// What a contestant leaves of the first one's rate; `index` 1 is the second one.
    pub fn ratios(&self, index: usize) -> Vec<f64> {
        self.left[index - 1].clone()
    }
}

/// Connections per second of this load with each of them attached, each time behind other programs that nobody calls.
pub fn connections(contestants: &[Contestant], rounds: u32, shape: &Shape) -> Result<Rates> {
    let names: Vec<_> = contestants.iter().map(|contestant| contestant.name).collect();
    let number = Cell::new(0);
    alternate(&names, rounds, |index| {
        let contestant = &contestants[index];
        let shape = match contestant.beside {
            Some(command) => shape.clone().beside(command),
            None => shape.clone(),
        };
        let _elsewhere = Idle::load(number.replace(number.get() + 1))?;
        let watching = contestant.watcher.start()?;
        let rate = shape.run()?.per_second();
        watching.stop()?;
        Ok(rate)
    })
}

/// Measures contestants in alternating rounds. The machine's own speed drifts within seconds: the first contestant is
/// measured before and after each of the others, and the mean of both is what that one is compared with.
pub fn alternate(names: &[&str], rounds: u32, measure: impl Fn(usize) -> Result<f64>) -> Result<Rates> {
    let mut base = vec![measure(0)?];
    let mut left = vec![Vec::new(); names.len() - 1];
    for round in 0..rounds {
        // Every other round backwards, so that being first or last favours nobody.
        let mut order: Vec<_> = (1..names.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let rate = measure(index)?;
            let before = base[base.len() - 1];
            let after = measure(0)?;
            base.push(after);
            left[index - 1].push(rate / f64::midpoint(before, after));
        }
        let shown: Vec<_> = names[1..]
            .iter()
            .zip(&left)
            .map(|(name, left)| format!("{name} {:.3}", left[left.len() - 1]))
            .collect();
        println!(
            "    round {}: {} {:.0}/s, {}",
            round + 1,
            names[0],
            base[base.len() - 1],
            shown.join(", ")
        );
    }
    Ok(Rates { base, left })
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
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// What the median lies within, with 95 % certainty: two of the values, by how often a coin falls on one side. `None` of
/// fewer than six values, which never are that certain.
pub fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let length = values.len();
    if length < 6 {
        return None;
    }
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    // Half of the length less 1.96 standard deviations, which are half the root of the length.
    let reach = 1.96 * (length as f64).sqrt();
    let near_enough = |below: &usize| 2.0 * *below as f64 + reach <= length as f64;
    let below = (1..length).rev().find(near_enough).unwrap_or(1);
    Some((values[below - 1], values[length - below]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let median_of = |values: &[f64]| median(values).to_string();
        assert_eq!(median_of(&[3.0, 1.0, 2.0]), "2");
        assert_eq!(median_of(&[4.0, 1.0, 2.0, 3.0]), "2.5");
        assert_eq!(median_of(&[]), "0");
    }

    #[test]
    fn one_slow_round_does_not_decide() {
        let pairs = ratios(&[98.0, 10.0, 99.0], &[100.0, 100.0, 100.0]);
        assert!((median(&pairs) - 0.98).abs() < 1e-9);
    }

    #[test]
    fn a_machine_that_slows_down_is_no_contestants_fault() {
        let clock = Cell::new(100.0);
        let slower = |index| {
            clock.set(clock.get() - 1.0);
            Ok(if index == 1 {
                clock.get() / 2.0
            } else {
                clock.get()
            })
        };
        let rates = alternate(&["none", "half", "all"], 4, slower).unwrap();
        assert!(rates.ratios(1).iter().all(|ratio| (ratio - 0.5).abs() < 1e-9));
        assert!(rates.ratios(2).iter().all(|ratio| (ratio - 1.0).abs() < 1e-9));
        assert_eq!(rates.base.len(), 9);
    }

    #[test]
    fn the_more_rounds_the_nearer_is_the_median_known() {
        let values = |length: u32| (0..length).map(f64::from).collect::<Vec<_>>();
        assert_eq!(median_interval(&values(5)), None);
        assert_eq!(median_interval(&values(6)), Some((0.0, 5.0)));
        assert_eq!(median_interval(&values(15)), Some((2.0, 12.0)));
        assert_eq!(median_interval(&values(100)), Some((39.0, 60.0)));
    }
}
