//! Settings and counters of the host.

use std::{fs, io};

use super::{netns, procfs};
use crate::model::source::{Host, Mib};

/// Namespaces whose counters are read at most: each costs a thread that enters it.
const MAX_NAMESPACES: usize = 1_024;

/// Reads the host again and again.
#[derive(Debug, Default)]
pub struct Reader {
    known: netns::NamespacePaths,
}

impl Reader {
    /// Reads settings of the tool's own namespace, and the kernel's counters of our own and the namespaces in
    /// `wanted`, or of every namespace there is.
    pub fn read(&mut self, wanted: &[u32], all: bool) -> Host {
        let text = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let number = |path: &str| text(path).and_then(|text| text.parse().ok());
        let netns = netns::own_inode();
        Host {
            name: text("/proc/sys/kernel/hostname").unwrap_or_default(),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            netns,
            tcp_fastopen: number("/proc/sys/net/ipv4/tcp_fastopen"),
            blackhole_timeout_sec: number("/proc/sys/net/ipv4/tcp_fastopen_blackhole_timeout_sec"),
            mib: self.counters(netns, wanted, all),
        }
    }

    fn counters(&mut self, own: u32, wanted: &[u32], all: bool) -> Vec<(u32, Mib)> {
        let mut inodes: Vec<u32> = std::iter::once(own).chain(wanted.iter().copied()).collect();
        if all {
            self.known.scan();
            inodes.extend(self.known.inodes());
        }
        inodes.sort_unstable();
        inodes.dedup();
        let mut scanned = all;
        inodes
            .into_iter()
            .take(MAX_NAMESPACES)
            .filter_map(|inode| Some((inode, self.mib(inode, &mut scanned)?)))
            .collect()
    }

    /// Counters of one namespace. One that is not where it was is looked for once per reading.
    fn mib(&mut self, inode: u32, scanned: &mut bool) -> Option<Mib> {
        let mut namespace = self.known.open(inode);
        if namespace.is_none() && !*scanned {
            *scanned = true;
            self.known.scan();
            namespace = self.known.open(inode);
        }
        netns::inside(&namespace?, mib_here).ok()
    }
}

/// The counters of the calling thread's namespace.
pub fn mib_here() -> io::Result<Mib> {
    // /proc/net follows the thread only through thread-self.
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat")?;
    Ok(procfs::tcp_ext(&netstat))
}
