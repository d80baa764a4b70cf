//! The policy in the kernel: opens it or sets it up, changes it, removes it, and repairs what a killed command left.

use std::path::Path;

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, PerCpuValues, ProgramArray},
};
use tfo_common::policy::{self, ABI, MAX_GUARDS, MAX_RULES, Stat, Switch, build_of};

use super::{
    super::{cgroup::Cgroup, object, rights, sys},
    Cgroups, Error,
    bpffs::Directory,
    forced::Forced,
    guards::Guards,
    last_handshakes, levels, numbers, pins, programs,
    rules::{Rules, Stamp},
    strip,
};
use crate::policy::{
    Access, CgroupRef, Change, Installed, InstalledGuard, Interfaces, Loaded, Removed, StripReport,
    guard::Destination,
};

/// The policy, locked against other commands as long as this lives.
pub struct Store {
    directory: Directory,
    cgroups: Cgroups,
    /// The maps; `None` when no policy is in force.
    set: Option<Set>,
    removed: Removed,
}

/// The maps of a policy, and its programs until they are attached.
struct Set {
    rules: Rules,
    guards: Guards,
    switches: Array<MapData, u32>,
    forced: Forced,
    stats: PerCpuArray<MapData, u64>,
    /// The loaded programs, until they are attached.
    unattached: Option<Ebpf>,
}

impl Store {
    /// Locks the pin directory, opens the policy and removes what is expired, orphaned or incomplete.
    pub fn open(path: &Path, access: Access) -> Result<Self, Error> {
        rights::check()?;
        let directory = Directory::lock(path, access == Access::Change)?;
        let mut store = Self {
            cgroups: Cgroups::read()?,
            directory,
            set: None,
            removed: Removed::default(),
        };
        let Some(names) = store.directory.names()? else {
            return Ok(store);
        };
        let has = |name: &str| names.iter().any(|found| found == name);
        // Its links are pinned last and removed first: with both nothing is half made, whatever else is missing.
        if has(pins::LINK_EGRESS) && has(pins::LINK_SOCK_OPS) {
            match access {
                Access::Repair | Access::Change => {
                    check_maps(store.directory.path(), has)?;
                    store.set = Some(Set::open(&store.directory)?);
                    store.tidy()?;
                }
                // A policy that cannot be read can be removed all the same.
                Access::Flush => store.set = Set::open(&store.directory).ok(),
            }
        } else if names.iter().any(|name| pins::is_ours(name)) {
            store.removed.half_made = true;
            store.take_down()?;
        }
        Ok(store)
    }

    /// What was removed when it was opened.
    pub fn removed(&self) -> &Removed {
        &self.removed
    }

    /// The cgroups of this host, as of the opening.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Whether anything is pinned, also by another version.
    pub fn is_there(&self) -> Result<bool, Error> {
        Ok(self.directory.names()?.is_some())
    }

    /// Whether a policy is in force.
    pub fn is_in_force(&self) -> bool {
        self.set.is_some()
    }

    /// The rules in force, sorted by number.
    pub fn rules(&self) -> Result<Vec<Installed>, Error> {
        match &self.set {
            Some(set) => set.rules.list(|id| self.cgroups.path(id)),
            None => Ok(Vec::new()),
        }
    }

    /// The guards in force, sorted by path.
    pub fn guards(&self) -> Result<Vec<InstalledGuard>, Error> {
        match &self.set {
            Some(set) => set.guards.list(|id| self.cgroups.path(id)),
            None => Ok(Vec::new()),
        }
    }

    /// The states that guards keep of destinations.
    pub fn destinations(&self) -> Result<Vec<Destination>, Error> {
        match &self.set {
            Some(set) => set.guards.destinations(),
            None => Ok(Vec::new()),
        }
    }

    /// Counters by [`Stat`]; all are 0 when nothing is in force.
    pub fn stats(&self) -> [u64; Stat::COUNT] {
        let mut values = [0; Stat::COUNT];
        if let Some(set) = &self.set {
            for stat in Stat::ALL {
                values[stat as usize] = set.stat(stat);
            }
            // Those made are read first: what is made meanwhile makes it less, never more.
            let gone = values[Stat::StatesMade as usize].saturating_sub(set.stat(Stat::StatesRemoved));
            values[Stat::StatesEvicted as usize] = set
                .guards
                .states()
                .map_or(0, |present| gone.saturating_sub(present));
        }
        values
    }

