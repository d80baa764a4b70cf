//! One observing session: attach, read, take everything back.

mod host_facts;

use std::{
    net::IpAddr,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{Btf, Ebpf};
use tfo_common::{
    DestKey, EventKind, FirstByteEvent, Loss,
    event::Record,
    flags::{Config, Control, Shed, mask32, mask128},
    layout::Layout,
    limits,
    listener::ListenerRecord,
    maps::{PROG_LIST, PROG_PRIME, PROG_RELEASE, Part},
};

use super::{
    Error,
    cgroup::{Cgroup, Presence},
    cgroup_names::Names,
    cost,
    counted::Counted,
    counters,
    deferred::Waiting,
    doctor,
    foreign::Others,
    iterate::{self, Pass},
    keeper::Keeper,
    layout,
    log::BpfLog,
    maps::Maps,
    optional,
    policy::{self, GiveBack, Onlooker},
    programs, rights, sys,
};
use crate::{
    fingerprint::{Fingerprint, Salt},
    model::{
        cgroup as cgroup_path,
        diagnosis::host_facts::HostFacts,
        overhead,
        source::{CgroupName, Degradation, Host, Keep, Lookup, Mib, ProgramRuns, Reading, Source},
    },
    options::AttachOptions,
    policy::{InForce, guard::Destination},
};

/// How often loaded programs are looked through for foreign `sock_ops` ones.
const FOREIGN_INTERVAL: Duration = Duration::from_secs(1);

/// Rows of network namespaces from which on those of dead ones are looked for although nobody reads them.
const UPKEEP_ROWS: usize = limits::NETNS as usize / 4;

/// Attached programs and their maps. Dropping it detaches them and takes back every callback flag.
pub struct Session {
    ebpf: Ebpf,
    maps: Maps,
    cgroup: Cgroup,
    keeper: Keeper,
    presence: Presence,
    /// Where a policy would be pinned.
    bpffs: PathBuf,
    /// `iter/tcp` programs, where this kernel takes them.
    list: Option<OwnedFd>,
    waiting: Waiting,
    counted: Counted,
    /// Records that were taken out by a reading, and not handed over yet.
    fresh: Vec<Record>,
    host_facts: HostFacts,
    /// Age from which on ends of connections are counted.
    long_lived_ms: u32,
    release: Option<OwnedFd>,
    /// What a policy in force takes our flags back with, should we be killed.
    give_back: Option<Arc<GiveBack>>,
    tracepoints: Vec<&'static str>,
    degradations: Vec<Degradation>,
    destinations: u32,
    /// Whether plain handshakes have records.
    emit_plain: bool,
    bad_records: u64,
    /// Rows that were evicted, as of the latest reading of the table.
    evicted: u64,
    unfinished: counters::Unfinished,
    foreign_checked: Instant,
    last_netns: Vec<u32>,
    log: Option<BpfLog>,
    cost: cost::Sampler,
    is_detached: bool,
}

impl Session {
    /// Loads and attaches everything, in this order: tracepoints, `sock_ops`, then the flags of listeners
    /// that exist already. On an error nothing stays attached.
    pub fn attach(options: &AttachOptions) -> Result<Self, Error> {
        super::object::bytes()?;
        let lacking = rights::check_observer()?;
        let cgroup = Cgroup::open(options.cgroup.as_deref())?;
        let ((layout, mut degradations), btf) = types()?;
        degradations.extend(lacking);
        let keeper = Keeper::start(Names::new(cgroup.mount.clone())).map_err(|source| Error::Io {
            operation: "start",
            object: "the thread that keeps rights".into(),
            source,
        })?;
        let config = Config {
            emit_plain: u8::from(options.emit_plain),
            typed_task: u8::from(rights::has_typed_task()),
            arrived_alone: u8::from(
                sys::highest_cpu() < limits::ARRIVED_CPUS && rights::softirqs_take_turns(),
            ),
            pad: 0,
            server_v4_mask: mask32(options.server_v4_prefix),
            server_v6_mask: mask128(options.server_v6_prefix),
            wake_bytes: limits::RING_WAKE_BYTES,
            scope_id: cgroup.scope_id(),
            scope_level: cgroup.level(),
            ttfb_sample: options.ttfb_sample,
            tick_us: sys::tick_us(),
            long_lived_ms: options.long_lived_ms,
        };
        // Whoever asks for a small table gets one: what it drops is counted.
        let destinations = if options.destinations < limits::DESTS {
            options.destinations
        } else {
            limits::lru_entries(options.destinations, sys::possible_cpus()?)
        };
        let (mut ebpf, arrays) = programs::load(&layout, config, destinations, &btf)?;
        let log = BpfLog::open(&mut ebpf);
        let mut maps = Maps::take(&mut ebpf, &arrays)?;
        set_foreign(&maps, &keeper);
        // Whoever asks for a small table wants to see it overflow.
        set_reader_counts(&maps, options.destinations >= limits::DESTS);
        let presence = Presence::announce(&cgroup.mount);
        let verified = programs::verify(&mut ebpf, &btf);
        let list = optional::iter(&mut ebpf, &verified, PROG_LIST, &mut degradations);
        let prime = optional::iter(&mut ebpf, &verified, PROG_PRIME, &mut degradations);
        let release = optional::iter(&mut ebpf, &verified, PROG_RELEASE, &mut degradations);
        let give_back = optional::give_back(&mut ebpf, &verified, &options.bpffs, &mut degradations);
        let tracepoints = programs::attach_tracepoints(&mut ebpf, &verified, &mut degradations)?;
        drop(arrays);
        programs::attach_sock_ops(&mut ebpf, &verified, &mut maps.parts, &cgroup)?;
        let mut session = Self {
            keeper,
            ebpf,
            maps,
            cgroup,
            presence,
            bpffs: options.bpffs.clone(),
            list,
            waiting: Waiting::default(),
            counted: Counted::new(options.server_v4_prefix, options.server_v6_prefix),
            fresh: Vec::new(),
            long_lived_ms: options.long_lived_ms,
            host_facts: HostFacts {
                // The programs compare.
                duplicates: Ok(()),
                ..HostFacts::default()
            },
            release,
            give_back,
            tracepoints,
            degradations,
            destinations,
            emit_plain: options.emit_plain,
            bad_records: 0,
            evicted: 0,
            unfinished: counters::Unfinished::default(),
            foreign_checked: Instant::now(),
            last_netns: Vec::new(),
            log,
            cost: cost::Sampler::new(options.measure_every),
            is_detached: false,
        };
        session.hand_over(true);
        session.prime(prime);
        session.try_names();
        if options.cgroup.is_none() && !session.cgroup.is_whole() {
            session.degradations.push(Degradation {
                name: "cgroup-namespace",
                why: format!(
                    "only services below {} are seen, which is one part of this host's hierarchy \
                        (the cgroup namespace of a container)",
                    session.cgroup.path.display()
                ),
            });
        }
        drop(btf);
        sys::trim_memory();
        Ok(session)
    }

    /// Removes the rows of network namespaces that are gone: there is room for 1,024.
    fn forget(&mut self, gone: &[u32]) {
        for inode in gone {
            // Nobody else removes it; what fails is tried again when it is met again.
            let _ = self.maps.netns.remove(inode);
            self.counted.forget(*inode);
        }
        self.last_netns.retain(|inode| !gone.contains(inode));
    }

    /// Takes all records out, counts them, and hands them over.
    fn take(&mut self, sink: &mut dyn FnMut(&Record)) {
        let was_full = self.counted.is_full();
        while let Some(mut gathered) = self.maps.records.gather() {
            self.bad_records += gathered.unknown;
            gathered.take_in(|flow| {
                let row = self.counted.take_in(flow);
                // Not before what is meant for the reader alone has been taken out of it.
                self.maps.duplicates.take_in(flow);
                self.maps.first_bytes.expect(flow, row);
            });
            gathered.hand_over(sink);
        }
        if self.counted.is_full() && !was_full {
            set_reader_counts(&self.maps, false);
        }
        let counted = &mut self.counted;
        self.maps
            .first_bytes
            .collect(sys::monotonic_ns(), &mut |flow, ttfb_us| {
                if let Some(row) = flow.row {
                    counted.first_byte(row, flow.is_requested, ttfb_us);
                }
                sink(&Record::FirstByte(FirstByteEvent {
                    kind: EventKind::FirstByte as u8,
                    pad: [0; 3],
                    ttfb_us,
                    id: flow.id,
                }));
            });
    }

    /// Looks for `sock_ops` programs of others, unless that was done a moment ago.
    fn look_for_foreign(&mut self) {
        if self.foreign_checked.elapsed() >= FOREIGN_INTERVAL {
            set_foreign(&self.maps, &self.keeper);
            self.hand_over(false);
            self.foreign_checked = Instant::now();
        }
    }

    /// Leaves a program with the policy in force, if there is one, and says that somebody is there.
    fn hand_over(&self, newest: bool) {
        let (program, onlooker) = (self.give_back.clone(), Onlooker::new(self.bpffs.clone()));
        self.keeper.ask(move |_| {
            // Without a policy, or the right to change it, our flags wait for the next copy.
            let _ = program.map(|program| program.hand_over(newest));
            // Likewise: then it is not known what SYNs carry.
            let _ = onlooker.arrive();
        });
    }

    /// Takes that program back where nothing is left for it to do: not where the kernel has refused to take our flags back.
    fn withdraw(&self) {
        let refused = self.maps.control.get(Control::ReleaseRefused);
        if let Some(program) = self.give_back.clone()
            && refused == 0
        {
            self.keeper.ask(move |_| program.withdraw());
        }
    }

    /// Runs an iterator in every network namespace that can be entered.
    fn everywhere(&self, program: &OwnedFd) -> std::io::Result<Pass> {
        let program = program.try_clone()?;
        let pass = self.keeper.ask(move |_| iterate::everywhere(program.as_fd()));
        pass.unwrap_or_else(|| Err(std::io::Error::other(NO_KEEPER)))
    }

    /// Finds out, by that of the root, how names of cgroups are found here.
    fn try_names(&mut self) {
        let root = std::fs::metadata(&self.cgroup.mount).map_or(0, |root| root.ino());
        let is_walking = self.keeper.ask(move |state| {
            state.names.path(root);
            state.names.is_walking()
        });
        if is_walking == Some(true) {
            self.degradations.push(Degradation {
                name: "cgroup-names",
                why: "names of new services are up to half a second late, and one that is gone by then has none \
                    (the kernel opens no directory by its number: CAP_DAC_READ_SEARCH)"
                    .into(),
            });
        }
    }

    /// Sets the callback flag on listeners that were there before us.
    fn prime(&mut self, program: Option<OwnedFd>) {
        let Some(program) = program else { return };
        match self.everywhere(&program) {
            Ok(pass) => self.degradations.extend(optional::priming_degradation(&pass)),
            Err(error) => self.degradations.push(Degradation {
                name: optional::PRIMING,
                why: format!("{} (iter/tcp: {error})", optional::WITHOUT_PRIMING),
            }),
        }
    }
}

/// What is said where the thread that keeps rights has panicked.
const NO_KEEPER: &str = "the thread that enters network namespaces has ended";

/// The kernel's types, read twice at the same time: by us for where members are, by aya for what programs attach to.
fn types() -> Result<((Layout, Vec<Degradation>), Btf), Error> {
    let (layout, btf) = thread::scope(|scope| {
        let btf = scope.spawn(Btf::from_sys_fs);
        (layout::resolve(), btf.join())
    });
    let no_btf = |why: String| Error::NoBtf { why };
    let btf = btf
        .map_err(|_| no_btf("the thread that reads it panicked".to_owned()))?
        .map_err(|error| no_btf(error.to_string()))?;
    Ok((layout?, btf))
}

/// Tells the kernel side whether what can be told of records is left to their reader.
fn set_reader_counts(maps: &Maps, counts: bool) {
    maps.control.set(Control::ReaderCounts, u32::from(counts));
}

/// Tells the kernel side whether callback flags may be somebody else's, and whether ours may have been taken.
fn set_foreign(maps: &Maps, keeper: &Keeper) {
    let others = keeper.ask(|_| Others::loaded()).unwrap_or(Others::UNKNOWN);
    maps.control
        .set(Control::ForeignSockOps, u32::from(others.foreign));
    if others.foreign || others.observers {
        maps.control.set(Control::FlagsMayGo, 1);
    }
}

impl Source for Session {
    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        self.maps.records.wait(timeout).map_err(Into::into)
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record)) -> usize {
        // Here, because every command drains all the time; some read but twice.
        self.look_for_foreign();
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let mut count = 0;
        for record in std::mem::take(&mut self.fresh) {
            count += 1;
            sink(&record);
        }
        self.take(&mut |record| {
            count += 1;
            sink(record);
        });
        count
    }

    fn read(&mut self, dests: bool) -> anyhow::Result<Reading> {
        // What was counted by now has its record written; those that read twice without a drain in between find it in the
        // rows.
        let mut fresh = std::mem::take(&mut self.fresh);
        self.take(&mut |record| fresh.push(*record));
        self.fresh = fresh;
        let mut reading = counters::read(
            &self.maps,
            &self.counted,
            dests,
            self.emit_plain,
            self.destinations,
            self.bad_records,
            &mut self.unfinished,
        )?;
        // Known only with the table.
        let evicted = &mut reading.losses[Loss::DestEvicted as usize];
        if dests {
            self.evicted = *evicted;
        } else {
            *evicted = self.evicted;
        }
        self.last_netns = reading.netns.iter().map(|(inode, _)| *inode).collect();
        Ok(reading)
    }

    fn host(&mut self, all: bool) -> anyhow::Result<Host> {
        let wanted = self.last_netns.clone();
        let answer = self
            .keeper
            .ask(move |state| (state.host.read(&wanted, all), state.host.gone()));
        let (mut host, gone) = answer.context(NO_KEEPER)?;
        if self.cgroup.scope_id() != 0 {
            // The kernel counts for everybody in a network namespace: what others do would look like ours.
            for (_, mib) in &mut host.mib {
                *mib = Mib {
                    blackhole: mib.blackhole,
                    ..Mib::default()
                };
            }
        }
        self.forget(&gone);
        Ok(host)
    }

    fn upkeep(&mut self) {
        self.last_netns = self.maps.netns.keys().flatten().collect();
        let counted = self.counted.namespaces();
        self.last_netns.extend(counted);
        self.last_netns.sort_unstable();
        self.last_netns.dedup();
        // Few rows harm nobody, and a look at every process is not free.
        if self.last_netns.len() >= UPKEEP_ROWS {
            let wanted = self.last_netns.clone();
            let gone = self.keeper.ask(move |state| {
                state.host.look_for(&wanted);
                state.host.gone()
            });
            self.forget(&gone.unwrap_or_default());
        }
    }

    fn cookie(&mut self, netns: u32, local: IpAddr, remote: IpAddr, salt: &Salt) -> Option<Fingerprint> {
        let salt = *salt;
        let cookie = self
            .keeper
            .ask(move |state| state.host.cookie(netns, local, remote, &salt));
        cookie.flatten()
    }

    fn cgroup(&mut self, id: u64) -> Lookup<CgroupName> {
        let path = self.keeper.ask(move |state| state.names.path(id));
        path.unwrap_or(Lookup::Gone).map(|path| cgroup_path::parse(&path))
    }

    fn listeners(&mut self) -> anyhow::Result<Vec<ListenerRecord>> {
        match &self.list {
            Some(program) => {
                let pass = self.everywhere(program)?;
                self.look_at(&pass);
                Ok(pass.listeners)
            }
            None => Ok(Vec::new()),
        }
    }

    fn host_facts(&mut self) -> HostFacts {
        self.host_facts.lifetimes = self.lifetimes();
        self.host_facts.unsafe_writes = self.carried();
        self.host_facts.clone()
    }

    fn look_for_droppers(&mut self, netns: u32, cgroup_id: u64) {
        let mount = self.cgroup.mount.clone();
        let found = self.keeper.ask(move |state| {
            let path = state.names.path(cgroup_id).known();
            let cgroup = path.map(|path| mount.join(path.trim_start_matches('/')));
            doctor::droppers(netns, &mount, cgroup.as_deref())
        });
        self.host_facts.droppers = found.unwrap_or(Err("the thread that keeps rights has ended"));
    }

    fn policy(&mut self) -> Option<InForce> {
        let bpffs = self.bpffs.clone();
        let policy = self
            .keeper
            .ask(move |state| policy::in_force(&bpffs, |id| state.names.path(id).known()).ok());
        policy.flatten()
    }

    fn guard_state(
        &mut self,
        guard: u64,
        dest: &DestKey,
        locals: &[[u8; 16]],
    ) -> anyhow::Result<Option<Destination>> {
        Ok(policy::guard_state(&self.bpffs, guard, dest, locals)?)
    }

    fn program_runs(&mut self) -> Vec<ProgramRuns> {
        let keeper = &self.keeper;
        self.cost
            .turn(&self.ebpf, || keeper.ask(|_| cost::measure()).flatten())
    }

    fn shed(&mut self, step: Shed, why: &str) -> anyhow::Result<()> {
        self.maps.control.set(Control::Shed, step as u32);
        self.degradations
            .retain(|one| overhead::step_of(one.name).is_none());
        self.degradations
            .extend(overhead::degradation(step).map(|name| Degradation {
                name,
                why: why.to_owned(),
            }));
        if step == Shed::Detached {
            self.take_back();
        }
        Ok(())
    }

    fn give_up_rights(&mut self, keep: Keep) -> anyhow::Result<bool> {
        rights::give_up(keep)?;
        Ok(true)
    }

    fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    fn attached(&self) -> Vec<String> {
        if self.is_detached {
            return Vec::new();
        }
        let sock_ops = format!("sock_ops on {}", self.cgroup.path.display());
        std::iter::once(sock_ops)
            .chain(self.tracepoints.iter().map(|name| format!("tp_btf {name}")))
            .collect()
    }

    fn wall_offset_ns(&self) -> i64 {
        sys::wall_offset_ns()
    }
}

impl Session {
    /// Detaches. Programs first, so that no new flag is set; then, when no other instance needs them, the flags.
    fn take_back(&mut self) {
        if std::mem::replace(&mut self.is_detached, true) {
            return;
        }
        programs::detach(&mut self.ebpf);
        let is_last = self.presence.leave().unwrap_or(false);
        if is_last {
            let onlooker = Onlooker::new(self.bpffs.clone());
            self.keeper.ask(move |_| onlooker.leave().is_ok());
        }
        match (is_last, &self.release) {
            (true, Some(release)) => {
                set_foreign(&self.maps, &self.keeper);
                // Nobody is left to tell when it fails; a policy in force goes on with it then.
                if self.everywhere(release).is_ok_and(|pass| pass.failed.is_empty()) {
                    self.withdraw();
                }
            }
            // Like those of a copy that was killed.
            (true, None) => {}
            // Others are there, who may go by our flags.
            (false, _) => self.withdraw(),
        }
        // What the kernel does when we end, if we go on without the programs.
        let _ = self.maps.parts.clear_index(&(Part::Alive as u32));
        // Others may come again.
        self.presence = Presence::default();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.take_back();
    }
}
