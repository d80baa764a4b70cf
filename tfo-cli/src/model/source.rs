//! The readings the model is made from, and [`Source`], which gives them: the live kernel, a recording, or a test.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tfo_common::{
    DestKey, Loss, Outcome, Role,
    counters::{NetnsCounters, Stat},
    event::Record,
    flags::Shed,
    listener::ListenerRecord,
};

use super::{diagnosis::HostFacts, packed::Packed};
use crate::{
    fingerprint::{Fingerprint, Salt},
    policy::{InForce, guard::Destination},
};

/// Handshakes by role and outcome since the programs were attached: `totals[role][outcome]`.
pub type Totals = [[u64; Outcome::COUNT]; Role::COUNT];

/// Every counter of the kernel side, read at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// `CLOCK_MONOTONIC` ns of the reading.
    pub at_ns: u64,
    /// Exact totals.
    pub totals: Totals,
    /// Losses by reason, indexed by [`Loss`]; the derived ones included.
    pub losses: [u64; Loss::COUNT],
    /// Flow records the kernel side wrote.
    pub events: u64,
    /// Bookkeeping of the BPF programs, indexed by [`Stat`]; `None` where nobody keeps books (recordings, captures).
    pub stats: Option<[u64; Stat::COUNT]>,
    /// Cross-check counters per network namespace (inode).
    pub netns: Vec<(u32, NetnsCounters)>,
    /// How often rows of the destination table have changed, counted before the table was read. The same as in an earlier
    /// reading: nothing has. `None` where nobody counts.
    pub row_changes: Option<u64>,
    /// The destination table; empty where it was not asked for.
    pub dests: Vec<(DestKey, Packed)>,
    /// Rows the destination table can hold.
    pub dests_capacity: u32,
}

/// Settings and counters of the host itself, of the network namespace the tool runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// Inode of the network namespace.
    pub netns: u32,
    /// `net.ipv4.tcp_fastopen`, if it could be read.
    pub tcp_fastopen: Option<u32>,
    /// `net.ipv4.tcp_fastopen_blackhole_timeout_sec`, if this kernel has it.
    pub blackhole_timeout_sec: Option<u32>,
    /// The kernel's `TcpExt` counters, per namespace that could be read: (inode, name -> value).
    pub mib: Vec<(u32, Mib)>,
}

/// The kernel's counters of one namespace that Fast Open moves; absent in the kernel is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mib {
    /// `TCPFastOpenActive`.
    pub active: Option<u64>,
    /// `TCPFastOpenActiveFail`.
    pub active_fail: Option<u64>,
    /// `TCPFastOpenPassive`.
    pub passive: Option<u64>,
    /// `TCPFastOpenPassiveFail`.
    pub passive_fail: Option<u64>,
    /// `TCPFastOpenListenOverflow`.
    pub listen_overflow: Option<u64>,
    /// `TCPFastOpenCookieReqd`.
    pub cookie_reqd: Option<u64>,
    /// `TCPFastOpenBlackhole`.
    pub blackhole: Option<u64>,
    /// `TCPFastOpenPassiveAltKey`.
    pub passive_alt_key: Option<u64>,
}

/// Something this host cannot do; one thing is switched off because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degradation {
    /// Short kebab-case name.
    pub name: &'static str,
    /// What is missing here and what the user does not see because of it.
    pub why: String,
}

/// Where a cgroup id leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupName {
    /// Path below the cgroup2 mount, beginning with `/`.
    pub path: String,
    /// systemd unit named by the path.
    pub unit: Option<String>,
    /// Container id named by the path.
    pub container: Option<String>,
}

/// What a source answers to a question about something that comes and goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// This is it.
    Known(T),
    /// It is gone, or was never there.
    Gone,
    /// Nobody has looked since it may have been born: ask again.
    NotYet,
}

impl<T> Lookup<T> {
    /// The answer, if there is one.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Gone | Self::NotYet => None,
        }
    }

    /// The same about what it leads to.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Known(value) => Lookup::Known(change(value)),
            Self::Gone => Lookup::Gone,
            Self::NotYet => Lookup::NotYet,
        }
    }
}

/// What may be done besides reading what was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Files are written where the user is, who may be another one than this process (`sudo`).
    pub files: bool,
}