    /// The build of the programs in force; `None` when no policy is.
    pub fn loaded(&self) -> Result<Option<Loaded>, Error> {
        self.set.as_ref().map(|set| loaded(&set.switches)).transpose()
    }

    /// Replaces the programs in force by those of this build; false when they are of this build already. Rules, guards
    /// and their states stay, and apply to every connection meanwhile. A command that is killed in between leaves old and
    /// new programs, which work together; the policy then still counts as one of another build.
    pub fn reload(&mut self) -> Result<bool, Error> {
        let Some(set) = &mut self.set else {
            return Ok(false);
        };
        if loaded(&set.switches)?.is_current() {
            return Ok(false);
        }
        programs::replace(&self.directory)?;
        set.note_build()?;
        Ok(true)
    }

    /// Makes changes in order, for the user `by`, and calls `done` after each. Sets the policy up before the first rule or
    /// guard, and takes it down after the last. When a change fails, those before it stay and those after it are not
    /// made.
    pub fn change(
        &mut self,
        changes: &[Change],
        interfaces: &Interfaces,
        by: &str,
        mut done: impl FnMut(&Change),
    ) -> Result<StripReport, Error> {
        let (rules, guards) = (self.rules()?, self.guards()?);
        // Interfaces that are named are for the rules in force as well.
        let is_about_interfaces = interfaces.is_named() && needs_stripping(&rules, &guards);
        if changes.is_empty() && !is_about_interfaces {
            return Ok(StripReport::default());
        }
        check_room(changes, rules.len(), guards.len())?;
        let wanted = (is_about_interfaces || changes.iter().any(strips)).then_some(interfaces);
        let result = self.change_all(changes, wanted, by, &mut done);
        let settled = self.settle();
        let report = result?;
        settled?;
        Ok(report)
    }

    /// Makes the changes, and attaches the classifier to `interfaces` before; `None` when no change needs it.
    fn change_all(
        &mut self,
        changes: &[Change],
        interfaces: Option<&Interfaces>,
        by: &str,
        done: &mut dyn FnMut(&Change),
    ) -> Result<StripReport, Error> {
        if self.set.is_none() {
            self.directory.create()?;
            if self.directory.names()?.is_some_and(|names| !names.is_empty()) {
                // Another command has set a policy up meanwhile, which the plan does not know.
                return Err(Error::Busy {
                    path: self.directory.path().to_path_buf(),
                });
            }
            match Set::create(&self.directory) {
                Ok(set) => self.set = Some(set),
                Err(error) => {
                    // Maps are pinned before programs are loaded.
                    self.take_down()?;
                    return Err(error);
                }
            }
        }
        // Before the rules, so that nothing is changed when an interface cannot be used.
        let report = match interfaces {
            Some(interfaces) => strip::attach(&self.directory, interfaces)?,
            None => StripReport::default(),
        };
        let Some(set) = &mut self.set else {
            return Ok(report);
        };
        let now = super::super::now();
        let stamp = Stamp {
            now_ns: now.monotonic_ns,
            wall_ns: now.wall_ns,
            by,
        };
        // Before they are there; `settle` says where they are.
        if changes.iter().any(|change| matches!(change, Change::Add(_))) {
            set.forced.change(|force| force.rules = levels::ALL)?;
        }
        for change in changes {
            match change {
                Change::Add(spec) => {
                    let id = set.next_id()?;
                    set.rules.add(spec, id, stamp)?;
                }
                Change::Replace(old, spec) => set.rules.replace(spec, old.id, stamp)?,
                Change::Remove(old) => set.rules.remove(old)?,
                Change::Guard(spec) => {
                    set.forced.change(|force| force.guards = levels::ALL)?;
                    set.guards.set(spec, stamp)?;
                }
                Change::Unguard(old) => set.unguard(old)?,
            }
            // Without attached programs the change is not in force yet; `settle` attaches them.
            done(change);
        }
        Ok(report)
    }

    /// Attaches the programs while there are rules or guards, and the classifier while any of them strips. Removes the
    /// whole policy when there is neither a rule nor a guard.
    fn settle(&mut self) -> Result<(), Error> {
        let (rules, guards) = (self.rules()?, self.guards()?);
        self.settle_for(&rules, &guards)
    }

