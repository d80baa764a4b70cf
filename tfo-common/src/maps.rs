//! Names of maps, programs and globals: what user space looks up in the object. `tfo-ebpf` repeats them as
//! static names; a test in `tfo-cli` compares the two on the compiled object.

use crate::{direct::Direct, flags::Control, limits};

/// Memory-mapped array of [`crate::records::Block`]: records of flows.
pub const RECORDS: &str = "TFO_RECORDS";
/// Ring buffer of [`crate::FlowEvent`] for those that find no room there, for CPUs with an even number.
pub const EVENTS: &str = "TFO_EVENTS";
/// The same for CPUs with an odd number: lock and positions of one ring go from cache to cache with each record.
pub const EVENTS_ODD: &str = "TFO_EVENTS_ODD";
/// Per-CPU array of `u64`, indexed by [`crate::counters::total_index`].
pub const TOTALS: &str = "TFO_TOTALS";
/// Per-CPU array of `u64`, indexed by [`crate::Loss`].
pub const LOSSES: &str = "TFO_LOSSES";
/// Per-CPU hash of network namespace inode -> [`crate::counters::NetnsCounters`].
pub const NETNS: &str = "TFO_NETNS";
/// LRU hash of [`crate::DestKey`] -> [`crate::DestCounts`].
pub const DESTS: &str = "TFO_DESTS";
/// Array of TFO connections under way, each at one of the places that its socket's address leads to, see [`crate::slots`]; and of
/// when the connections of sockets that begin there began, in the form of [`STARTS`].
pub const FLOWS: &str = "TFO_FLOWS";
/// Array beside it: who may have its places.
pub const CLAIMS: &str = "TFO_CLAIMS";
/// Array: for each place of [`FLOWS`] the epoch in which the connection began whose beginning stands there
/// ([`crate::slots::epoch`]), as `u16`.
pub const EPOCHS: &str = "TFO_EPOCHS";
/// Array of `u64`: when plain connections sent their SYN, see [`crate::slots`].
pub const STARTS: &str = "TFO_STARTS";
/// Memory-mapped array of `u64`: times to first byte, see [`crate::slots`].
pub const FIRST_BYTES: &str = "TFO_FIRST_BYTES";
/// Hash of [`crate::DestKey`] -> [`crate::dest::Lived`].
pub const LIVED: &str = "TFO_LIVED";
/// Socket storage of listeners: the callback flags this tool added.
pub const LISTENERS: &str = "TFO_LISTENERS";
/// Array of `u64`: ports whose listeners have a callback flag of ours, see [`crate::slots::primed_value`].
pub const PRIMED: &str = "TFO_PRIMED";
/// Array of `u64`: inodes of network namespaces, see [`crate::slots::inode_value`].
pub const INODES: &str = "TFO_INODES";
/// Array of what became of SYNs with Fast Open: [`crate::listener::Arrived`], each at the place that the listener's address leads to
/// on this CPU ([`crate::slots::arrived_place`]). The first listener that wants one has it, or nobody where two come at once.
pub const ARRIVED: &str = "TFO_ARRIVED";
/// LRU hash of the same for listeners whose place another one has, listener's address -> counts.
pub const ARRIVALS: &str = "TFO_ARRIVALS";
/// LRU hash of server facts, socket cookie -> facts of the SYN.
pub const REQUESTS: &str = "TFO_REQUESTS";
/// Memory-mapped array: how many SYNs of each kind may wait in [`REQUESTS`], as `u32`.
pub const WAITING: &str = "TFO_WAITING";
/// Memory-mapped array of `u32`, indexed by [`crate::flags::Control`]: switches that change while the programs run.
pub const CONTROL: &str = "TFO_CONTROL";
/// Array of the programs [`PROG_SOCK_OPS`] jumps to, indexed by [`Part`].
pub const PARTS: &str = "TFO_PARTS";
/// Every map, for listings and for the test that compares them with the object.
pub const ALL: [&str; 22] = [
    RECORDS,
    EVENTS,
    EVENTS_ODD,
    TOTALS,
    LOSSES,
    NETNS,
    DESTS,
    FLOWS,
    CLAIMS,
    EPOCHS,
    STARTS,
    FIRST_BYTES,
    LIVED,
    LISTENERS,
    PRIMED,
    INODES,
    ARRIVED,
    ARRIVALS,
    REQUESTS,
    WAITING,
    CONTROL,
    PARTS,
];

