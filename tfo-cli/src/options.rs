//! What a command asks of the kernel side: made by `args`, obeyed by `kernel`.

use std::path::PathBuf;

use tfo_common::limits;

/// Directory of a bpffs where a policy is pinned unless told otherwise.
pub const POLICY_DIRECTORY: &str = "/sys/fs/bpf/tfo-cli";

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// Only sockets of this cgroup and those below; `None` is the whole host.
    pub cgroup: Option<PathBuf>,
    /// Plain handshakes produce records too (`trace --all`).
    pub emit_plain: bool,
    /// Rows of the destination table.
    pub destinations: u32,
    /// Bits a server's remote IPv4 address is cut to in the destination table.
    pub server_v4_prefix: u8,
    /// Bits a server's remote IPv6 address is cut to in the destination table.
    pub server_v6_prefix: u8,
    /// Of so many plain connections one has its time to first byte taken; 1: each.
    pub ttfb_sample: u32,
    /// Where a policy is looked for.
    pub bpffs: PathBuf,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            cgroup: None,
            emit_plain: false,
            destinations: limits::DESTS,
            server_v4_prefix: limits::SERVER_V4_PREFIX,
            server_v6_prefix: limits::SERVER_V6_PREFIX,
            ttfb_sample: limits::TTFB_SAMPLE,
            bpffs: POLICY_DIRECTORY.into(),
        }
    }
}
