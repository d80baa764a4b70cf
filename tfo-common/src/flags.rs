//! Switches of the kernel side: fixed at load ([`Config`]) or changed while it runs ([`Control`]).

/// Fixed when the programs are loaded: the verifier removes what is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// 1: plain handshakes produce ring records too (`trace --all`).
    pub emit_plain: u8,
    /// Bits a server's remote IPv4 address is cut to, 0..=32.
    pub server_v4_prefix: u8,
    /// Bits a server's remote IPv6 address is cut to, 0..=128.
    pub server_v6_prefix: u8,
    /// Zero.
    pub pad: u8,
    /// Ring fill in bytes above which the reader is woken.
    pub wake_bytes: u32,
    /// cgroup v2 id of the cgroup observed: only listeners in it and below get the callback flag. 0: all.
    pub scope_id: u64,
    /// Depth of that cgroup below the root of the hierarchy, which has 0 (`cgroup->level`).
    pub scope_level: u32,
    /// Zero.
    pub pad2: u32,
}

/// Index into [`crate::maps::CONTROL`], an array of `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Control {
    /// User space: 1 while a `sock_ops` program of somebody else is loaded on this host. Callback flags a
    /// child inherited from its listener are then left alone: they may be that program's.
    ForeignSockOps = 0,
    /// Kernel side: 1 once a SYN with TFO was answered under SYN cookies. Only then finished handshakes are
    /// looked up by address too (the child's socket cookie differs from the request's).
    SyncookieSeen = 1,
}

impl Control {
    /// Number of entries.
    pub const COUNT: u32 = 2;
}
