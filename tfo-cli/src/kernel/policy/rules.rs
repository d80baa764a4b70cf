//! Rules and their hits in the kernel's maps.

use std::{collections::HashSet, os::fd::AsFd as _, time::Duration};

use aya::maps::{HashMap, LpmTrie, MapData, lpm_trie::Key};
use tfo_common::{
    PolicyAction,
    policy::{Hits, KEY_BITS, MAX_PORTS, MAX_RULES, PortRange, Rule, RuleKey},
};

use super::{super::sys, Error, codec};
use crate::{
    addr::{self, Prefix},
    policy::{CgroupRef, Installed, RuleSpec},
};

type RawKey = [u8; size_of::<RuleKey>()];
type RawRule = [u8; size_of::<Rule>()];
type RawHits = [u8; size_of::<Hits>()];

/// Bytes of a key in the trie: the length of the prefix, and the data.
const TRIE_KEY: usize = size_of::<u32>() + size_of::<RuleKey>();
/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
const NO_EXIST: u64 = 1;
/// `BPF_EXIST` (include/uapi/linux/bpf.h).
const EXIST: u64 = 2;

/// The maps of the rules.
pub struct Rules {
    /// Rules, by cgroup id and prefix.
    trie: LpmTrie<MapData, RawKey, RawRule>,
    /// Hits, by the number of the rule.
    hits: HashMap<MapData, u32, RawHits>,
    /// The map of `trie` once more, for reading many entries with one system call.
    trie_data: MapData,
}

/// When a rule or guard is made, and by whom.
#[derive(Clone, Copy)]
pub struct Stamp<'a> {
    /// The present by `CLOCK_MONOTONIC`, in ns.
    pub now_ns: u64,
    /// The present by `CLOCK_REALTIME`, in ns.
    pub wall_ns: u64,
    /// The user who makes it.
    pub by: &'a str,
}

impl Rules {
    /// Works on these maps; `trie_data` is the map of `trie` once more.
    pub fn new(
        trie: LpmTrie<MapData, RawKey, RawRule>,
        hits: HashMap<MapData, u32, RawHits>,
        trie_data: MapData,
    ) -> Self {
        Self {
            trie,
            hits,
            trie_data,
        }
    }

    /// Every rule, sorted by number. `path` gives the path of a cgroup id, `None` when the cgroup is gone.
    pub fn list(&self, mut path: impl FnMut(u64) -> Option<String>) -> Result<Vec<Installed>, Error> {
        let found = entries::<TRIE_KEY, { size_of::<Rule>() }>(&self.trie_data, "rules")?;
        let mut list = Vec::with_capacity(found.len());
        for (key, raw) in &found {
            // `struct bpf_lpm_trie_key`: the length of the prefix, then the data.
            let (prefix_len, data) = key.split_at(size_of::<u32>());
            let (Ok(prefix_len), Ok(data)) = (prefix_len.try_into(), data.try_into()) else {
                continue;
            };
            let key: RuleKey = codec::value::<{ size_of::<RuleKey>() }, _>(data);
            let rule: Rule = codec::value(raw);
            let Some(spec) = spec(u32::from_ne_bytes(prefix_len), &key, &rule, &mut path) else {
                continue;
            };
            list.push(Installed {
                spec,
                id: rule.id,
                created_ns: rule.created_ns,
                expires_ns: rule.expires_ns,
                by: codec::read(&rule.by).into_owned(),
                hits: self.hits_of(rule.id),
            });
        }
        list.sort_by_key(|rule| rule.id);
        list.dedup_by_key(|rule| rule.id);
        Ok(list)
    }

    /// The hits of a rule. One lookup per rule: reading the whole map walks over all its buckets and takes as long for one
    /// rule as for ten thousand.
    fn hits_of(&self, id: u32) -> Hits {
        let raw = self.hits.get(&id, 0);
        raw.map(|raw| codec::value(&raw)).unwrap_or_default()
    }

    fn ids_with_hits(&self) -> Result<Vec<u32>, Error> {
        let ids = self.hits.keys().collect::<Result<_, _>>();
        ids.map_err(|error| Error::map("read", "hits".into(), &error))
    }

    /// Adds a rule: first its hits, because the program counts from the moment the rule is there.
    pub fn add(&mut self, spec: &RuleSpec, id: u32, stamp: Stamp<'_>) -> Result<(), Error> {
        self.hits
            .insert(id, [0; size_of::<Hits>()], NO_EXIST)
            .map_err(|error| Error::map("add", spec.to_string(), &error))?;
        let written = self
            .trie
            .insert(&key(spec), codec::bytes(&rule(spec, id, stamp)), NO_EXIST);
        written.map_err(|error| {
            // Hits without a rule do no harm; should this fail as well, the next command removes them.
            let _ = self.hits.remove(&id);
            Error::map("add", spec.to_string(), &error)
        })
    }

