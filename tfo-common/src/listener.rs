//! What the `iter/tcp` programs write per listening socket.

/// One listening TCP socket of one network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ListenerRecord {
    /// cgroup v2 id; 0 where unknown.
    pub cgroup_id: u64,
    /// Bound address, network order; IPv4 in the first four bytes; all zero for "any".
    pub local: [u8; 16],
    /// Network namespace inode.
    pub netns: u32,
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
    /// Host order.
    pub local_port: u16,
    /// 4 or 6 (a dual-stack socket is 6).
    pub family: u8,
    /// What the program did, one of [`Primed`].
    pub primed: u8,
    /// Zero.
    pub pad: u32,
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

const _: () = assert!(size_of::<ListenerRecord>() == 56);
