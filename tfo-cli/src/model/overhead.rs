//! The limit on our own cost, `--max-overhead`: what is given up when, and when it is taken up again.
//!
//! Two measurements in a row above the limit give up one thing more ([`Shed`]). Half of the limit or less for a while takes
//! the latest back; where that has to be given up once more, the while becomes twice as long. Detaching is for good.

use std::fmt;

use tfo_common::flags::Shed;

use crate::options::CpuShare;

/// Measurements above the limit before something is given up: a listing of every socket alone is no reason.
const IN_A_ROW: u32 = 2;
/// How long the cost has to stay low before something is taken up again.
const PATIENCE_NS: u64 = 60_000_000_000;
/// The longest that becomes.
const MOST_PATIENCE_NS: u64 = 16 * PATIENCE_NS;

/// What observing has cost between two measurements, as parts of the host's CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// This process.
    pub process: f64,
    /// Its BPF programs.
    pub programs: f64,
    /// The latter is worked out from the number of handshakes: the kernel does not measure for us.
    pub is_estimate: bool,
}

impl Spent {
    fn total(self) -> f64 {
        self.process + self.programs
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} % of the host's CPU (process {:.2} %, BPF programs {:.2} %{})",
            self.total() * 100.0,
            self.process * 100.0,
            self.programs * 100.0,
            if self.is_estimate { ", estimated" } else { "" },
        )
    }
}

/// Decides what is given up. Time is passed in.
#[derive(Clone, Debug)]
pub struct Governor {
    limit: CpuShare,
    step: Shed,
    above: u32,
    low_since_ns: Option<u64>,
    patience_ns: u64,
    /// Something was taken up again: it was too early, if it has to be given up now.
    was_eased: bool,
}

impl Governor {
    /// Nothing is given up yet.
    pub fn new(limit: CpuShare) -> Self {
        Self {
            limit,
            step: Shed::Nothing,
            above: 0,
            low_since_ns: None,
            patience_ns: PATIENCE_NS,
            was_eased: false,
        }
    }

    /// What is given up now.
    pub fn step(&self) -> Shed {
        self.step
    }

    /// The limit.
    pub fn limit(&self) -> CpuShare {
        self.limit
    }

    /// Takes a measurement; returns the new step where it leads to one.
    pub fn judge(&mut self, at_ns: u64, spent: Spent) -> Option<Shed> {
        let (spent, limit) = (spent.total(), self.limit.share());
        if self.step == Shed::Detached {
            return None;
        }
        if spent > limit {
            self.low_since_ns = None;
            self.above += 1;
            return (self.above >= IN_A_ROW).then(|| self.give_up());
        }
        self.above = 0;
        if self.step == Shed::Nothing || spent * 2.0 > limit {
            self.low_since_ns = None;
            return None;
        }
        let since = *self.low_since_ns.get_or_insert(at_ns);
        (at_ns.saturating_sub(since) >= self.patience_ns).then(|| self.ease())
    }

    fn give_up(&mut self) -> Shed {
        if std::mem::take(&mut self.was_eased) {
            self.patience_ns = (self.patience_ns * 2).min(MOST_PATIENCE_NS);
        }
        self.go(match self.step {
            Shed::Nothing => Shed::FirstBytes,
            Shed::FirstBytes => Shed::Plain,
            Shed::Plain | Shed::Detached => Shed::Detached,
        })
    }

    fn ease(&mut self) -> Shed {
        self.was_eased = true;
        self.go(match self.step {
            Shed::Plain => Shed::FirstBytes,
            Shed::Nothing | Shed::FirstBytes => Shed::Nothing,
            Shed::Detached => Shed::Detached,
        })
    }

    fn go(&mut self, step: Shed) -> Shed {
        self.step = step;
        self.above = 0;
        self.low_since_ns = None;
        step
    }
}

/// The name of the degradation that a step is shown as; none for the first, which gives up nothing.
pub const fn degradation(step: Shed) -> Option<&'static str> {
    match step {
        Shed::Nothing => None,
        Shed::FirstBytes => Some("overhead-first-bytes"),
        Shed::Plain => Some("overhead-plain"),
        Shed::Detached => Some("overhead-detached"),
    }
}