    /// The same as [`Store::settle`], for rules and guards that have been read already.
    fn settle_for(&mut self, rules: &[Installed], guards: &[InstalledGuard]) -> Result<(), Error> {
        let Some(set) = &mut self.set else { return Ok(()) };
        if rules.is_empty() && guards.is_empty() {
            return self.take_down();
        }
        let guarded = levels::of(&self.cgroups, guards.iter().map(|guard| &guard.spec.cgroup));
        let with_rules = levels::of(&self.cgroups, rules.iter().map(|rule| &rule.spec.cgroup));
        set.forced
            .change(|force| (force.guards, force.rules) = (guarded, with_rules))?;
        if !needs_stripping(rules, guards)
            && let Some((_, error)) = strip::detach_all(&self.directory)?.into_iter().next()
        {
            return Err(error);
        }
        if let Some(mut ebpf) = set.unattached.take() {
            let attached = Cgroup::open(None)
                .map_err(Error::from)
                .and_then(|root| programs::attach(&mut ebpf, &self.directory, &root));
            if let Err(error) = attached {
                self.take_down()?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes links, maps and directory. Where this stops at an error, the next command goes on.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.take_down()
    }

    /// Removes everything, in this order: the program that denies SYNs; then, once the sockets it denied have been pushed,
    /// the others.
    fn take_down(&mut self) -> Result<(), Error> {
        let mut set = self.set.take();
        if let Some(set) = &mut set {
            // No guard begins to watch another handshake.
            let _ = set.forced.change(|force| force.guards = 0);
        }
        let names = self.directory.names()?.unwrap_or_default();
        pins::detach(&self.directory, pins::LINK_EGRESS)?;
        // While the pins have it; a failure must not keep the rest of the policy in place.
        let kept = keep_number(self.directory.path());
        if let Some(stats) = set
            .map(|set| set.stats)
            .or_else(|| open_map(self.directory.path(), policy::STATS).ok())
        {
            last_handshakes::wait(&stats, |name| open_data(self.directory.path(), name).ok());
        }
        // An interface that cannot be reached must not keep the rest of the policy in place.
        let stuck = strip::detach_all(&self.directory)?;
        pins::detach(&self.directory, pins::LINK_SOCK_OPS)?;
        // The array and the program in it hold references to each other, which would keep both for ever. That of an observer
        // holds none, and is done with.
        for programs in [policy::TAILS, policy::AFTER] {
            if let Ok(mut programs) = open_map::<ProgramArray<MapData>>(self.directory.path(), programs) {
                let indices: Vec<u32> = programs.indices().flatten().collect();
                for index in indices {
                    let _ = programs.clear_index(&index);
                }
            }
        }
        let is_stuck = |name: &String| stuck.iter().any(|(pin, _)| pin == name);
        for name in names.iter().filter(|name| pins::is_ours(name) && !is_stuck(name)) {
            self.directory.unpin(name)?;
        }
        match stuck.into_iter().next() {
            Some((_, error)) => Err(error),
            None => self.directory.remove().and(kept),
        }
    }

    /// Removes expired rules, rules and guards of cgroups that are gone, and hits without a rule.
    fn tidy(&mut self) -> Result<(), Error> {
        let (mut rules, mut guards) = (self.rules()?, self.guards()?);
        let now = sys::monotonic_ns();
        let Some(set) = &mut self.set else { return Ok(()) };
        let is_gone = |cgroup: &CgroupRef| self.cgroups.is_gone(cgroup.id);
        self.removed.orphans = rules.extract_if(.., |rule| is_gone(&rule.spec.cgroup)).collect();
        self.removed.expired = rules.extract_if(.., |rule| rule.is_expired(now)).collect();
        self.removed.orphan_guards = guards
            .extract_if(.., |guard| is_gone(&guard.spec.cgroup))
            .collect();
        for rule in self.removed.orphans.iter().chain(&self.removed.expired) {
            set.rules.remove(rule)?;
        }
        for guard in &self.removed.orphan_guards {
            set.unguard(guard)?;
        }
        set.rules.tidy(&rules)?;
        self.removed.interfaces = strip::refresh(&self.directory)?;
        self.settle_for(&rules, &guards)
    }
}

/// Keeps the number of the last rule beyond the maps, also those of another version: the switch has always been the same.
fn keep_number(directory: &Path) -> Result<(), Error> {
    let Ok(switches) = open_map::<Array<MapData, u32>>(directory, policy::SWITCHES) else {
        return Ok(());
    };
    match switches.get(&(Switch::LastId as u32), 0) {
        Ok(0) | Err(_) => Ok(()),
        Ok(last) => numbers::keep(last),
    }
}

/// Checks that every map is there that this version needs. A policy in force that lacks one was made by another.
fn check_maps(directory: &Path, has: impl Fn(&str) -> bool) -> Result<(), Error> {
    match policy::REQUIRED.into_iter().find(|name| !has(name)) {
        Some(name) => Err(Error::Version {
            directory: directory.to_path_buf(),
            why: format!("there is no {name}"),
        }),
        None => Ok(()),
    }
}

/// Checks that the maps have room for all changes, so that nothing is changed otherwise. Removals come last and make no
/// room.
fn check_room(changes: &[Change], rules: usize, guards: usize) -> Result<(), Error> {
    let count = |counts: fn(&Change) -> bool| changes.iter().filter(|change| counts(change)).count();
    let new_rules = count(|change| matches!(change, Change::Add(_)));
    let new_guards = count(|change| matches!(change, Change::Guard(_)));
    for (there, added, most, what) in [
        (rules, new_rules, MAX_RULES, "rules"),
        (guards, new_guards, MAX_GUARDS, "guards"),
    ] {
        if added > 0 && there + added > most as usize {
            return Err(Error::Full {
                what: format!("{added} {what} to the {there} that are there (room for {most})"),
            });
        }
    }
    Ok(())
}

/// Whether any of these strips the option.
fn needs_stripping(rules: &[Installed], guards: &[InstalledGuard]) -> bool {
    rules.iter().any(|rule| rule.spec.action.strips_option())
        || guards.iter().any(|guard| guard.spec.settings.escalate)
}

/// Whether a change needs the classifier.
fn strips(change: &Change) -> bool {
    match change {
        Change::Add(spec) => spec.action.strips_option(),
        // A rule that strips already has its interfaces, which need not be all of the host.
        Change::Replace(old, spec) => spec.action.strips_option() && !old.spec.action.strips_option(),
        Change::Guard(spec) => spec.settings.escalate,
        Change::Remove(_) | Change::Unguard(_) => false,
    }
}

/// A counter, of all CPUs together; 0 where it cannot be read.
pub(super) fn counted(stats: &PerCpuArray<MapData, u64>, stat: Stat) -> u64 {
    stats
        .get(&(stat as u32), 0)
        .map_or(0, |values| values.iter().sum())
}

impl Set {
    /// Opens the pinned maps.
    fn open(directory: &Directory) -> Result<Self, Error> {
        let (switches, rules) = open_rules(directory.path())?;
        let guards: HashMap<MapData, _, _> = open_map(directory.path(), policy::GUARDS)?;
        let data = |name| open_data(directory.path(), name);
        Ok(Self {
            rules,
            guards: Guards::new(guards, data(policy::STATES)?, vec![data(policy::TRIALS)?]),
            switches,
            forced: Forced::open(directory.path())?,
            stats: open_map(directory.path(), policy::STATS)?,
            unattached: None,
        })
    }

    /// Makes and pins the maps, and loads the programs.
    fn create(directory: &Directory) -> Result<Self, Error> {
        let (ebpf, layout) = programs::load(directory)?;
        let mut switches: Array<MapData, u32> = open_map(directory.path(), policy::SWITCHES)?;
        switches
            .set(Switch::Abi as u32, ABI, 0)
            .map_err(|error| Error::map("set", "switches".into(), &error))?;
        switches
            .set(Switch::LastId as u32, numbers::last()?, 0)
            .map_err(|error| Error::map("set", "switches".into(), &error))?;
        drop(switches);
        let mut set = Self::open(directory)?;
        set.unattached = Some(ebpf);
        set.forced.change(|force| {
            force.told_at_once = u32::from(!programs::find_guards_later(&layout));
            force.tick_us = sys::tick_us();
        })?;
        set.note_build()?;
        Ok(set)
    }

    /// Notes in the switches that the programs are those of this build.
    fn note_build(&mut self) -> Result<(), Error> {
        // As `loaded` reads it: the low half first.
        let [b0, b1, b2, b3, b4, b5, b6, b7] = build_of(object::policy_bytes()?).to_le_bytes();
        self.switch(Switch::BuildLow, u32::from_le_bytes([b0, b1, b2, b3]))?;
        self.switch(Switch::BuildHigh, u32::from_le_bytes([b4, b5, b6, b7]))
    }

    /// A number for a new rule. It is never given again, even if the command is killed before it makes the rule.
    fn next_id(&mut self) -> Result<u32, Error> {
        let last = self
            .switches
            .get(&(Switch::LastId as u32), 0)
            .map_err(|error| Error::map("read", "switches".into(), &error))?;
        let id = last.checked_add(1).ok_or_else(|| Error::Full {
            what: "a rule: every number has been used".to_owned(),
        })?;
        self.switch(Switch::LastId, id)?;
        Ok(id)
    }

    fn switch(&mut self, which: Switch, value: u32) -> Result<(), Error> {
        self.switches
            .set(which as u32, value, 0)
            .map_err(|error| Error::map("set", "switches".into(), &error))
    }

    /// Removes a guard, and counts the states that go with it.
    fn unguard(&mut self, guard: &InstalledGuard) -> Result<(), Error> {
        let removed = self.stat(Stat::StatesRemoved) + self.guards.remove(guard)?;
        let key = Stat::StatesRemoved as u32;
        // Nobody else counts these: all of them may stand in the first CPU's place.
        self.stats
            .get(&key, 0)
            .and_then(|values| {
                let mut values = values.to_vec();
                values.fill(0);
                if let Some(first) = values.first_mut() {
                    *first = removed;
                }
                self.stats.set(key, PerCpuValues::try_from(values)?, 0)
            })
            .map_err(|error| Error::map("count", "guard states".into(), &error))
    }

    fn stat(&self, stat: Stat) -> u64 {
        counted(&self.stats, stat)
    }
}

/// The build that the switches name, and this one.
pub(super) fn loaded(switches: &Array<MapData, u32>) -> Result<Loaded, Error> {
    let half = |which: Switch| {
        let value = switches.get(&(which as u32), 0);
        value.map_err(|error| Error::map("read", "switches".into(), &error))
    };
    Ok(Loaded {
        build: u64::from(half(Switch::BuildHigh)?) << 32 | u64::from(half(Switch::BuildLow)?),
        this_build: build_of(object::policy_bytes()?),
    })
}

/// Opens the switches and the rules, if they were made by a version with the same format.
pub(super) fn open_rules(directory: &Path) -> Result<(Array<MapData, u32>, Rules), Error> {
    let switches: Array<MapData, u32> = open_map(directory, policy::SWITCHES)?;
    match switches.get(&(Switch::Abi as u32), 0) {
        Ok(ABI) => {}
        found => {
            return Err(Error::Version {
                directory: directory.to_path_buf(),
                why: format!("format {}, not {ABI}", found.unwrap_or(0)),
            });
        }
    }
    let rules: LpmTrie<MapData, _, _> = open_map(directory, policy::RULES)?;
    let hits: HashMap<MapData, _, _> = open_map(directory, policy::HITS)?;
    let trie_data = open_data(directory, policy::RULES)?;
    Ok((switches, Rules::new(rules, hits, trie_data)))
}

/// Opens a pinned map as a type of aya, which checks the sizes of key and value.
pub(super) fn open_map<T>(directory: &Path, name: &str) -> Result<T, Error>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = open_data(directory, name)?;
    Map::from_map_data(map)
        .and_then(T::try_from)
        .map_err(|error| unusable(directory, name, &error))
}

/// Opens a pinned map of any type.
pub(super) fn open_data(directory: &Path, name: &str) -> Result<MapData, Error> {
    MapData::from_pin(directory.join(name)).map_err(|error| unusable(directory, name, &error))
}

/// The error for a map that cannot be opened. One that is missing, or of another type, was made by another version.
fn unusable(directory: &Path, name: &str, error: &aya::maps::MapError) -> Error {
    let code = match error {
        aya::maps::MapError::SyscallError(call) => call.io_error.raw_os_error(),
        _ => None,
    };
    match code {
        Some(code) if code != libc::ENOENT => Error::Io {
            operation: "open",
            object: directory.join(name).display().to_string(),
            source: std::io::Error::from_raw_os_error(code),
        },
        _ => Error::Version {
            directory: directory.to_path_buf(),
            why: format!("{name}: {error}"),
        },
    }
}
