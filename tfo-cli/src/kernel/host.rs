//! Settings and counters of the host.

use std::{fs, path::Path};

use super::{netns, procfs};
use crate::model::feed::Host;

/// Namespaces whose counters are read at most: each costs a thread that enters it.
const MAX_NAMESPACES: usize = 64;

/// Reads settings of the tool's own namespace and the kernel's counters of the namespaces in `wanted`; of
/// every namespace there is when it is empty.
pub fn read(wanted: &[u32]) -> Host {
    let text = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let number = |path: &str| text(path).and_then(|text| text.parse().ok());
    let mut host = Host {
        name: text("/proc/sys/kernel/hostname").unwrap_or_default(),
        kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        netns: netns::own_inode(),
        tcp_fastopen: number("/proc/sys/net/ipv4/tcp_fastopen"),
        blackhole_timeout_sec: number("/proc/sys/net/ipv4/tcp_fastopen_blackhole_timeout_sec"),
        mib: Vec::new(),
    };
    let chosen = netns::all()
        .into_iter()
        .filter(|(inode, _)| wanted.is_empty() || *inode == host.netns || wanted.contains(inode))
        .take(MAX_NAMESPACES);
    for (inode, namespace) in chosen {
        // /proc/net follows the thread only through thread-self.
        let netstat = netns::inside(&namespace, || {
            fs::read_to_string(Path::new("/proc/thread-self/net/netstat"))
        });
        if let Ok(netstat) = netstat {
            host.mib.push((inode, procfs::tcp_ext(&netstat)));
        }
    }
    host
}
