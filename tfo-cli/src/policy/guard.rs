//! Guards: the cgroup that a guard watches, its settings, and the state it keeps of a destination.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tfo_common::guard::{self, GuardState, MAX_WINDOW, Phase, level};

use super::rule::CgroupRef;
use crate::duration;

/// A guard as it is asked for. `C` is the cgroup: in a policy file and on the command line a
/// [`super::CgroupSelector`], which is still to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSpec<C = CgroupRef> {
    /// The guard watches sockets of this cgroup and of those below it, except where one below has its own guard.
    pub cgroup: C,
    /// When the guard switches Fast Open off, and for how long.
    pub settings: Settings,
}

/// When a guard switches Fast Open off for a destination, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of failures, among the latest `of` attempts, that switches Fast Open off; 1 to `of`.
    pub failures: u8,
    /// Number of the latest attempts that count; 1 to [`MAX_WINDOW`].
    pub of: u8,
    /// Time until the first trial; 1 s to a year. Each trial that fails doubles it.
    pub backoff: Duration,
    /// Longest time between two trials; `backoff` to a year.
    pub max_backoff: Duration,
    /// Whether the option is stripped from SYNs where those with the option but without data fail, too.
    pub escalate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: guard::FAILURES,
            of: guard::OF,
            backoff: Duration::from_nanos(guard::BACKOFF_NS),
            max_backoff: Duration::from_nanos(guard::MAX_BACKOFF_NS),
            escalate: false,
        }
    }
}

impl Settings {
    /// Checks that the settings are in their ranges and fit together; the error is the name of the setting that does
    /// not, and why.
    pub fn check(self) -> Result<Self, (&'static str, String)> {
        let longest = Duration::from_hours(24 * 365);
        if self.of == 0 || self.of > MAX_WINDOW {
            return Err(("of", format!("{} is not 1 to {MAX_WINDOW}", self.of)));
        }
        if self.failures == 0 || self.failures > self.of {
            return Err((
                "failures",
                format!("{} is not 1 to {} (of)", self.failures, self.of),
            ));
        }
        if self.backoff < Duration::from_secs(1) || self.backoff > longest {
            return Err((
                "backoff",
                format!("{} is not 1s to a year", duration::text(self.backoff)),
            ));
        }
        if self.max_backoff < self.backoff || self.max_backoff > longest {
            let why = format!(
                "{} is not between the first back-off ({}) and a year",
                duration::text(self.max_backoff),
                duration::text(self.backoff)
            );
            return Err(("max-backoff", why));
        }
        Ok(self)
    }
}

impl fmt::Display for GuardSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.settings;
        write!(
            f,
            "guard on {}: {} failures of {}, back-off {} to {}{}",
            self.cgroup.path,
            settings.failures,
            settings.of,
            duration::text(settings.backoff),
            duration::text(settings.max_backoff),
            if settings.escalate { ", escalating" } else { "" }
        )
    }
}

/// A guard that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledGuard {
    /// What the guard watches, and its settings.
    pub spec: GuardSpec,
    /// When it was made, in ns of `CLOCK_REALTIME`.
    pub created_ns: u64,
    /// The user who made it.
    pub by: String,
}

/// The state that a guard keeps of a destination with a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Id of the guard's cgroup.
    pub cgroup_id: u64,
    /// Id of the cgroup whose connections are the evidence, and for which Fast Open is switched off; `None` for all
    /// cgroups that the guard watches.
    pub own_id: Option<u64>,
    /// The network namespace: its cookie, before Linux 5.12 the number of its inode.
    pub net: u64,
    /// Whether this is the network behind a local address instead of one destination.
    pub is_network: bool,
    /// The remote address; of a network, the local address.
    pub addr: IpAddr,
    /// The remote port; 0 for a network.
    pub port: u16,
    /// The state of the guard's circuit breaker, as the kernel keeps it.
    pub state: GuardState,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_network {
            write!(f, "all from {}", self.addr)?;
        } else {
            write!(f, "{}", SocketAddr::new(self.addr, self.port))?;
        }
        if self.own_id.is_none() {
            f.write_str(" (every service)")?;
        }
        Ok(())
    }
}

impl Destination {
    /// Whether Fast Open is on (closed), off (open) or on trial (half-open).
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Name of the action on SYNs to it; `None` while they pass.
    pub fn action(&self) -> Option<&'static str> {
        match (self.phase(), self.state.level) {
            (Phase::Closed, _) => None,
            (_, level::STRIP) => Some("strip"),
            _ => Some("no-data"),
        }
    }

    /// Mean time that a failure costs, in us; `None` when none was timed. A RST ends the connection at once and is not
    /// timed.
    pub fn cost_us(&self) -> Option<u64> {
        (self.state.timed > 0).then(|| self.state.lost_us / self.state.timed)
    }

    /// Time saved by denying SYNs with data, in us: what as many failures would have cost.
    pub fn saved_us(&self) -> u64 {
        self.cost_us().unwrap_or(0).saturating_mul(self.state.denied)
    }

    /// Failures among the latest attempts with data in the SYN.
    pub fn recent_failures(&self) -> u32 {
        self.state.window.count_ones()
    }

    /// Failures among the latest attempts with the option in the SYN, but no data.
    pub fn recent_bare_failures(&self) -> u32 {
        self.state.bare.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_together() {
        let good = Settings::default();
        assert_eq!(good.check(), Ok(good));
        for (bad, name) in [
            (Settings { of: 0, ..good }, "of"),
            (Settings { of: 33, ..good }, "of"),
            (Settings { failures: 0, ..good }, "failures"),
            (Settings { failures: 7, ..good }, "failures"),
            (
                Settings {
                    backoff: Duration::ZERO,
                    ..good
                },
                "backoff",
            ),
            (
                Settings {
                    max_backoff: Duration::from_secs(1),
                    ..good
                },
                "max-backoff",
            ),
        ] {
            assert_eq!(bad.check().expect_err(name).0, name);
        }
    }

    #[test]
    fn saved_time_is_what_the_failures_cost() {
        let state = GuardState {
            denied: 10,
            lost_us: 3_000_000,
            timed: 3,
            ..GuardState::NEW
        };
        let mut dest = Destination {
            cgroup_id: 1,
            own_id: Some(7),
            net: 1,
            is_network: false,
            addr: IpAddr::from([192, 0, 2, 1]),
            port: 443,
            state,
        };
        assert_eq!(dest.saved_us(), 10_000_000);
        dest.state.timed = 0;
        assert_eq!((dest.cost_us(), dest.saved_us()), (None, 0));
    }
}