/// Number of [`FLOWS`] in [`DIRECT`].
pub const FLOWS_NUMBER: u32 = 0;
/// Number of [`CLAIMS`] in [`DIRECT`].
pub const CLAIMS_NUMBER: u32 = 1;
/// Number of [`EPOCHS`] in [`DIRECT`].
pub const EPOCHS_NUMBER: u32 = 2;
/// Number of [`STARTS`] in [`DIRECT`].
pub const STARTS_NUMBER: u32 = 3;
/// Number of [`FIRST_BYTES`] in [`DIRECT`].
pub const FIRST_BYTES_NUMBER: u32 = 4;
/// Number of [`PRIMED`] in [`DIRECT`].
pub const PRIMED_NUMBER: u32 = 5;
/// Number of [`INODES`] in [`DIRECT`].
pub const INODES_NUMBER: u32 = 6;
/// Number of [`WAITING`] in [`DIRECT`].
pub const WAITING_NUMBER: u32 = 7;
/// Number of [`CONTROL`] in [`DIRECT`].
pub const CONTROL_NUMBER: u32 = 8;
/// The maps of [`ALL`] that user space makes before it loads the object, because programs have their address.
pub const DIRECT: [Direct; 9] = [
    Direct::of(FLOWS, limits::FLOW_BYTES, limits::FLOWS).mapped(),
    Direct::of(CLAIMS, limits::CLAIM_BYTES, limits::FLOWS),
    Direct::of(EPOCHS, size_of::<u16>(), limits::FLOWS),
    Direct::of(STARTS, size_of::<u64>(), limits::STARTS),
    Direct::of(FIRST_BYTES, size_of::<u64>(), limits::FIRST_BYTES).mapped(),
    Direct::of(PRIMED, size_of::<u64>(), limits::PRIMED),
    Direct::of(INODES, size_of::<u64>(), limits::NETNS),
    Direct::of(WAITING, size_of::<u32>(), limits::REQUEST_KINDS as u32).mapped(),
    Direct::of(CONTROL, size_of::<u32>(), Control::ROOM).mapped(),
];

/// The global that carries [`crate::flags::Config`].
pub const GLOBAL_CONFIG: &str = "TFO_CONFIG";

/// The `sock_ops` program that is attached: it only decides which [`Part`] does the work.
pub const PROG_SOCK_OPS: &str = "tfo_sock_ops";
/// `tp_btf/tcp_receive_reset`.
pub const PROG_RECEIVE_RESET: &str = "tfo_rcv_reset";
/// `tp_btf/tcp_retransmit_synack`.
pub const PROG_RETRANSMIT_SYNACK: &str = "tfo_rtx_synack";
/// `tp_btf/tcp_destroy_sock`.
pub const PROG_DESTROY_SOCK: &str = "tfo_destroy";
/// `tp_btf/inet_sk_error_report`.
pub const PROG_SK_ERROR: &str = "tfo_sk_error";
/// `iter/tcp` that sets the callback flag on listeners and lists them.
pub const PROG_PRIME: &str = "tfo_prime";
/// `iter/tcp` that lists listeners and changes nothing.
pub const PROG_LIST: &str = "tfo_list";
/// `iter/tcp` that takes the callback flags back.
pub const PROG_RELEASE: &str = "tfo_release";
/// `sock_ops` that a policy goes on with ([`crate::policy::AFTER`]): takes back what a copy that was killed has left on a
/// socket.
pub const PROG_GIVE_BACK: &str = "tfo_give_back";
/// Every program that is attached, iterated or handed over, for the test that compares them with the object. The parts of
/// `sock_ops` are in [`Part::ALL`].
pub const PROGRAMS: [&str; 9] = [
    PROG_SOCK_OPS,
    PROG_RECEIVE_RESET,
    PROG_RETRANSMIT_SYNACK,
    PROG_DESTROY_SOCK,
    PROG_SK_ERROR,
    PROG_PRIME,
    PROG_LIST,
    PROG_RELEASE,
    PROG_GIVE_BACK,
];