/// The step that a degradation of this name stands for.
pub fn step_of(name: &str) -> Option<Shed> {
    Shed::ALL
        .into_iter()
        .find(|step| degradation(*step) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Whether it is above the limit of 1 % (`h`), below but near (`n`), or at most half of it (`l`), once a second; and
    /// what each measurement led to: a letter for the new step, or a dot.
    fn steps(governor: &mut Governor, from: u64, measured: &str) -> String {
        let one = |(index, what): (usize, char)| {
            let process = match what {
                'h' => 0.011,
                'n' => 0.009,
                _ => 0.005,
            };
            let spent = Spent {
                process,
                ..Spent::default()
            };
            match governor.judge((from + index as u64) * SECOND, spent) {
                None => '.',
                Some(Shed::Nothing) => '0',
                Some(Shed::FirstBytes) => '1',
                Some(Shed::Plain) => '2',
                Some(Shed::Detached) => '3',
            }
        };
        measured.chars().enumerate().map(one).collect()
    }

    fn governor() -> Governor {
        Governor::new(CpuShare::parse("1%").expect("it is a percentage"))
    }

    #[test]
    fn one_step_for_two_measurements_above_the_limit() {
        for (measured, want) in [
            ("llnnll", "......"),
            ("hnhnhl", "......"),
            ("hhnnnn", ".1...."),
            ("hhhhhh", ".1.2.3"),
            ("hhhnhh", ".1...2"),
            ("hhhhhhhhll", ".1.2.3...."),
        ] {
            assert_eq!(steps(&mut governor(), 0, measured), want, "{measured}");
        }
    }

    #[test]
    fn a_step_is_taken_back_after_a_minute_and_each_mistake_doubles_it() {
        let mut one = governor();
        assert_eq!(steps(&mut one, 0, "hhhh"), ".1.2");
        let low = |seconds: usize| "l".repeat(seconds);
        let quiet = |seconds: usize, step: char| format!("{}{step}", ".".repeat(seconds));
        // The first low measurement begins the minute.
        assert_eq!(steps(&mut one, 100, &low(61)), quiet(60, '1'));
        assert_eq!(steps(&mut one, 200, &low(61)), quiet(60, '0'));
        assert_eq!(
            steps(&mut one, 300, &low(200)),
            ".".repeat(200),
            "there is nothing left"
        );
        assert_eq!(steps(&mut one, 600, "hh"), ".1");
        assert_eq!(steps(&mut one, 700, &low(121)), quiet(120, '0'));
        for minutes in [4, 8, 16, 16] {
            assert_eq!(steps(&mut one, 1_000, "hh"), ".1");
            let seconds = minutes * 60;
            assert_eq!(steps(&mut one, 2_000, &low(seconds + 1)), quiet(seconds, '0'));
        }
    }

    #[test]
    fn near_the_limit_nothing_moves() {
        let mut one = governor();
        assert_eq!(steps(&mut one, 0, "hh"), ".1");
        assert_eq!(steps(&mut one, 10, &"n".repeat(500)), ".".repeat(500));
        // What is not low begins the minute anew.
        let text = format!("{}n{}", "l".repeat(60), "l".repeat(61));
        assert_eq!(steps(&mut one, 600, &text), format!("{}0", ".".repeat(121)));
    }

    #[test]
    fn both_parts_count() {
        let mut one = governor();
        let spent = Spent {
            process: 0.006,
            programs: 0.006,
            is_estimate: true,
        };
        assert_eq!(one.judge(0, spent), None);
        assert_eq!(one.judge(SECOND, spent), Some(Shed::FirstBytes));
        assert_eq!(
            spent.to_string(),
            "1.20 % of the host's CPU (process 0.60 %, BPF programs 0.60 %, estimated)"
        );
    }

    #[test]
    fn steps_have_names_that_lead_back() {
        for step in Shed::ALL {
            assert_eq!(
                degradation(step).and_then(step_of),
                (step != Shed::Nothing).then_some(step)
            );
        }
        assert_eq!(step_of("cgroup-names"), None);
    }
}