    /// Replaces the rule for the same cgroup and prefix; its hits stay.
    pub fn replace(&mut self, spec: &RuleSpec, id: u32, stamp: Stamp<'_>) -> Result<(), Error> {
        self.trie
            .insert(&key(spec), codec::bytes(&rule(spec, id, stamp)), EXIST)
            .map_err(|error| Error::map("change", spec.to_string(), &error))
    }

    /// Removes a rule and its hits. A rule that does not exist is no error.
    pub fn remove(&mut self, rule: &Installed) -> Result<(), Error> {
        match self.trie.remove(&key(&rule.spec)) {
            Ok(()) | Err(aya::maps::MapError::KeyNotFound | aya::maps::MapError::ElementNotFound) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Error::map("remove", rule.spec.to_string(), &error)),
        }
        self.remove_hits(rule.id);
        Ok(())
    }

    /// Removes hits without a rule, which a killed command may have left.
    pub fn tidy(&mut self, rules: &[Installed]) -> Result<(), Error> {
        let live: HashSet<u32> = rules.iter().map(|rule| rule.id).collect();
        for id in self.ids_with_hits()?.into_iter().filter(|id| !live.contains(id)) {
            self.remove_hits(id);
        }
        Ok(())
    }

    fn remove_hits(&mut self, id: u32) {
        // Hits that are left over do no harm; the next command removes them.
        let _ = self.hits.remove(&id);
    }
}

/// Key and value of a map, as bytes.
type Entry<const K: usize, const V: usize> = ([u8; K], [u8; V]);

/// Every entry of a map whose keys and values have these lengths.
fn entries<const K: usize, const V: usize>(map: &MapData, what: &str) -> Result<Vec<Entry<K, V>>, Error> {
    let found =
        sys::map_entries(map.fd().as_fd(), K, V, MAX_RULES as usize).map_err(Error::io("read", what))?;
    let keys = found.keys.as_chunks().0.iter();
    Ok(keys
        .copied()
        .zip(found.values.as_chunks().0.iter().copied())
        .collect())
}

/// Whether the entry does not exist (ENOENT).
fn is_absent(error: &aya::maps::MapError) -> bool {
    matches!(error, aya::maps::MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::ENOENT))
}

fn key(spec: &RuleSpec) -> Key<RawKey> {
    let (bytes, family) = addr::bytes(spec.dst.address());
    let key = RuleKey::new(spec.cgroup.id, family, bytes);
    Key::new(KEY_BITS + u32::from(spec.dst.bits()), codec::bytes(&key))
}

fn rule(spec: &RuleSpec, id: u32, stamp: Stamp<'_>) -> Rule {
    let mut ports = [PortRange::default(); MAX_PORTS];
    for (slot, range) in ports.iter_mut().zip(&spec.ports) {
        *slot = *range;
    }
    let ttl_ns = nanos(spec.ttl.unwrap_or_default());
    Rule {
        expires_ns: if ttl_ns == 0 {
            0
        } else {
            stamp.now_ns.saturating_add(ttl_ns)
        },
        ttl_ns,
        created_ns: stamp.wall_ns,
        id,
        action: spec.action as u8,
        ports_len: u8::try_from(spec.ports.len().min(MAX_PORTS)).unwrap_or(0),
        bits: spec.dst.bits(),
        pad: 0,
        ports,
        by: codec::text(stamp.by),
        note: codec::text(&spec.note),
        cgroup: codec::tail(&spec.cgroup.path),
    }
}

fn spec(
    prefix_len: u32,
    key: &RuleKey,
    rule: &Rule,
    path: &mut impl FnMut(u64) -> Option<String>,
) -> Option<RuleSpec> {
    let id = u64::from_be_bytes(key.cgroup);
    let bits = u8::try_from(prefix_len.checked_sub(KEY_BITS)?).ok()?;
    Some(RuleSpec {
        cgroup: CgroupRef {
            path: path(id).unwrap_or_else(|| codec::read(&rule.cgroup).into_owned()),
            id,
        },
        dst: Prefix::new(addr::ip(&key.addr, key.family), bits),
        ports: rule.ports[..usize::from(rule.ports_len).min(MAX_PORTS)].to_vec(),
        action: PolicyAction::from_code(rule.action)?,
        ttl: (rule.ttl_ns > 0).then(|| Duration::from_nanos(rule.ttl_ns)),
        note: codec::read(&rule.note).into_owned(),
    })
}

/// A duration in ns, as far as 64 bits reach; those that users give are limited to 100 years.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
