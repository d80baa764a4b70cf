//! Guards: the cgroup a guard watches, its settings, and what it knows of a destination.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tfo_common::guard::{self, GuardState, MAX_WINDOW, Phase, level};

use super::rule::CgroupRef;
use crate::duration;

/// A guard, apart from what it knows. On the command line and in a file its cgroup is a [`super::Scope`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSpec<C = CgroupRef> {
    /// Sockets of this cgroup and those below it, up to the next guard.
    pub cgroup: C,
    /// Its settings.
    pub settings: Settings,
}

/// Settings of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Failures that switch TFO off.
    pub failures: u8,
    /// Size of the window: the latest attempts that count.
    pub of: u8,
    /// First back-off.
    pub backoff: Duration,
    /// Longest back-off.
    pub max_backoff: Duration,
    /// Whether the option is stripped where bare SYNs with it fail too.
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
    /// Checks how the numbers go together; the error names the setting.
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
    /// The guard.
    pub spec: GuardSpec,
    /// `CLOCK_REALTIME` ns at which it was made.
    pub created_ns: u64,
    /// User who made it.
    pub by: String,
}

/// A destination with a failure, as a guard sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// cgroup id of the guard.
    pub cgroup_id: u64,
    /// cgroup id of the service whose evidence it is, and whose TFO it switches off; `None` for every service the guard
    /// watches.
    pub own_id: Option<u64>,
    /// Number of the network namespace: its cookie, before Linux 5.12 its inode.
    pub net: u64,
    /// Whether it is everything that is reached from a local address.
    pub is_network: bool,
    /// Remote address; of a network the local one.
    pub addr: IpAddr,
    /// Remote port; 0 for a network.
    pub port: u16,
    /// The state of the circuit breaker.
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
    /// closed, open or half-open.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Name of the action on its SYNs; `None` while they pass.
    pub fn action(&self) -> Option<&'static str> {
        match (self.phase(), self.state.level) {
            (Phase::Closed, _) => None,
            (_, level::STRIP) => Some("strip"),
            _ => Some("no-data"),
        }
    }

    /// What a failure costs here, us; `None` before one was timed (a RST costs a connection, not time).
    pub fn cost_us(&self) -> Option<u64> {
        (self.state.timed > 0).then(|| self.state.lost_us / self.state.timed)
    }

    /// Time saved by SYNs that were denied, us.
    pub fn saved_us(&self) -> u64 {
        self.cost_us().unwrap_or(0).saturating_mul(self.state.denied)
    }

    /// Failures among the latest attempts: of SYNs with data, and of bare SYNs with the option.
    pub fn recent(&self) -> (u32, u32) {
        (self.state.window.count_ones(), self.state.bare.count_ones())
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
