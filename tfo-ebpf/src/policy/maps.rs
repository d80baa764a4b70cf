//! The maps of rules and guards, all pinned by user space.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, SkStorage},
    macros::btf_map,
};
use tfo_common::{
    guard::{self, Birth, GuardConfig, GuardKey, GuardState, Slot, Watch},
    policy::{self, Hits, InForce, Learned, Mark, Rule, RuleKey, Stat, Switch},
};

use crate::direct::Direct;

/// Rules.
#[btf_map]
pub static TFO_POL_RULES: LpmTrie<RuleKey, Rule, { policy::MAX_RULES as usize }> = LpmTrie::new();

/// How often each rule applied.
#[btf_map]
pub static TFO_POL_HITS: HashMap<u32, Hits, { policy::MAX_RULES as usize }> = HashMap::new();

/// What became of sockets.
#[btf_map]
pub static TFO_POL_MARKS: SkStorage<Mark> = SkStorage::new();

/// What is in force.
pub static TFO_POL_FORCE: Direct<InForce, { policy::FORCE_NUMBER }> = Direct::new();

/// What the programs have found out.
pub static TFO_POL_LEARNED: Direct<Learned, { policy::LEARNED_NUMBER }> = Direct::new();

/// What user space notes for itself, indexed by [`Switch`].
#[btf_map]
pub static TFO_POL_SWITCH: Array<u32, { Switch::COUNT as usize }> = Array::new();

/// Counters, indexed by [`Stat`].
#[btf_map]
pub static TFO_POL_STATS: PerCpuArray<u64, { Stat::COUNT }> = PerCpuArray::new();

/// Guards, by cgroup id.
#[btf_map]
pub static TFO_POL_GUARDS: HashMap<u64, GuardConfig, { policy::MAX_GUARDS as usize }> = HashMap::new();

/// Failing destinations.
#[btf_map]
pub static TFO_POL_STATES: LruHashMap<GuardKey, GuardState, { policy::MAX_STATES as usize }> =
    LruHashMap::new();

/// What is counted of every destination and network.
#[btf_map]
pub static TFO_POL_SLOTS: Array<Slot, { guard::SLOTS as usize }> = Array::new();

/// Handshakes guards want to know the end of.
#[btf_map]
pub static TFO_POL_WATCHES: Array<Watch, { guard::WATCHES as usize }> = Array::new();

/// Handshakes that began before anything had failed.
#[btf_map]
pub static TFO_POL_BIRTHS: Array<Birth, { guard::BIRTHS as usize }> = Array::new();

/// Where `sock_ops` goes on.
#[btf_map]
pub static TFO_POL_TAILS: ProgramArray<{ policy::Tail::COUNT }> = ProgramArray::new();

/// What `sock_ops` goes on with in the end: a program of an observer, which knows when that has been killed.
#[btf_map]
pub static TFO_POL_AFTER: ProgramArray<1> = ProgramArray::new();

/// Inodes of network namespaces with a failure, for whoever looks.
#[btf_map]
pub static TFO_POL_NETS: LruHashMap<u64, u32, { policy::MAX_NETS as usize }> = LruHashMap::new();

/// Trials under way: inserting is how one connection among many gets to be the trial.
#[btf_map]
pub static TFO_POL_TRIALS: LruHashMap<GuardKey, u64, { policy::MAX_STATES as usize }> = LruHashMap::new();
