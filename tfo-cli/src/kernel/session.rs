//! One observing session: attach, read, take everything back.

use std::{
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::{Btf, Ebpf};
use tfo_common::{
    DestKey,
    event::Record,
    flags::{Config, Control, mask32, mask128},
    layout::Feature,
    limits,
    listener::{ListenerRecord, Primed},
    maps::{PROG_LIST, PROG_PRIME, PROG_RELEASE},
};

use super::{
    Error,
    cgroup::{Cgroup, Presence},
    cgroup_names::Names,
    cost, counters,
    deferred::Waiting,
    foreign, host,
    iterate::{self, Pass},
    layout,
    log::BpfLog,
    maps::Maps,
    policy, programs, rights, ring, sys,
};
use crate::{
    model::{
        cgroup as cgroup_path,
        diagnosis::looked::{Looked, MptcpListener},
        source::{CgroupName, Degradation, Host, Lookup, ProgramRuns, Reading, Source},
    },
    options::AttachOptions,
    policy::{InForce, guard::Destination},
};

/// How often loaded programs are looked through for foreign `sock_ops` ones.
const FOREIGN_INTERVAL: Duration = Duration::from_secs(1);

/// Attached programs and their maps. Dropping it detaches them and takes back every callback flag.
pub struct Session {
    ebpf: Ebpf,
    maps: Maps,
    cgroup: Cgroup,
    names: Names,
    presence: Presence,
    /// Where a policy would be pinned.
    bpffs: PathBuf,
    /// `iter/tcp` programs, where this kernel takes them.
    list: Option<OwnedFd>,
    waiting: Waiting,
    looked: Looked,
    release: Option<OwnedFd>,
    tracepoints: Vec<&'static str>,
    degradations: Vec<Degradation>,
    destinations: u32,
    bad_records: u64,
    foreign_checked: Instant,
    last_netns: Vec<u32>,
    host: host::Reader,
    log: Option<BpfLog>,
    cost: cost::Sampler,
}

impl Session {
    /// Loads and attaches everything, in this order: tracepoints, `sock_ops`, then the flags of listeners
    /// that exist already. On an error nothing stays attached.
    pub fn attach(options: &AttachOptions) -> Result<Self, Error> {
        super::object::bytes()?;
        rights::check()?;
        let cgroup = Cgroup::open(options.cgroup.as_deref())?;
        let (layout, mut degradations) = layout::resolve()?;
        let btf = Btf::from_sys_fs().map_err(|error| Error::NoBtf {
            why: error.to_string(),
        })?;
        let config = Config {
            emit_plain: u8::from(options.emit_plain),
            pad: [0; 3],
            server_v4_mask: mask32(options.server_v4_prefix),
            server_v6_mask: mask128(options.server_v6_prefix),
            wake_bytes: limits::RING_WAKE_BYTES,
            scope_id: cgroup.scope_id(),
            scope_level: cgroup.level(),
            ttfb_sample: options.ttfb_sample,
            tick_us: sys::tick_us(),
            pad2: 0,
        };
        // Whoever asks for a small table gets one: what it drops is counted.
        let destinations = if options.destinations < limits::DESTS {
            options.destinations
        } else {
            limits::lru_entries(options.destinations, sys::possible_cpus()?)
        };
        let mut ebpf = programs::load(&layout, config, destinations, &btf)?;
        let log = BpfLog::open(&mut ebpf);
        let mut maps = Maps::take(&mut ebpf)?;
        set_foreign(&mut maps);
        let presence = Presence::announce(&cgroup.mount);
        let list = optional_iter(&mut ebpf, PROG_LIST, &btf, &mut degradations);
        let prime = optional_iter(&mut ebpf, PROG_PRIME, &btf, &mut degradations);
        let release = optional_iter(&mut ebpf, PROG_RELEASE, &btf, &mut degradations);
        let tracepoints = programs::attach_tracepoints(&mut ebpf, &btf, &mut degradations)?;
        programs::attach_sock_ops(&mut ebpf, &mut maps.parts, &cgroup)?;
        let mut session = Self {
            names: Names::new(cgroup.mount.clone()),
            ebpf,
            maps,
            cgroup,
            presence,
            bpffs: options.bpffs.clone(),
            list,
            waiting: Waiting::default(),
            looked: Looked::default(),
            release,
            tracepoints,
            degradations,
            destinations,
            bad_records: 0,
            foreign_checked: Instant::now(),
            last_netns: Vec::new(),
            host: host::Reader::default(),
            log,
            cost: cost::Sampler::default(),
        };
        session.prime(prime);
        session.try_names();
        drop(btf);
        sys::trim_memory();
        Ok(session)
    }

    /// Finds out, by that of the root, how names of cgroups are found here.
    fn try_names(&mut self) {
        let root = std::fs::metadata(&self.cgroup.mount).map_or(0, |root| root.ino());
        self.names.path(root);
        if self.names.is_walking() {
            self.degradations.push(Degradation {
                name: "cgroup-names",
                why: "names of new services are up to half a second late, and one that is gone by then has none \
                    (the kernel opens no directory by its number: CAP_DAC_READ_SEARCH)"
                    .into(),
            });
        }
    }

    /// Keeps what a walk over the sockets found besides listeners.
    fn look_at(&mut self, pass: &Pass) {
        let sysctls = pass.namespaces.iter();
        self.looked.sysctls = Ok(sysctls
            .filter_map(|(inode, value)| Some((*inode, (*value)?)))
            .collect());
        if !self
            .degradations
            .iter()
            .any(|one| one.name == Feature::Deferred.name())
        {
            self.looked.deferred = Ok(self.waiting.update(&pass.deferred, sys::monotonic_ns()));
        }
        if !self
            .degradations
            .iter()
            .any(|one| one.name == Feature::Mptcp.name())
        {
            self.looked.mptcp = Ok(pass.listeners.iter().filter_map(MptcpListener::of).collect());
        }
    }

    /// Sets the callback flag on listeners that were there before us.
    fn prime(&mut self, program: Option<OwnedFd>) {
        let Some(program) = program else { return };
        match iterate::everywhere(program.as_fd()) {
            Ok(pass) => self.degradations.extend(priming_degradation(&pass)),
            Err(error) => self.degradations.push(Degradation {
                name: PRIMING,
                why: format!("{WITHOUT_PRIMING} (iter/tcp: {error})"),
            }),
        }
    }
}

/// Name and effect of the degradation when listeners cannot be primed.
const PRIMING: &str = "listener-priming";
const WITHOUT_PRIMING: &str = "on listeners that existed before the tool only accepted TFO connections are seen; \
    others are counted as lost (unprimed-listener)";

/// An iterator program that is nice to have.
fn optional_iter(
    ebpf: &mut Ebpf,
    name: &'static str,
    btf: &Btf,
    degradations: &mut Vec<Degradation>,
) -> Option<OwnedFd> {
    match programs::load_iter(ebpf, name, btf) {
        Ok(fd) => Some(fd),
        Err(error) => {
            let (name, without) = match name {
                PROG_PRIME => (PRIMING, WITHOUT_PRIMING),
                PROG_RELEASE => (
                    "flag-release",
                    "callback flags stay on sockets after the tool ends; without programs they do nothing",
                ),
                _ => ("listener-list", "listeners are not listed"),
            };
            degradations.push(Degradation {
                name,
                why: format!("{without} ({error})"),
            });
            None
        }
    }
}

/// What priming could not do, if anything.
fn priming_degradation(pass: &Pass) -> Option<Degradation> {
    let refused = pass
        .listeners
        .iter()
        .filter(|record| record.primed == Primed::Refused as u8)
        .count();
    if refused == 0 && pass.failed.is_empty() {
        return None;
    }
    let failed = pass
        .failed
        .first()
        .map(|(inode, error)| format!(", netns {inode}: {error}"))
        .unwrap_or_default();
    Some(Degradation {
        name: PRIMING,
        why: format!(
            "{WITHOUT_PRIMING} (kernel refused {refused} of {} listeners; needs Linux 6.12{failed})",
            pass.listeners.len()
        ),
    })
}

/// Tells the kernel side whether callback flags may be somebody else's.
fn set_foreign(maps: &mut Maps) {
    let foreign = u32::from(foreign::sock_ops_loaded());
    // An array of this size takes every index we have; a failure leaves the careful value of before.
    let _ = maps.control.set(Control::ForeignSockOps as u32, foreign, 0);
}

impl Source for Session {
    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        sys::wait_readable(&self.maps.events, timeout).map_err(Into::into)
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record)) -> usize {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let mut count = 0;
        while let Some(item) = self.maps.events.next() {
            count += 1;
            match ring::decode(&item) {
                Some(record) => {
                    if let Record::Flow(flow) = &record {
                        self.maps.first_bytes.expect(flow);
                    }
                    sink(&record);
                }
                None => self.bad_records += 1,
            }
        }
        self.maps.first_bytes.collect(sys::monotonic_ns(), sink);
        count
    }

    fn read(&mut self, dests: bool) -> anyhow::Result<Reading> {
        if self.foreign_checked.elapsed() >= FOREIGN_INTERVAL {
            set_foreign(&mut self.maps);
            self.foreign_checked = Instant::now();
        }
        let reading = counters::read(&self.maps, dests, self.destinations, self.bad_records)?;
        self.last_netns = reading.netns.iter().map(|(inode, _)| *inode).collect();
        Ok(reading)
    }

    fn host(&mut self, all: bool) -> anyhow::Result<Host> {
        Ok(self.host.read(&self.last_netns, all))
    }

    fn cgroup(&mut self, id: u64) -> Lookup<CgroupName> {
        self.names.path(id).map(|path| cgroup_path::parse(&path))
    }

    fn listeners(&mut self) -> anyhow::Result<Vec<ListenerRecord>> {
        match &self.list {
            Some(program) => {
                let pass = iterate::everywhere(program.as_fd())?;
                self.look_at(&pass);
                Ok(pass.listeners)
            }
            None => Ok(Vec::new()),
        }
    }

    fn looked(&mut self) -> Looked {
        self.looked.clone()
    }

    fn policy(&mut self) -> Option<InForce> {
        policy::in_force(&self.bpffs, |id| self.names.path(id).known()).ok()
    }

    fn guard_state(&mut self, guard: u64, dest: &DestKey) -> anyhow::Result<Option<Destination>> {
        Ok(policy::guard_state(&self.bpffs, guard, dest)?)
    }

    fn program_runs(&mut self) -> Vec<ProgramRuns> {
        self.cost.turn(&self.ebpf)
    }

    fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    fn attached(&self) -> Vec<String> {
        let sock_ops = format!("sock_ops on {}", self.cgroup.path.display());
        std::iter::once(sock_ops)
            .chain(self.tracepoints.iter().map(|name| format!("tp_btf {name}")))
            .collect()
    }

    fn wall_offset_ns(&self) -> i64 {
        sys::wall_offset_ns()
    }
}

impl Drop for Session {
    /// Programs first, so that no new flag is set; then, when no other instance needs them, the flags.
    fn drop(&mut self) {
        programs::detach(&mut self.ebpf);
        if self.presence.leave().unwrap_or(false)
            && let Some(release) = &self.release
        {
            set_foreign(&mut self.maps);
            // Nobody is left to tell when it fails; the flags do nothing without programs.
            let _ = iterate::everywhere(release.as_fd());
        }
    }
}
