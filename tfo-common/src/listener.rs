//! What the `iter/tcp` programs write per socket: records of two sizes, which begin with their [`Listed`] kind.

use crate::codes::codes;

/// Kind of a record: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Listed {
    /// [`ListenerRecord`].
    Listener = 1,
    /// [`DeferredRecord`].
    Deferred = 2,
}

/// One listening TCP socket of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ListenerRecord {
    /// [`Listed::Listener`]; 0 in records that never came from the kernel.
    pub kind: u8,
    /// 4 or 6 (a dual-stack socket is 6).
    pub family: u8,
    /// What the program did, one of [`Primed`].
    pub primed: u8,
    /// 1 for the TCP socket below an MPTCP socket.
    pub mptcp: u8,
    /// Network namespace inode.
    pub netns: u32,
    /// cgroup v2 id; 0 where unknown.
    pub cgroup_id: u64,
    /// Bound address, network order; IPv4 in the first four bytes; all zero for "any".
    pub local: [u8; 16],
    /// `fastopenq.qlen`: children whose handshake is not finished.
    pub tfo_qlen: u32,
    /// `fastopenq.max_qlen`: 0 means TFO is off on this listener.
    pub tfo_max_qlen: u32,
    /// `sk_ack_backlog`: connections waiting for `accept()`.
    pub backlog: u32,
    /// `sk_max_ack_backlog`.
    pub max_backlog: u32,
    /// User that owns the socket.
    pub uid: u32,
    /// `net.ipv4.tcp_fastopen` of its namespace, bits as in `TFO_*` (include/net/tcp.h); [`UNKNOWN`] where it
    /// could not be read.
    pub tcp_fastopen: u32,
    /// Host order.
    pub local_port: u16,
    /// Zero.
    pub pad: [u16; 3],
    /// Inode number of the socket, as in /proc/PID/fd; 0 where unknown. Not given again for a long time.
    pub inode: u64,
    /// SYNs with Fast Open since the programs were attached, counted when they were answered, indexed by [`Arrival`].
    pub arrivals: [u64; Arrival::COUNT],
}

/// [`ListenerRecord::tcp_fastopen`] where it could not be read.
pub const UNKNOWN: u32 = u32::MAX;

impl Default for ListenerRecord {
    /// Nothing but that the sysctl of its namespace is unknown.
    fn default() -> Self {
        Self {
            kind: 0,
            family: 0,
            primed: 0,
            mptcp: 0,
            netns: 0,
            cgroup_id: 0,
            local: [0; 16],
            tfo_qlen: 0,
            tfo_max_qlen: 0,
            backlog: 0,
            max_backlog: 0,
            uid: 0,
            tcp_fastopen: UNKNOWN,
            local_port: 0,
            pad: [0; 3],
            inode: 0,
            arrivals: [0; Arrival::COUNT],
        }
    }
}

impl ListenerRecord {
    /// `net.ipv4.tcp_fastopen` of its namespace, where it could be read.
    pub const fn sysctl(&self) -> Option<u32> {
        match self.tcp_fastopen {
            UNKNOWN => None,
            value => Some(value),
        }
    }

    /// SYNs with Fast Open it dealt with so since the programs were attached.
    pub const fn arrived(&self, what: Arrival) -> u64 {
        self.arrivals[what as usize]
    }
}

codes! {
    /// What a listener did with a SYN that carried Fast Open. A SYN under SYN cookies knows its listener no more, and
    /// is none of these.
    Arrival: u8 {
        /// A child was made from it.
        Accepted = 0, "accepted";
        /// Its data or cookie was not taken: wrong cookie, Fast Open off, the option lost.
        Rejected = 1, "rejected";
        /// The Fast Open queue was full.
        Overflow = 2, "overflow";
    }
}

/// What became of SYNs with Fast Open of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Arrived {
    /// Address of the listener's socket; 0 while it is nobody's.
    pub listener: u64,
    /// Listeners that wanted this place while it was nobody's: the first of them has it, or nobody where two came at once.
    pub claims: u64,
    /// Counts, indexed by [`Arrival`].
    pub counts: [u64; Arrival::COUNT],
    /// Zero: a place is a cache line.
    pub pad: [u64; 3],
}

/// What happened to a listener's callback flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Primed {
    /// Only listed.
    No = 0,
    /// Flag set (or taken back).
    Done = 1,
    /// It was as wanted already.
    Already = 2,
    /// The kernel refused.
    Refused = 3,
}

/// A socket whose connect waits for its first write (`TCP_FASTOPEN_CONNECT` with a cookie at hand): nothing was sent yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DeferredRecord {
    /// [`Listed::Deferred`].
    pub kind: u8,
    /// 4 or 6: the family on the wire.
    pub family: u8,
    /// Remote port, host order.
    pub port: u16,
    /// Network namespace inode.
    pub netns: u32,
    /// cgroup v2 id; 0 where unknown.
    pub cgroup_id: u64,
    /// Where to, network order; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// Inode number of the socket, as in /proc/PID/fd; 0 where unknown. Not given again for a long time.
    pub inode: u64,
}

const _: () = assert!(size_of::<ListenerRecord>() == 96);
const _: () = assert!(size_of::<DeferredRecord>() == 40);
const _: () = assert!(size_of::<Arrived>() == 64);
