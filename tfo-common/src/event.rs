//! Records of a flow: its [`FlowEvent`] comes by a block or a ring ([`crate::records`]); its [`FirstByteEvent`] is made in
//! user space, from [`crate::slots`]. Every record starts with its [`EventKind`] in the first byte.

use crate::limits::COMM_LEN;

/// Kind of a record: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// [`FlowEvent`].
    Flow = 1,
    /// [`FirstByteEvent`].
    FirstByte = 2,
}

/// One finished handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEvent {
    /// [`EventKind::Flow`].
    pub kind: u8,
    /// [`crate::Role`] code.
    pub role: u8,
    /// [`crate::Outcome`] code.
    pub outcome: u8,
    /// 4 or 6: the family on the wire.
    pub family: u8,
    /// [`crate::TfoOption`] code of the first SYN.
    pub option: u8,
    /// 34, 254, or 0 for no option.
    pub option_kind: u8,
    /// Bits of [`event_flags`].
    pub flags: u8,
    /// Policy action that withheld the SYN data: 0 none, else [`crate::PolicyAction`].
    pub policy: u8,
    /// What the flow is called: unique while the host runs ([`crate::slots::flow_id`]); the same in [`FirstByteEvent`].
    pub id: u64,
    /// `CLOCK_MONOTONIC` ns of the first SYN (client: when it was built; server: when it was answered).
    pub start_ns: u64,
    /// `CLOCK_MONOTONIC` ns of the verdict.
    pub end_ns: u64,
    /// cgroup v2 id; 0 where unknown.
    pub cgroup_id: u64,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Remote address, network order; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// Host order.
    pub local_port: u16,
    /// Host order.
    pub remote_port: u16,
    /// Network namespace inode; 0 where unknown.
    pub netns: u32,
    /// Process id (tgid, initial PID namespace) of the client; 0 for a server or where unknown.
    pub tgid: u32,
    /// Payload bytes of the SYN that left (client) or came (server).
    pub syn_data_len: u32,
    /// How many of them were acked (client) or accepted (server).
    pub syn_data_acked: u32,
    /// SYN (client) or SYN-ACK (server) retransmissions.
    pub syn_retrans: u32,
    /// First SYN to the end of the handshake, us; [`crate::time::UNSEEN_US`] when it never completed.
    pub handshake_us: u32,
    /// SYN that was answered to its answer, us; [`crate::time::UNSEEN_US`] where unknown.
    pub rtt_us: u32,
    /// First SYN to the first payload byte of the server's answer, us, if it came before the verdict;
    /// else [`crate::time::UNSEEN_US`], and a [`FirstByteEvent`] follows.
    pub ttfb_us: u32,
    /// One RTT for `accepted`, else 0, us.
    pub saved_us: u32,
    /// First SYN to the SYN that was answered, us, for `syn-timeout` and `accepted-late`; else 0.
    pub lost_us: u32,
    /// Bytes the application offered with the connect (`fastopen_req->size`), before the MSS cut it; 0 for a server. Only on the
    /// way to user space, of a server's child whose SYN had data: the sequence number behind the SYN's own, by which the
    /// record's reader knows a SYN that came twice ([`event_flags::SEEN_BEFORE`]).
    pub offered: u32,
    /// Name of the client's process, zero-padded; empty for a server.
    pub comm: [u8; COMM_LEN],
}

/// Bits of [`FlowEvent::flags`].
pub mod event_flags {
    /// The application asked for TFO.
    pub const REQUESTED: u8 = 1;
    /// The SYN-ACK carried a cookie (client).
    pub const COOKIE_RECEIVED: u8 = 2;
    /// The handshake ended with a RST.
    pub const RESET: u8 = 4;
    /// The connection was never established.
    pub const NOT_ESTABLISHED: u8 = 8;
    /// The same SYN (address, port and initial sequence number) had been accepted before (server). On the way to user space, where that is
    /// not known yet, it is [`TO_COUNT`].
    pub const SEEN_BEFORE: u8 = 16;
    /// Only on the way to user space: the kernel counted this connection as `TCPFastOpenActive` (client) or `TCPFastOpenPassive` (server),
    /// and the kernel side has not. The record's reader does.
    pub const TO_COUNT: u8 = SEEN_BEFORE;
    /// The SYN left with what looks like an HTTP request that may not be sent twice (client; where a policy or a capture
    /// looked at it).
    pub const HTTP_UNSAFE: u8 = 32;
    /// The SYN left with what looks like a DNS update (client; likewise).
    pub const DNS_UPDATE: u8 = 64;
    /// Only on the way to user space: the kernel side has not added this handshake to the row of its destination, and does not add its
    /// first byte. The record's reader does.
    pub const TO_ADD: u8 = 128;
}

/// Time to first byte of a flow whose [`FlowEvent`] was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FirstByteEvent {
    /// [`EventKind::FirstByte`].
    pub kind: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// First SYN to the first payload byte of the server's answer, us.
    pub ttfb_us: u32,
    /// As in [`FlowEvent::id`].
    pub id: u64,
}

const _: () = assert!(size_of::<FlowEvent>() == 136);
const _: () = assert!(size_of::<FirstByteEvent>() == 16);

/// A record, checked for kind and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A finished handshake.
    Flow(FlowEvent),
    /// Its first byte.
    FirstByte(FirstByteEvent),
}
