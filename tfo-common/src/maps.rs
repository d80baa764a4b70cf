//! Names of maps, programs and globals: what user space looks up in the object. `tfo-ebpf` repeats them as
//! static names; a test in `tfo-cli` compares the two on the compiled object.

/// Ring buffer of [`crate::FlowEvent`].
pub const EVENTS: &str = "TFO_EVENTS";
/// Per-CPU array of `u64`, indexed by [`crate::counters::total_index`].
pub const TOTALS: &str = "TFO_TOTALS";
/// Per-CPU array of `u64`, indexed by [`crate::Loss`].
pub const LOSSES: &str = "TFO_LOSSES";
/// Per-CPU hash of network namespace inode -> [`crate::counters::NetnsCounters`].
pub const NETNS: &str = "TFO_NETNS";
/// LRU hash of [`crate::DestKey`] -> [`crate::DestStats`].
pub const DESTS: &str = "TFO_DESTS";
/// Hash of TFO connections under way, by socket address.
pub const FLOWS: &str = "TFO_FLOWS";
/// Array of `u64`: when plain connections sent their SYN, see [`crate::slots`].
pub const STARTS: &str = "TFO_STARTS";
/// Memory-mapped array of `u64`: times to first byte, see [`crate::slots`].
pub const FIRST_BYTES: &str = "TFO_FIRST_BYTES";
/// Socket storage of listeners: the callback flags this tool added.
pub const LISTENERS: &str = "TFO_LISTENERS";
/// LRU hash of server facts, socket cookie -> facts of the SYN.
pub const REQUESTS: &str = "TFO_REQUESTS";
/// Array of `u32`, indexed by [`crate::flags::Control`]: switches that change while the programs run.
pub const CONTROL: &str = "TFO_CONTROL";
/// Every map, for listings and for the test that compares them with the object.
pub const ALL: [&str; 11] = [
    EVENTS,
    TOTALS,
    LOSSES,
    NETNS,
    DESTS,
    FLOWS,
    STARTS,
    FIRST_BYTES,
    LISTENERS,
    REQUESTS,
    CONTROL,
];

/// The global that carries [`crate::layout::Layout`].
pub const GLOBAL_LAYOUT: &str = "TFO_LAYOUT";
/// The global that carries [`crate::flags::Config`].
pub const GLOBAL_CONFIG: &str = "TFO_CONFIG";

/// `sock_ops` program.
pub const PROG_SOCK_OPS: &str = "tfo_sock_ops";
/// `tp_btf/tcp_receive_reset`.
pub const PROG_RECEIVE_RESET: &str = "tfo_rcv_reset";
/// `tp_btf/tcp_retransmit_synack`.
pub const PROG_RETRANSMIT_SYNACK: &str = "tfo_rtx_synack";
/// `tp_btf/tcp_destroy_sock`.
pub const PROG_DESTROY_SOCK: &str = "tfo_destroy";
/// `iter/tcp` that sets the callback flag on listeners and lists them.
pub const PROG_PRIME: &str = "tfo_prime";
/// `iter/tcp` that lists listeners and changes nothing.
pub const PROG_LIST: &str = "tfo_list";
/// `iter/tcp` that takes the callback flags back.
pub const PROG_RELEASE: &str = "tfo_release";
