//! THE classifier: facts of one handshake in, its outcome out.
//!
//! Pure, total and free of I/O. The same code runs inside the BPF programs, in replay and in tests; nothing
//! else in the project decides an outcome.

use crate::{
    codes::codes,
    outcome::{Outcome, Role},
};

/// How the handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// The connection was established (for a server child made from the SYN: the child exists).
    Established = 0,
    /// A RST ended it.
    Reset = 1,
    /// It ended any other way: timeout, ICMP error, the application closed.
    Failed = 2,
}

codes! {
    /// The TFO option in the first SYN (RFC 7413 section 4.1.1): kind 34, or 254 with magic 0xF989.
    TfoOption: u8 {
        /// No TFO option.
        None = 0, "none";
        /// An empty option: the client asks for a cookie.
        Request = 1, "request";
        /// An option with a cookie.
        Cookie = 2, "cookie";
    }
}

/// Whether, and by whom, SYN data that the kernel had built was kept from leaving this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Withheld {
    /// It left, or there was none.
    No = 0,
    /// A tfo-cli policy dropped it.
    Policy = 1,
    /// Something else on this host did: firewall, qdisc, ENOBUFS.
    Other = 2,
}

/// What the server's listener could do for a SYN when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Listener {
    /// TFO on, room in its TFO queue (`qlen < max_qlen`).
    Ready = 0,
    /// TFO on, `fastopenq.qlen >= max_qlen` (`tcp_fastopen_queue_check`, `net/ipv4/tcp_fastopen.c`).
    QueueFull = 1,
    /// `max_qlen` is 0, or `net.ipv4.tcp_fastopen` lacks 0x2 in its network namespace.
    Off = 2,
}

/// The facts of one handshake.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each observed on its own"
)]
pub struct Handshake {
    /// Which end this host is.
    pub role: Role,
    /// How the handshake ended.
    pub end: End,
    /// Client: the application asked for TFO (`tp->fastopen_req` was set in `tcp_connect`). Server: the SYN
    /// carried the option, or a child was made from it; says nothing the other facts do not.
    pub requested: bool,
    /// Client: the first SYN that was built had neither option nor data although TFO was asked for and
    /// cookies are in use: the kernel's blackhole pause (`tcp_fastopen_active_should_disable`).
    pub paused: bool,
    /// Client: SYN data built but dropped before it left the host.
    pub withheld: Withheld,
    /// The TFO option of the first SYN that left (client) or of the SYN that came (server).
    pub option: TfoOption,
    /// Payload bytes of the SYN that left (client) or came (server).
    pub syn_data_len: u32,
    /// Client: how many of them the SYN-ACK acked.
    pub syn_data_acked: u32,
    /// Client: the SYN-ACK carried a cookie.
    pub cookie_received: bool,
    /// Client: SYN retransmissions before the handshake ended. Server: SYN-ACK retransmissions.
    pub syn_retrans: u32,
    /// Server: the child was created from the SYN (`tcp_fastopen_create_child`).
    pub child_from_syn: bool,
    /// Server: the SYN was answered under SYN cookies.
    pub syncookie: bool,
    /// Server: state of the listener when the SYN arrived.
    pub listener: Listener,
}

impl Handshake {
    /// An established handshake of this role in which TFO had no part.
    #[inline(always)]
    pub const fn plain(role: Role) -> Self {
        Self {
            role,
            end: End::Established,
            requested: false,
            paused: false,
            withheld: Withheld::No,
            option: TfoOption::None,
            syn_data_len: 0,
            syn_data_acked: 0,
            cookie_received: false,
            syn_retrans: 0,
            child_from_syn: false,
            syncookie: false,
            listener: Listener::Ready,
        }
    }
}

/// The outcome of a handshake.
#[inline(always)]
pub fn classify(facts: &Handshake) -> Outcome {
    match facts.role {
        Role::Client => classify_client(facts),
        Role::Server => classify_server(facts),
    }
}

/// Client side, in this order:
///
/// 1. Not asked for: `plain`.
/// 2. Paused: the SYN was bare, so nothing that follows can be TFO's doing.
/// 3. Never established: `reset` when a RST answered the first SYN, else `failed`. A RST to a bare
///    retransmission says nothing about TFO.
/// 4. Data withheld on this host: `denied` or `local-drop`.
/// 5. Data sent: by how much of it the SYN-ACK acked. Nothing acked and a cookie in the SYN-ACK means the
///    TFO SYN itself was answered (a retransmitted SYN-ACK carries no cookie, `tcp_rtx_synack`), even when
///    a retransmission had already left; nothing acked, no cookie and a retransmission is `syn-timeout`.
/// 6. Only the option sent: by what came back.
#[inline(always)]
fn classify_client(facts: &Handshake) -> Outcome {
    if !facts.requested {
        return Outcome::Plain;
    }
    if facts.paused {
        return Outcome::Paused;
    }
    match facts.end {
        End::Established => {}
        End::Reset if facts.syn_retrans == 0 => return Outcome::Reset,
        End::Reset | End::Failed => return Outcome::Failed,
    }
    match facts.withheld {
        Withheld::No => {}
        Withheld::Policy => return Outcome::Denied,
        Withheld::Other => return Outcome::LocalDrop,
    }
    let retransmitted = facts.syn_retrans > 0;
    if facts.syn_data_len > 0 {
        if facts.syn_data_acked >= facts.syn_data_len {
            return if retransmitted {
                Outcome::AcceptedLate
            } else {
                Outcome::Accepted
            };
        }
        return match (facts.syn_data_acked, facts.cookie_received, retransmitted) {
            (1.., _, _) => Outcome::PartlyAccepted,
            (0, true, _) => Outcome::CookieRejected,
            (0, false, true) => Outcome::SynTimeout,
            (0, false, false) => Outcome::DataRefused,
        };
    }
    match (facts.option, facts.cookie_received, retransmitted) {
        (TfoOption::Request, true, _) => Outcome::CookieGranted,
        (TfoOption::Request | TfoOption::Cookie, false, true) => Outcome::SynTimeout,
        (TfoOption::Request, false, false) => Outcome::CookieRefused,
        (TfoOption::Cookie, _, _) => Outcome::CookieOnly,
        // Zero bytes asked for in cookie-less mode: an ordinary SYN.
        (TfoOption::None, _, _) => Outcome::Plain,
    }
}

/// Server side, in the order of `tcp_conn_request` and `tcp_try_fastopen` (`net/ipv4/tcp_fastopen.c`).
#[inline(always)]
fn classify_server(facts: &Handshake) -> Outcome {
    if facts.child_from_syn {
        return Outcome::Accepted;
    }
    let has_option = !matches!(facts.option, TfoOption::None);
    if !has_option && facts.syn_data_len == 0 {
        return Outcome::Plain;
    }
    if facts.syncookie {
        return Outcome::Syncookie;
    }
    if !has_option {
        return Outcome::OptionStripped;
    }
    match facts.listener {
        Listener::Off => Outcome::NotEnabled,
        Listener::QueueFull => Outcome::QueueOverflow,
        Listener::Ready => match facts.option {
            TfoOption::Request => Outcome::CookieGranted,
            TfoOption::Cookie | TfoOption::None => Outcome::CookieRejected,
        },
    }
}

#[cfg(test)]
mod tests;
