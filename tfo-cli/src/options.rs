//! What a command asks of the kernel side: `args` makes it, `kernel` carries it out.

use std::path::PathBuf;

use tfo_common::limits;

/// The default for the directory of a bpffs in which a policy is pinned.
pub const POLICY_DIRECTORY: &str = "/sys/fs/bpf/tfo-cli";

/// What the observing programs are to see and to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// Observe only sockets of this cgroup and those below it; `None` for the whole host.
    pub cgroup: Option<PathBuf>,
    /// Whether handshakes without Fast Open produce records, too (`trace --all`).
    pub emit_plain: bool,
    /// Rows that the destination table has room for.
    pub destinations: u32,
    /// Bits to which remote IPv4 addresses of the server role are cut in the destination table, 0 to 32.
    pub server_v4_prefix: u8,
    /// Bits to which remote IPv6 addresses of the server role are cut in the destination table, 0 to 128.
    pub server_v6_prefix: u8,
    /// One of this many connections without Fast Open has its time to first byte measured; 1 for every connection.
    pub ttfb_sample: u32,
    /// Directory in which a policy may be pinned.
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