/// A part of the `sock_ops` program: a program of its own, reached by a tail call. Each is verified and compiled
/// by itself, so that no one grows past what a verifier takes, and a healthy connection does not drag the code of
/// rare events through the instruction cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// A connection begins.
    Connect = 0,
    /// A SYN is answered.
    SynAnswered = 1,
    /// The handshake of a client that asked for TFO is over: its SYN's data was accepted, nothing else happened. Where
    /// anything did, it goes on in [`Part::Rare`].
    ClientEstablished = 2,
    /// The handshake of a server is over, or a child was made from a SYN.
    ServerEstablished = 3,
    /// A client that asked for TFO builds a header while it awaits the first byte.
    FirstByte = 4,
    /// A state changes, a timer fires, a listener begins; a socket connects once more; a handshake with TFO is over, and
    /// the data of the SYN was not taken.
    Rare = 5,
    /// A verdict is counted and told, by a record in a block ([`crate::records`]).
    Finish = 6,
    /// The handshake of a client that did not ask for TFO is over.
    ClientPlain = 7,
    /// A header of a plain connection is built while the first byte is awaited.
    PlainByte = 8,
    /// Nothing: that it can be reached shows [`PROG_GIVE_BACK`] that the process lives which attached the programs.
    Alive = 9,
    /// A header is built, of a server or of a client whose flow is not at its first place, while the first byte is awaited.
    OtherByte = 10,
    /// A verdict that no reader of a record counts is counted: by destination and network namespace.
    Count = 11,
    /// A verdict that finds no room in a block is counted and told by a record in a ring.
    FinishByRing = 12,
}

impl Part {
    /// Every part, in the order of the codes.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::SynAnswered,
        Self::ClientEstablished,
        Self::ServerEstablished,
        Self::FirstByte,
        Self::Rare,
        Self::Finish,
        Self::ClientPlain,
        Self::PlainByte,
        Self::Alive,
        Self::OtherByte,
        Self::Count,
        Self::FinishByRing,
    ];
    /// Number of parts.
    pub const COUNT: usize = Self::ALL.len();

    /// Name of its program, at most 15 bytes (`BPF_OBJ_NAME_LEN`).
    pub const fn program(self) -> &'static str {
        match self {
            Self::Connect => "tfo_connect",
            Self::SynAnswered => "tfo_syn_answer",
            Self::ClientEstablished => "tfo_client_est",
            Self::ServerEstablished => "tfo_server_est",
            Self::FirstByte => "tfo_first_byte",
            Self::Rare => "tfo_rare",
            Self::Finish => "tfo_finish",
            Self::ClientPlain => "tfo_plain_est",
            Self::PlainByte => "tfo_plain_byte",
            Self::Alive => "tfo_alive",
            Self::OtherByte => "tfo_other_byte",
            Self::Count => "tfo_count",
            Self::FinishByRing => "tfo_finish_ring",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_at_their_numbers() {
        for (number, name) in [
            (FLOWS_NUMBER, FLOWS),
            (CLAIMS_NUMBER, CLAIMS),
            (EPOCHS_NUMBER, EPOCHS),
            (STARTS_NUMBER, STARTS),
            (FIRST_BYTES_NUMBER, FIRST_BYTES),
            (PRIMED_NUMBER, PRIMED),
            (INODES_NUMBER, INODES),
            (WAITING_NUMBER, WAITING),
            (CONTROL_NUMBER, CONTROL),
        ] {
            assert_eq!(DIRECT[number as usize].name, name);
        }
    }

    #[test]
    fn parts_are_numbered_without_gaps_and_their_names_fit() {
        for (index, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, index);
            assert!(
                part.program().starts_with("tfo_") && part.program().len() <= 15,
                "{part:?}"
            );
        }
        assert!(
            PROGRAMS
                .iter()
                .all(|name| name.starts_with("tfo_") && name.len() <= 15),
            "{PROGRAMS:?}"
        );
    }
}
