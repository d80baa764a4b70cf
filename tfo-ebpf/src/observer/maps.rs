//! The observer's maps and load-time switches. Names are those of `tfo_common::maps`.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf, SkStorage},
    macros::btf_map,
};
use tfo_common::{
    CrossCheck, DestCounts, DestKey, FlowEvent,
    counters::{LOSS_ENTRIES, NetnsCounters, TOTALS},
    dest::Lived,
    flags::{Config, Control, mask32, mask128},
    limits,
    listener::{Arrival, Arrived},
    maps::{self, Part},
    records::Block,
    request::Request,
};

use crate::{
    direct::Direct,
    observer::{
        flow::{Claim, Place},
        listener::ListenerFlags,
    },
};

/// A ring of flow records.
pub type Ring = RingBuf<FlowEvent, { limits::RING_BYTES as usize }>;

/// Flow records, for user space to read in place.
#[btf_map]
pub static TFO_RECORDS: Array<Block, { limits::RECORD_BLOCKS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();

/// Flow records that found no room there, of CPUs with an even number.
#[btf_map]
pub static TFO_EVENTS: Ring = RingBuf::new();

/// The same of CPUs with an odd number.
#[btf_map]
pub static TFO_EVENTS_ODD: Ring = RingBuf::new();

/// Handshakes by role and outcome.
#[btf_map]
pub static TFO_TOTALS: PerCpuArray<u64, { TOTALS as usize }> = PerCpuArray::new();

/// Losses and bookkeeping.
#[btf_map]
pub static TFO_LOSSES: PerCpuArray<u64, { LOSS_ENTRIES as usize }> = PerCpuArray::new();

/// Cross-check counters by network namespace.
#[btf_map]
pub static TFO_NETNS: PerCpuHashMap<u32, NetnsCounters, { limits::NETNS as usize }> = PerCpuHashMap::new();

/// The destination table.
#[btf_map]
pub static TFO_DESTS: LruHashMap<DestKey, DestCounts, { limits::DESTS as usize }> = LruHashMap::new();

/// TFO connections under way.
pub static TFO_FLOWS: Direct<[Place; limits::FLOWS as usize], { maps::FLOWS_NUMBER }> = Direct::new();

/// Who may have the places of [`TFO_FLOWS`].
pub static TFO_CLAIMS: Direct<[Claim; limits::FLOWS as usize], { maps::CLAIMS_NUMBER }> = Direct::new();

/// The epoch of what stands in [`TFO_FLOWS`] as the beginning of a connection. It is written only where it changes, so that all CPUs
/// have it in their caches: where a socket ends, its place is mostly in that of another.
pub static TFO_EPOCHS: Direct<[u16; limits::FLOWS as usize], { maps::EPOCHS_NUMBER }> = Direct::new();

/// When plain connections began.
pub static TFO_STARTS: Direct<[u64; limits::STARTS as usize], { maps::STARTS_NUMBER }> = Direct::new();

/// Times to first byte, for user space to read in place.
pub static TFO_FIRST_BYTES: Direct<[u64; limits::FIRST_BYTES as usize], { maps::FIRST_BYTES_NUMBER }> =
    Direct::new();

/// Connections that ended late, by destination.
#[btf_map]
pub static TFO_LIVED: HashMap<DestKey, Lived, { limits::LIVED as usize }> = HashMap::new();

/// Callback flags we added to listeners.
#[btf_map]
pub static TFO_LISTENERS: SkStorage<ListenerFlags> = SkStorage::new();

/// Ports whose listeners have a flag of ours.
pub static TFO_PRIMED: Direct<[u64; limits::PRIMED as usize], { maps::PRIMED_NUMBER }> = Direct::new();

/// What became of SYNs with Fast Open, each listener at its place, on each CPU: a look-up in a hash took 25 ns, and a line that
/// all CPUs write 45.
#[btf_map]
pub static TFO_ARRIVED: Array<Arrived, { (limits::ARRIVED * limits::ARRIVED_CPUS) as usize + 1 }> =
    Array::new();

/// The same of listeners whose place another one has, by their address. Its next listen() begins anew.
#[btf_map]
pub static TFO_ARRIVALS: LruHashMap<u64, [u64; Arrival::COUNT], { limits::LISTENERS as usize }> =
    LruHashMap::new();

/// Inodes of network namespaces, by cookie.
pub static TFO_INODES: Direct<[u64; limits::NETNS as usize], { maps::INODES_NUMBER }> = Direct::new();

/// Facts of SYNs whose handshake is under way, by socket cookie (the child inherits the request's), or by
/// address for SYN cookies.
#[btf_map]
pub static TFO_REQUESTS: LruHashMap<u64, Request, { limits::REQUESTS as usize }> = LruHashMap::new();

/// How many SYNs of each kind may wait among [`TFO_REQUESTS`], by [`tfo_common::slots::request_kind`].
pub static TFO_WAITING: Direct<[u32; limits::REQUEST_KINDS], { maps::WAITING_NUMBER }> = Direct::new();

/// Switches, indexed by [`Control`].
pub static TFO_CONTROL: Direct<[u32; Control::ROOM as usize], { maps::CONTROL_NUMBER }> = Direct::new();

/// The programs `tfo_sock_ops` jumps to, indexed by [`Part`].
#[btf_map]
pub static TFO_PARTS: ProgramArray<{ Part::COUNT }> = ProgramArray::new();

/// Load-time switches.
#[unsafe(no_mangle)]
pub static TFO_CONFIG: Global<Config> = Global::new(Config {
    emit_plain: 0,
    typed_task: 0,
    arrived_alone: 0,
    pad: 0,
    server_v4_mask: mask32(limits::SERVER_V4_PREFIX),
    server_v6_mask: mask128(limits::SERVER_V6_PREFIX),
    wake_bytes: limits::RING_WAKE_BYTES,
    scope_id: 0,
    scope_level: 0,
    ttfb_sample: limits::TTFB_SAMPLE,
    tick_us: 0,
    long_lived_ms: limits::LONG_LIVED_MS,
});

/// A new row of the destination table: 600 bytes do not fit the BPF stack, so it is copied from here.
pub static ZERO_DEST: DestCounts = DestCounts::ZERO;

/// A new row of a network namespace: on the stack its zeros would be a call of `memset`.
pub static ZERO_NETNS: NetnsCounters = NetnsCounters {
    counts: [0; CrossCheck::COUNT],
};

/// A new row of a listener, likewise.
pub static ZERO_ARRIVALS: [u64; Arrival::COUNT] = [0; Arrival::COUNT];

/// What the addresses of sockets are compared with: the distance is a number to the verifier.
pub static ANCHOR: u64 = 0;

/// A new row of a destination whose connections ended late, likewise.
pub static ZERO_LIVED: Lived = Lived {
    ended: 0,
    lived_us: 0,
    bytes: 0,
};

/// A load-time switch, `config!(emit_plain)`, without copying the rest: the verifier sees a constant and removes the
/// branches it rules out.
macro_rules! config {
    ($field:ident) => {{
        // SAFETY: the global is a live, initialised static of this type; `Global` is
        // `repr(transparent)`. Volatile keeps LLVM from folding in the value it was compiled with.
        unsafe {
            core::ptr::read_volatile(
                &raw const (*(&raw const $crate::observer::maps::TFO_CONFIG)
                    .cast::<tfo_common::flags::Config>())
                .$field,
            )
        }
    }};
}
pub(crate) use config;
