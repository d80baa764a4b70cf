//! Rates in alternating rounds: connections per second with nothing, with ours and with others attached.

use anyhow::Result;

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

/// Rates per contestant in their order, one for each round; the first is what the others are compared with.
#[derive(Debug)]
pub struct Rates {
    /// Per second.
    pub per_second: Vec<Vec<f64>>,
}

impl Rates {
    /// Of what the first one did in the same round.
    pub fn ratios(&self, index: usize) -> Vec<f64> {
        ratios(&self.per_second[index], &self.per_second[0])
    }
}

/// Connections per second of this load with each of them attached.
pub fn connections(contestants: &[Contestant], rounds: u32, shape: &Shape) -> Result<Rates> {
    let names: Vec<_> = contestants.iter().map(|contestant| contestant.name).collect();
    alternate(&names, rounds, |index| {
        let contestant = &contestants[index];
        let watching = contestant.watcher.start()?;
        let shape = match contestant.beside {
            Some(command) => shape.clone().beside(command),
            None => shape.clone(),
        };
        let rate = shape.run()?.per_second();
        watching.stop()?;
        Ok(rate)
    })
}

/// Measures contestants in alternating rounds: close together in time, because the machine's own speed drifts.
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
    Ok(Rates { per_second: columns })
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
}
