//! Settings of the network namespace of the calling thread.

use std::fs;

use crate::inspect::listeners::Settings;

/// Reads them; absent is what this kernel lacks or does not let us read.
pub fn settings() -> Settings {
    // /proc/sys/net follows the thread that opens it (`net_ctl_header_lookup`, `net/sysctl_net.c`).
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?;
        text.trim().parse().ok()
    };
    Settings {
        tcp_fastopen: read("ipv4/tcp_fastopen"),
        somaxconn: read("core/somaxconn"),
        max_syn_backlog: read("ipv4/tcp_max_syn_backlog"),
        syncookies: read("ipv4/tcp_syncookies"),
        blackhole_timeout_sec: read("ipv4/tcp_fastopen_blackhole_timeout_sec"),
        mptcp: read("mptcp/enabled"),
    }
}
