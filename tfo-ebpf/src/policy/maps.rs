//! The maps of rules and guards, all pinned by user space.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, SkStorage},
    macros::btf_map,
};
use tfo_common::{
    guard::{GuardConfig, GuardKey, GuardState, Seen},
    policy::{self, Hits, Mark, Rule, RuleKey, Stat, Switch},
};

/// Rules.
#[btf_map]
pub static TFO_POL_RULES: LpmTrie<RuleKey, Rule, { policy::MAX_RULES as usize }> = LpmTrie::new();

/// How often each rule applied.
#[btf_map]
pub static TFO_POL_HITS: HashMap<u32, Hits, { policy::MAX_RULES as usize }> = HashMap::new();

/// What became of sockets.
#[btf_map]
pub static TFO_POL_MARKS: SkStorage<Mark> = SkStorage::new();

/// Switches, indexed by [`Switch`].
#[btf_map]
pub static TFO_POL_SWITCH: Array<u32, { Switch::COUNT as usize }> = Array::new();

/// Counters, indexed by [`Stat`].
#[btf_map]
pub static TFO_POL_STATS: Array<u64, { Stat::COUNT }> = Array::new();

/// Guards, by cgroup id.
#[btf_map]
pub static TFO_POL_GUARDS: HashMap<u64, GuardConfig, { policy::MAX_GUARDS as usize }> = HashMap::new();

/// Failing destinations.
#[btf_map]
pub static TFO_POL_STATES: LruHashMap<GuardKey, GuardState, { policy::MAX_STATES as usize }> =
    LruHashMap::new();

/// Successes of destinations.
#[btf_map]
pub static TFO_POL_SEEN: LruHashMap<GuardKey, Seen, { policy::MAX_STATES as usize }> = LruHashMap::new();

/// Trials under way: inserting is how one connection among many gets to be the trial.
#[btf_map]
pub static TFO_POL_TRIALS: LruHashMap<GuardKey, u64, { policy::MAX_STATES as usize }> = LruHashMap::new();
