//! Settings and counters of the host.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    netns::{self, Depth},
    procfs, tcp_metrics,
};
use crate::{
    fingerprint::{Fingerprint, Salt},
    model::source::{Host, Mib},
};

/// Namespaces whose counters are read at most: each costs a thread that enters it.
const MAX_NAMESPACES: usize = 1_024;
/// Namespaces are looked for once a second at most, and not more often than takes a twentieth of a CPU.
const REST: Duration = Duration::from_secs(1);
const SHARE: u32 = 20;

/// Reads the host again and again.
#[derive(Debug, Default)]
pub struct Reader {
    known: netns::NamespacePaths,
    /// Namespaces that were wanted and not found, by the number of times they were looked for.
    missing: HashMap<u32, u32>,
    /// When the next look is due.
    rested: Option<Instant>,
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

    /// Those of the wanted namespaces that no process, no thread and no name leads to any more. They are told once.
    pub fn gone(&mut self) -> Vec<u32> {
        let mut gone = Vec::new();
        self.missing.retain(|inode, looks| {
            // The second look is among threads, too.
            let is_gone = *looks >= 2;
            gone.extend(is_gone.then_some(*inode));
            !is_gone
        });
        gone
    }

    /// The hash of the cookie that a network namespace keeps for this pair of addresses.
    pub fn cookie(&mut self, netns: u32, local: IpAddr, remote: IpAddr, salt: &Salt) -> Option<Fingerprint> {
        let look = || tcp_metrics::entry(remote, local, salt);
        let entry = if netns == netns::own_inode() {
            look()
        } else {
            netns::inside(&self.find(netns)?, look)
        };
        Some(entry.ok()??.cookie?.fingerprint)
    }

    /// A network namespace with a process in it. Who was not found is not looked for again until it has rested.
    fn find(&mut self, netns: u32) -> Option<File> {
        let found = self.known.open(netns);
        if found.is_some() || self.rested.is_some_and(|at| Instant::now() < at) {
            return found;
        }
        self.scan(Depth::Processes);
        self.known.open(netns)
    }

    fn scan(&mut self, depth: Depth) {
        let begun = Instant::now();
        self.known.scan(depth);
        self.rested = Some(Instant::now() + REST.max(begun.elapsed() * SHARE));
    }

    fn counters(&mut self, own: u32, wanted: &[u32], all: bool) -> Vec<(u32, Mib)> {
        let mut inodes: Vec<u32> = std::iter::once(own).chain(wanted.iter().copied()).collect();
        if all {
            self.known.scan(Depth::Processes);
            inodes.extend(self.known.inodes());
        } else {
            self.look_for(wanted);
        }
        inodes.sort_unstable();
        inodes.dedup();
        inodes
            .into_iter()
            .take(MAX_NAMESPACES)
            .filter_map(|inode| {
                // Nobody needs a right to stay where they are.
                if inode == own {
                    return Some((inode, mib_here().ok()?));
                }
                let namespace = self.known.open(inode)?;
                Some((inode, netns::inside(&namespace, mib_here).ok()?))
            })
            .collect()
    }

    /// Looks for those that are not where they were, or were not known before: first where processes are, the next time
    /// where threads are.
    pub fn look_for(&mut self, wanted: &[u32]) {
        self.missing.retain(|inode, _| wanted.contains(inode));
        for inode in wanted {
            if self.known.open(*inode).is_some() {
                self.missing.remove(inode);
            } else {
                self.missing.entry(*inode).or_default();
            }
        }
        if self.missing.is_empty() || self.rested.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let depth = if self.missing.values().any(|looks| *looks > 0) {
            Depth::Threads
        } else {
            Depth::Processes
        };
        self.scan(depth);
        let known = &self.known;
        self.missing.retain(|inode, looks| {
            *looks += 1;
            known.open(*inode).is_none()
        });
    }
}

/// The counters of the calling thread's namespace.
pub fn mib_here() -> io::Result<Mib> {
    // /proc/net follows the thread only through thread-self.
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat")?;
    Ok(procfs::tcp_ext(&netstat))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is not found is looked for twice, the second time among threads, and then never again.
    #[test]
    fn a_namespace_that_is_not_found_is_gone_after_two_looks() {
        let mut reader = Reader::default();
        let own = netns::own_inode();
        for look in 0..3 {
            reader.rested = None;
            reader.look_for(&[own, 1]);
            let gone = reader.gone();
            assert_eq!(gone, if look == 1 { vec![1] } else { vec![] }, "look {look}");
            if look == 1 {
                break;
            }
            // Nobody looks again before it has rested.
            reader.look_for(&[own, 1]);
            assert!(reader.gone().is_empty());
        }
        // The session does not ask for it any more.
        reader.look_for(&[own]);
        assert!(reader.missing.is_empty() && reader.known.open(own).is_some());
    }
}
