//! Listening sockets as `tfo-cli listeners` shows them: what is known of each, and which a selector means.
//!
//! Pure: they are found by [`crate::kernel::listeners`], and judged by [`judge`].

pub mod judge;
pub mod selector;

use std::net::SocketAddr;

use crate::{inspect::places::Netns, model::source::CgroupName};

/// One listening TCP or MPTCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it is.
    pub netns: Netns,
    /// As bound; all zero is every address.
    pub address: SocketAddr,
    /// An IPv6 socket that takes IPv4 too (`IPV6_V6ONLY` is off); `None` where the kernel does not tell.
    pub is_dual_stack: Option<bool>,
    /// Inode of the socket, as in `/proc/PID/fd`: what tells it from the others of a `SO_REUSEPORT` group.
    pub inode: u64,
    /// User that owns it.
    pub uid: u32,
    /// Fast Open queue: children whose handshake is not finished are refused beyond it. 0 is off.
    pub limit: u32,
    /// How many there are now; `None` where nobody looked (that takes BPF).
    pub length: Option<u32>,
    /// Listens for MPTCP; `None` where the kernel does not tell.
    pub is_mptcp: Option<bool>,
    /// Whose it is.
    pub cgroup: Option<CgroupName>,
    /// Processes that have it open; empty where /proc does not tell.
    pub holders: Vec<Holder>,
    /// What its namespace is set to.
    pub settings: Settings,
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process.
    pub pid: u32,
    /// Its name, chosen by itself.
    pub comm: String,
    /// Number of the descriptor.
    pub fd: u32,
}

/// Settings of a network namespace that decide about Fast Open; `None` where they cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `net.ipv4.tcp_fastopen`.
    pub tcp_fastopen: Option<u32>,
    /// `net.core.somaxconn`: caps every queue.
    pub somaxconn: Option<u32>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub max_syn_backlog: Option<u32>,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: Option<u32>,
    /// `net.ipv4.tcp_fastopen_blackhole_timeout_sec`.
    pub blackhole_timeout_sec: Option<u32>,
    /// `net.mptcp.enabled`.
    pub mptcp: Option<u32>,
}

/// `net.ipv4.tcp_fastopen`: clients may use it.
pub const CLIENT: u32 = 0x1;
/// Servers may use it.
pub const SERVER: u32 = 0x2;
/// Every socket that begins to listen gets a queue as long as its backlog.
pub const EVERY_LISTENER: u32 = 0x400;

impl Listener {
    /// What tells it from every other: `4026531840/4711`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.netns.inode, self.inode)
    }

    /// What people call what it belongs to.
    pub fn service(&self) -> Option<&str> {
        self.cgroup.as_ref().map(CgroupName::label)
    }

    /// The process that has had it open for longest, by number.
    pub fn holder(&self) -> Option<&Holder> {
        self.holders.iter().min_by_key(|holder| holder.pid)
    }

    /// Whether two sockets share an address of a namespace, as those of a `SO_REUSEPORT` group do.
    pub fn shares_address(&self, other: &Self) -> bool {
        self.netns.inode == other.netns.inode && self.address == other.address
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::cgroup;

    /// A socket of nginx with a queue of this length, in a namespace that has both bits set.
    pub fn listener(address: &str, inode: u64, limit: u32) -> Listener {
        Listener {
            netns: Netns {
                inode: 1,
                name: Some("host".to_owned()),
            },
            address: address.parse().expect("an address"),
            is_dual_stack: Some(false),
            inode,
            uid: 0,
            limit,
            length: Some(0),
            is_mptcp: Some(false),
            cgroup: Some(cgroup::parse("/system.slice/nginx.service")),
            holders: vec![Holder {
                pid: 42,
                comm: "nginx".to_owned(),
                fd: 6,
            }],
            settings: Settings {
                tcp_fastopen: Some(3),
                somaxconn: Some(4096),
                max_syn_backlog: Some(1024),
                syncookies: Some(1),
                blackhole_timeout_sec: Some(0),
                mptcp: Some(1),
            },
        }
    }

    #[test]
    fn the_oldest_holder_is_shown() {
        let mut socket = listener("0.0.0.0:80", 7, 256);
        socket.holders.insert(
            0,
            Holder {
                pid: 43,
                ..socket.holders[0].clone()
            },
        );
        assert_eq!(socket.holder().map(|holder| holder.pid), Some(42));
        assert_eq!(
            (socket.id(), socket.service()),
            ("1/7".to_owned(), Some("nginx.service"))
        );
    }
}
