//! What the BPF programs saw against what the kernel counted itself, since the tool started.
//!
//! Sockets in flight when either is read, and sockets outside `--cgroup`, make a difference that is no fault:
//! it is shown, never judged.

use std::collections::HashMap;

use tfo_common::{CrossCheck, counters::NetnsCounters};

use super::source::Mib;

/// One counter of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossLine {
    /// Inode of the namespace.
    pub netns: u32,
    /// The kernel's name of the counter.
    pub counter: &'static str,
    /// What the BPF programs saw.
    pub seen: u64,
    /// What the kernel counted.
    pub kernel: u64,
}

impl CrossLine {
    /// Kernel minus seen.
    pub fn difference(&self) -> i64 {
        i64::try_from(self.kernel).unwrap_or(i64::MAX) - i64::try_from(self.seen).unwrap_or(i64::MAX)
    }
}

/// Namespaces remembered at most, beyond those that are read: they come and go.
const MOST: usize = 4_096;

/// Remembers where both counts stood when a namespace was first read.
#[derive(Clone, Debug, Default)]
pub struct CrossChecker {
    base: HashMap<u32, (NetnsCounters, Mib)>,
    last: HashMap<u32, (NetnsCounters, Mib)>,
}

impl CrossChecker {
    /// Compares two readings taken one after the other. The first one must cover every namespace.
    pub fn compare(&mut self, ours: &[(u32, NetnsCounters)], kernel: &[(u32, Mib)]) -> Vec<CrossLine> {
        let ours: HashMap<u32, NetnsCounters> = ours.iter().copied().collect();
        let mut lines = Vec::new();
        let first = self.base.is_empty();
        for (netns, mib) in kernel {
            let now = ours.get(netns).copied().unwrap_or_default();
            // A namespace that was not there at the first reading began at zero on both sides.
            let begin = if first { (now, *mib) } else { Default::default() };
            if let Some((seen, before)) = self.last.insert(*netns, (now, *mib)) {
                if went_back(&before, mib) {
                    // Counters never fall: this is another namespace that got the number of one that is gone. Ours may
                    // have begun anew with it.
                    let ours = if fell(&seen, &now) {
                        NetnsCounters::default()
                    } else {
                        seen
                    };
                    self.base.insert(*netns, (ours, Mib::default()));
                } else if fell(&seen, &now) {
                    // Ours were thrown away because nothing led to the namespace for a while.
                    self.base.insert(*netns, (now, *mib));
                }
            }
            let (base, base_mib) = self.base.entry(*netns).or_insert(begin);
            lines.extend(COUNTERS.iter().filter_map(|counter| {
                Some(CrossLine {
                    netns: *netns,
                    counter: counter.name,
                    seen: counter.seen(&now).saturating_sub(counter.seen(base)),
                    kernel: (counter.kernel)(mib)?.saturating_sub((counter.kernel)(base_mib).unwrap_or(0)),
                })
            }));
        }
        if self.base.len() > MOST {
            let is_there = |netns: &u32| kernel.iter().any(|(inode, _)| inode == netns);
            self.base.retain(|netns, _| is_there(netns));
            self.last.retain(|netns, _| is_there(netns));
        }
        lines
    }

    /// Starts again from the next reading.
    pub fn clear(&mut self) {
        self.base.clear();
        self.last.clear();
    }
}

/// Whether one of our counters is less than it was.
fn fell(before: &NetnsCounters, now: &NetnsCounters) -> bool {
    now.counts
        .iter()
        .zip(&before.counts)
        .any(|(now, before)| now < before)
}

fn went_back(before: &Mib, now: &Mib) -> bool {
    COUNTERS
        .iter()
        .any(|counter| (counter.kernel)(now) < (counter.kernel)(before))
}

struct Counter {
    name: &'static str,
    kernel: fn(&Mib) -> Option<u64>,
}

/// The kernel counters both sides know. Several of ours may add up to one of the kernel's.
const COUNTERS: [Counter; 6] = [
    Counter {
        name: CrossCheck::Active.name(),
        kernel: |mib| mib.active,
    },
    Counter {
        name: CrossCheck::ActiveFail.name(),
        kernel: |mib| mib.active_fail,
    },
    Counter {
        name: CrossCheck::Passive.name(),
        kernel: |mib| mib.passive,
    },
    Counter {
        name: CrossCheck::PassiveFail.name(),
        kernel: |mib| mib.passive_fail,
    },
    Counter {
        name: CrossCheck::ListenOverflow.name(),
        kernel: |mib| mib.listen_overflow,
    },
    Counter {
        name: CrossCheck::CookieReqd.name(),
        kernel: |mib| mib.cookie_reqd,
    },
];