/// What was found when the guard of a destination was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Which destination.
    pub dest: DestKey,
    /// cgroup id of the guard.
    pub guard: u64,
    /// What it knows; nothing where nothing failed.
    pub state: Option<Destination>,
}

/// How often a BPF program ran and how long that took, while it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Its name.
    pub name: String,
    /// Runs.
    pub runs: u64,
    /// Time they took, ns.
    pub run_ns: u64,
    /// How long was measured so far, ns: a sample of the time, because measuring costs something as well.
    pub measured_ns: u64,
}

/// The kernel side, or something that stands in for it.
///
/// One thread owns a source. `wait` then `drain` in a loop; the others at the refresh interval.
pub trait Source: Send {
    /// Sleeps until records are worth reading, at most for `timeout`.
    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()>;
    /// Hands over every record there is; returns how many. To be called several times a second: it also sees to what has
    /// come beside us.
    fn drain(&mut self, sink: &mut dyn FnMut(&Record)) -> usize;
    /// Reads every counter; the destination table only when `dests` is set.
    fn read(&mut self, dests: bool) -> anyhow::Result<Reading>;
    /// Reads the host's settings and counters.
    /// `all`: the counters of every network namespace, not only of those with flows.
    fn host(&mut self, all: bool) -> anyhow::Result<Host>;
    /// Keeps tables from filling up where nobody reads the host: to be called every few seconds.
    fn upkeep(&mut self) {}
    /// The salted hash of the cookie that the kernel keeps for connections from the one address to the other; `None` where it
    /// keeps none, or cannot be asked.
    fn cookie(&mut self, netns: u32, local: IpAddr, remote: IpAddr, salt: &Salt) -> Option<Fingerprint> {
        let _ = (netns, local, remote, salt);
        None
    }
    /// What a cgroup is called. Who shows it remembers the answer: a cgroup that is gone has no name any more.
    fn cgroup(&mut self, id: u64) -> Lookup<CgroupName>;
    /// TCP listeners of every network namespace that could be entered.
    fn listeners(&mut self) -> anyhow::Result<Vec<ListenerRecord>>;
    /// What the latest [`Source::listeners`] saw besides listening sockets.
    fn host_facts(&mut self) -> HostFacts {
        HostFacts::default()
    }
    /// Looks for what drops SYN data in a network namespace, or of a cgroup: [`Source::host_facts`] has it then.
    fn look_for_droppers(&mut self, netns: u32, cgroup_id: u64) {
        let _ = (netns, cgroup_id);
    }
    /// The policy in force, whoever put it there; `None` where that cannot be known.
    fn policy(&mut self) -> Option<InForce> {
        None
    }
    /// What the guard of a cgroup knows of a destination, or of the network behind one of these local addresses (network
    /// order, IPv4 in the first four bytes) where it is open for that; nothing where nothing failed.
    fn guard_state(
        &mut self,
        guard: u64,
        dest: &DestKey,
        locals: &[[u8; 16]],
    ) -> anyhow::Result<Option<Destination>> {
        let _ = locals;
        anyhow::bail!(
            "guard {guard}, port {}: this source knows nothing of guards",
            dest.port
        )
    }
    /// Run time of the BPF programs, sampled; empty before the first sample.
    fn program_runs(&mut self) -> Vec<ProgramRuns> {
        Vec::new()
    }
    /// Gives up what this step names, or takes up again what it does not; `why` stands with its degradation. Nothing comes
    /// back after [`Shed::Detached`].
    fn shed(&mut self, step: Shed, why: &str) -> anyhow::Result<()> {
        anyhow::bail!(
            "give up {}: {why}: this source has nothing to give up",
            step.name()
        )
    }
    /// Gives up, for the calling thread and those it starts, every right that reading does not need; false where there
    /// was none to give up.
    fn give_up_rights(&mut self, _: Keep) -> anyhow::Result<bool> {
        Ok(false)
    }
    /// What this host cannot do.
    fn degradations(&self) -> &[Degradation];
    /// Names of the programs attached and where.
    fn attached(&self) -> Vec<String>;
    /// ns of `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`: turns kernel times into wall clock.
    fn wall_offset_ns(&self) -> i64;
}
