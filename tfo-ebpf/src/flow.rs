//! State of one connection (socket storage), of one SYN under way, and of a listener.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::bpf_sk_storage_get,
};
use tfo_common::limits::COMM_LEN;

use crate::maps::{TFO_FLOWS, TFO_LISTENERS};

/// Where a flow stands.
pub mod stage {
    /// Handshake under way.
    pub const HANDSHAKE: u8 = 0;
    /// Verdict reached, waiting for the first byte of the server's answer.
    pub const FIRST_BYTE: u8 = 1;
    /// Nothing more to learn.
    pub const DONE: u8 = 2;
}

/// Bits of [`Flow::bits`].
pub mod bit {
    /// The application asked for TFO.
    pub const REQUESTED: u8 = 1;
    /// The first SYN was built.
    pub const SYN_BUILT: u8 = 2;
    /// A second SYN was built at once, without a retransmission: the first one never left.
    pub const WITHHELD: u8 = 4;
    /// The first SYN was bare although TFO was asked for.
    pub const PAUSED: u8 = 8;
    /// A RST came.
    pub const RESET: u8 = 16;
    /// Server child created from the SYN.
    pub const FROM_SYN: u8 = 32;
    /// A record left: its first byte deserves one too.
    pub const EMITTED: u8 = 64;
}

/// One connection.
#[repr(C)]
pub struct Flow {
    /// First SYN built (client) or answered (server), `CLOCK_MONOTONIC` ns.
    pub start_ns: u64,
    /// Latest SYN built (client).
    pub syn_ns: u64,
    /// cgroup v2 id, known from the verdict on.
    pub cgroup_id: u64,
    /// Bytes the application offered with the connect.
    pub offered: u32,
    /// Payload of the first SYN.
    pub syn_len: u32,
    /// Process id of the client.
    pub tgid: u32,
    /// Times to first byte seen before the verdict, us; [`UNSEEN_US`] otherwise.
    pub ttfb_us: u32,
    /// Name of the client's process.
    pub comm: [u8; COMM_LEN],
    /// SYN-ACK retransmissions of a child created from the SYN.
    pub synack_retrans: u16,
    /// Callbacks spent waiting for the first byte.
    pub waits: u16,
    /// One of [`stage`].
    pub stage: u8,
    /// Role code.
    pub role: u8,
    /// Bits of [`bit`].
    pub bits: u8,
    /// `TfoOption` code.
    pub option: u8,
    /// 34, 254 or 0.
    pub option_kind: u8,
    /// Callback flags we added and still have to take back.
    pub added: u8,
    /// Zero.
    pub pad: [u8; 6],
}

/// Facts of a SYN that carried TFO, kept until its handshake finishes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Request {
    /// When it was answered.
    pub start_ns: u64,
    /// Its payload.
    pub syn_len: u32,
    /// `TfoOption` code.
    pub option: u8,
    /// 34, 254 or 0.
    pub option_kind: u8,
    /// `classify::Listener` code, or [`LISTENER_UNKNOWN`].
    pub listener: u8,
    /// 1 when answered under SYN cookies.
    pub syncookie: u8,
}

/// [`Request::listener`] where this kernel hides the listener's state.
pub const LISTENER_UNKNOWN: u8 = 255;

/// Callback flags we added to a listener.
#[repr(C)]
pub struct Mark {
    /// The bits.
    pub added: u32,
}

impl Flow {
    /// Whether this bit of [`bit`] is set.
    #[inline(always)]
    pub fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

/// The flow of a socket, if it has one. `sk` may be any socket pointer the verifier knows, also NULL.
///
/// The reference lives as long as the program runs: the kernel frees storage after an RCU grace period.
#[inline(always)]
pub fn of<'a, S>(sk: *mut S) -> Option<&'a mut Flow> {
    storage(&raw const TFO_FLOWS, sk, 0)
}

/// The flow of a socket, made if there is none. All zero when new.
#[inline(always)]
pub fn create<'a>(sk: *mut bpf_sock) -> Option<&'a mut Flow> {
    storage(&raw const TFO_FLOWS, sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

/// The mark of a listener, if we set flags on it.
#[inline(always)]
pub fn mark_of<'a, S>(sk: *mut S) -> Option<&'a mut Mark> {
    storage(&raw const TFO_LISTENERS, sk, 0)
}

/// The mark of a listener, made if there is none.
#[inline(always)]
pub fn mark<'a, S>(sk: *mut S) -> Option<&'a mut Mark> {
    storage(
        &raw const TFO_LISTENERS,
        sk,
        u64::from(BPF_SK_STORAGE_GET_F_CREATE),
    )
}

/// `bpf_sk_storage_get`: aya's own accessors take only a `SockAddrContext`.
#[inline(always)]
fn storage<'a, M, S, T>(map: *const M, sk: *mut S, flags: u64) -> Option<&'a mut T> {
    if sk.is_null() {
        return None;
    }
    // SAFETY: `map` is a socket storage map of this object whose value type is `T`; `sk` was checked; a
    // NULL initial value means zero. The result is NULL or points to a value of the map.
    unsafe {
        bpf_sk_storage_get(map.cast_mut().cast(), sk.cast(), core::ptr::null_mut(), flags)
            .cast::<T>()
            .as_mut()
    }
}
