//! What watching costs: CPU time and memory of this process, run time of its BPF programs.

use std::sync::Arc;

use super::source::ProgramRuns;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessUse {
    /// CPU time, us.
    pub cpu_us: u64,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// The cost of the latest interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Of this process.
    pub process: Option<ProcessCost>,
    /// Of its BPF programs; empty while the kernel does not measure them.
    pub programs: Arc<[ProgramCost]>,
}

/// Of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessCost {
    /// Of one CPU, 0 to 1 and above.
    pub cpu_share: f64,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// Of one program.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramCost {
    /// Its name.
    pub name: String,
    /// Runs that were measured.
    pub runs: u64,
    /// Time they took, ns.
    pub run_ns: u64,
    /// Of one CPU in the latest sample.
    pub cpu_share: f64,
}

/// Remembers the reading before.
#[derive(Clone, Debug, Default)]
pub struct CostMeter {
    at_ns: u64,
    cpu_us: u64,
    programs: Vec<ProgramRuns>,
    shares: Vec<f64>,
}

impl CostMeter {
    /// The cost since the reading before.
    pub fn measure(&mut self, at_ns: u64, process: Option<ProcessUse>, programs: Vec<ProgramRuns>) -> Cost {
        let elapsed_ns = at_ns.saturating_sub(self.at_ns);
        let share = |used_ns: u64| {
            if self.at_ns == 0 || elapsed_ns == 0 {
                0.0
            } else {
                used_ns as f64 / elapsed_ns as f64
            }
        };
        let process_cost = process.map(|now| ProcessCost {
            cpu_share: share(now.cpu_us.saturating_sub(self.cpu_us) * 1_000),
            rss_bytes: now.rss_bytes,
        });
        let cost = programs.iter().map(|now| ProgramCost {
            name: now.name.clone(),
            runs: now.runs,
            run_ns: now.run_ns,
            cpu_share: self.sampled_share(now),
        });
        let cost = Cost {
            process: process_cost,
            programs: cost.collect(),
        };
        *self = Self {
            at_ns,
            cpu_us: process.map_or(0, |now| now.cpu_us),
            shares: cost.programs.iter().map(|program| program.cpu_share).collect(),
            programs,
        };
        cost
    }

    /// Share of one CPU in the latest sample; between two samples that of the one before.
    fn sampled_share(&self, now: &ProgramRuns) -> f64 {
        let mut earlier = self.programs.iter().zip(&self.shares);
        let earlier = earlier.find(|(before, _)| before.name == now.name);
        let (run_ns, measured_ns) = earlier.map_or((0, 0), |(before, _)| (before.run_ns, before.measured_ns));
        match now.measured_ns.saturating_sub(measured_ns) {
            0 => earlier.map_or(0.0, |(_, share)| *share),
            measured => now.run_ns.saturating_sub(run_ns) as f64 / measured as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between_two_readings() {
        let mut meter = CostMeter::default();
        let runs = |runs, run_ns, measured_ns| {
            let name = "p".into();
            vec![ProgramRuns {
                name,
                runs,
                run_ns,
                measured_ns,
            }]
        };
        let used = |cpu_us| Some(ProcessUse { cpu_us, rss_bytes: 7 });
        let first = meter.measure(1_000_000_000, used(500_000), runs(10, 1_000_000, 1_000_000_000));
        assert_eq!(first.process.map(|cost| cost.cpu_share), Some(0.0));
        let second = meter.measure(2_000_000_000, used(510_000), runs(20, 11_000_000, 2_000_000_000));
        assert_eq!(
            second.process,
            Some(ProcessCost {
                cpu_share: 0.01,
                rss_bytes: 7
            })
        );
        assert!((second.programs[0].cpu_share - 0.01).abs() < 1e-9);
        let between = meter.measure(3_000_000_000, used(510_000), runs(20, 11_000_000, 2_000_000_000));
        assert!(
            (between.programs[0].cpu_share - 0.01).abs() < 1e-9,
            "the sample before stands"
        );
        let idle = meter.measure(4_000_000_000, used(510_000), runs(20, 11_000_000, 3_000_000_000));
        assert!(idle.programs[0].cpu_share < 1e-9);
    }
}