impl Counter {
    fn seen(&self, ours: &NetnsCounters) -> u64 {
        let same = CrossCheck::ALL
            .into_iter()
            .filter(|entry| entry.name() == self.name);
        same.map(|entry| ours.counts[entry as usize]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(fail: u64, timeouts: u64) -> NetnsCounters {
        let mut counters = NetnsCounters::default();
        counters.counts[CrossCheck::ActiveFail as usize] = fail;
        counters.counts[CrossCheck::ActiveFailTimeout as usize] = timeouts;
        counters
    }

    fn mib(active_fail: u64) -> Mib {
        Mib {
            active_fail: Some(active_fail),
            ..Mib::default()
        }
    }

    #[test]
    fn differences_count_from_the_first_reading_and_add_up_ours() {
        let mut checker = CrossChecker::default();
        let first = checker.compare(&[(1, ours(5, 5))], &[(1, mib(100))]);
        assert_eq!(
            (first.len(), first[0].seen, first[0].kernel),
            (1, 0, 0),
            "counters the kernel lacks are left out"
        );
        let later = checker.compare(&[(1, ours(7, 6))], &[(1, mib(104))]);
        assert_eq!((later[0].seen, later[0].kernel, later[0].difference()), (3, 4, 1));
    }

    #[test]
    fn a_namespace_we_saw_nothing_of_still_counts() {
        let mut checker = CrossChecker::default();
        checker.compare(&[], &[(9, mib(1))]);
        let born = checker.compare(&[(10, ours(4, 0))], &[(9, mib(1)), (10, mib(4))]);
        assert_eq!((born[1].netns, born[1].seen, born[1].kernel), (10, 4, 4));
        let lines = checker.compare(&[], &[(9, mib(3))]);
        assert_eq!((lines[0].netns, lines[0].seen, lines[0].kernel), (9, 0, 2));
    }

    #[test]
    fn a_namespace_with_the_number_of_a_dead_one_begins_anew() {
        let mut checker = CrossChecker::default();
        checker.compare(&[(1, ours(0, 0))], &[(1, mib(0))]);
        checker.compare(&[(1, ours(150, 0))], &[(1, mib(150))]);
        let lines = checker.compare(&[(1, ours(152, 0))], &[(1, mib(2))]);
        assert_eq!((lines[0].seen, lines[0].kernel), (2, 2));
    }

    /// Rows of namespaces that nothing leads to are thrown away; one that is found again begins anew.
    #[test]
    fn counters_of_ours_that_begin_anew_make_no_difference() {
        let mut checker = CrossChecker::default();
        checker.compare(&[(1, ours(0, 0))], &[(1, mib(0))]);
        checker.compare(&[(1, ours(150, 0))], &[(1, mib(150))]);
        let lines = checker.compare(&[(1, ours(2, 0))], &[(1, mib(152))]);
        assert_eq!(lines[0].difference(), 0, "{lines:?}");
        let lines = checker.compare(&[(1, ours(5, 0))], &[(1, mib(155))]);
        assert_eq!((lines[0].seen, lines[0].kernel), (3, 3));
        // Another namespace with that number, after ours were thrown away.
        let lines = checker.compare(&[(1, ours(1, 0))], &[(1, mib(1))]);
        assert_eq!((lines[0].seen, lines[0].kernel), (1, 1));
    }

    #[test]
    fn namespaces_that_come_and_go_are_forgotten() {
        let mut checker = CrossChecker::default();
        for netns in (1..).take(3 * MOST) {
            checker.compare(&[(netns, ours(1, 0))], &[(netns, mib(1))]);
        }
        assert!(checker.base.len() <= MOST && checker.last.len() <= MOST);
    }

    #[test]
    fn every_counter_of_ours_is_compared() {
        for entry in CrossCheck::ALL {
            assert!(
                COUNTERS.iter().any(|counter| counter.name == entry.name()),
                "{}",
                entry.name()
            );
        }
    }
}
