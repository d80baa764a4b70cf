//! `--max-overhead`: measures what observing costs, and has the source give up what the limit asks for.
//!
//! The process's part comes from its CPU clock. That of the BPF programs is their run time as the kernel measures it, in one
//! second of two: measuring costs something too. Who may not have the kernel measure (`CAP_SYS_ADMIN`) goes by the number of
//! handshakes.

use std::time::{Duration, Instant};

use tfo_common::{Loss, flags::Shed, maps};

use crate::{
    model::{
        overhead::{Governor, Spent},
        source::{ProgramRuns, Source},
    },
    options::CpuShare,
    own_cost,
};

/// Time between two looks; every other one ends a sample of the programs.
const EVERY: Duration = Duration::from_secs(1);
/// Without statistics: what one end of a handshake takes in the programs, ns (docs/cost.md has it for both ends).
const ESTIMATE_NS: u64 = 1_200;
/// Looks without a sample after which we assume that none will come.
const WITHOUT: u32 = 3;
/// Run by this process, whose clock counts them.
const OWN: [&str; 3] = [maps::PROG_PRIME, maps::PROG_LIST, maps::PROG_RELEASE];

/// Measures and decides.
#[derive(Debug)]
pub struct Overhead {
    governor: Governor,
    cpus: f64,
    began: Instant,
    looked: Instant,
    /// Looks since the latest sample.
    unsampled: u32,
    before: Option<Used>,
}

/// What was used until then.
#[derive(Clone, Copy, Debug)]
struct Used {
    at: Instant,
    process_ns: u64,
    run_ns: u64,
    measured_ns: u64,
    handshakes: u64,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What is given up from now on.
    pub step: Shed,
    /// What that means, and the measurement that led to it.
    pub why: String,
}

impl Overhead {
    /// Begins to measure at the first look.
    pub fn new(limit: CpuShare) -> Self {
        Self {
            governor: Governor::new(limit),
            cpus: f64::from(own_cost::host_cpus()),
            began: Instant::now(),
            looked: Instant::now(),
            unsampled: 0,
            before: None,
        }
    }

    /// What is given up now.
    pub fn step(&self) -> Shed {
        self.governor.step()
    }

    /// Whether a look is due.
    pub fn is_due(&self) -> bool {
        self.step() != Shed::Detached && (self.before.is_none() || self.looked.elapsed() >= EVERY)
    }

    /// Looks at what was used since the last time, and has the source give up or take up what follows from it.
    pub fn look(&mut self, source: &mut dyn Source, runs: &[ProgramRuns]) -> anyhow::Result<Option<Decided>> {
        self.looked = Instant::now();
        let programs = runs.iter().filter(|one| !OWN.contains(&&*one.name));
        let now = Used {
            at: self.looked,
            process_ns: own_cost::cpu_ns(),
            run_ns: programs.map(|one| one.run_ns).sum(),
            measured_ns: runs.iter().map(|one| one.measured_ns).max().unwrap_or(0),
            handshakes: handshakes(source)?,
        };
        let Some(before) = self.before else {
            self.before = Some(now);
            return Ok(None);
        };
        let has_sample = now.measured_ns > before.measured_ns;
        self.unsampled = if has_sample { 0 } else { self.unsampled + 1 };
        if !has_sample && self.unsampled < WITHOUT {
            return Ok(None);
        }
        self.before = Some(now);
        let at_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let spent = spent(&before, &now, self.cpus);
        let Some(step) = self.governor.judge(at_ns, spent) else {
            return Ok(None);
        };
        let why = format!(
            "{}: own cost {spent}, --max-overhead {}",
            step.describe(),
            self.governor.limit()
        );
        source.shed(step, &why)?;
        Ok(Some(Decided { step, why }))
    }
}

/// Handshakes that were seen so far, those included that were only counted.
fn handshakes(source: &mut dyn Source) -> anyhow::Result<u64> {
    let reading = source.read(false)?;
    let totals: u64 = reading.totals.iter().flatten().sum();
    Ok(totals + reading.losses[Loss::Shed as usize])
}

/// What was used between two looks, as parts of all CPUs of the host.
fn spent(before: &Used, now: &Used, cpus: f64) -> Spent {
    let elapsed_ns = now.at.saturating_duration_since(before.at).as_nanos() as f64 * cpus;
    let part = |used_ns: u64, of: f64| if of > 0.0 { used_ns as f64 / of } else { 0.0 };
    let sampled_ns = now.measured_ns.saturating_sub(before.measured_ns);
    let handshakes = now.handshakes.saturating_sub(before.handshakes);
    Spent {
        process: part(now.process_ns.saturating_sub(before.process_ns), elapsed_ns),
        programs: if sampled_ns > 0 {
            part(now.run_ns.saturating_sub(before.run_ns), sampled_ns as f64 * cpus)
        } else {
            part(handshakes * ESTIMATE_NS, elapsed_ns)
        },
        is_estimate: sampled_ns == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{fake::FakeSource, source::Reading};

    fn measured(at: Instant, process_ns: u64, run_ns: u64, measured_ns: u64, handshakes: u64) -> Used {
        Used {
            at,
            process_ns,
            run_ns,
            measured_ns,
            handshakes,
        }
    }

    #[test]
    fn parts_are_of_every_cpu_and_programs_of_the_time_that_was_measured() {
        let (from, second) = (Instant::now(), Duration::from_secs(1));
        let before = measured(from, 0, 0, 0, 0);
        let sampled = spent(
            &before,
            &measured(from + 2 * second, 80_000_000, 30_000_000, 1_000_000_000, 9),
            4.0,
        );
        assert_eq!(
            sampled,
            Spent {
                process: 0.01,
                programs: 0.0075,
                is_estimate: false
            }
        );
        let estimated = spent(&before, &measured(from + second, 0, 0, 0, 100_000), 2.0);
        assert_eq!(
            estimated,
            Spent {
                process: 0.0,
                programs: 0.06,
                is_estimate: true
            }
        );
    }

    #[test]
    fn every_step_reaches_the_source_with_its_reason() {
        let limit = CpuShare::parse("0.0001%").expect("it is a percentage");
        let mut overhead = Overhead::new(limit);
        let mut source = FakeSource {
            readings: [Reading::default()].into(),
            ..FakeSource::default()
        };
        let mut said = Vec::new();
        let runs = |seconds: u64| {
            vec![ProgramRuns {
                name: "tfo_sock_ops".into(),
                runs: seconds,
                run_ns: seconds * 500_000_000,
                measured_ns: seconds * 1_000_000_000,
            }]
        };
        for second in 0..20 {
            said.extend(overhead.look(&mut source, &runs(second)).expect("it looks"));
        }
        let steps: Vec<Shed> = said.iter().map(|one| one.step).collect();
        assert_eq!(steps, [Shed::FirstBytes, Shed::Plain, Shed::Detached]);
        assert_eq!(source.shed, steps);
        assert!(
            said.iter()
                .all(|one| one.why.contains("--max-overhead 0.0001 %")
                    && one.why.contains("of the host's CPU")),
            "{said:?}"
        );
        assert!(!overhead.is_due(), "nothing is left to give up");
    }
}
