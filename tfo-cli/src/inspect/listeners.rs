//! Listening sockets, as `tfo-cli listeners` shows them. Without I/O: [`crate::kernel::listeners`] finds them, and [`judge`]
//! judges them.

pub mod judge;
pub mod selector;

use std::net::SocketAddr;

use crate::{inspect::places::Netns, model::source::CgroupName};

/// One listening TCP or MPTCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The network namespace it is in.
    pub netns: Netns,
    /// The address and port it is bound to; the unspecified address stands for every address.
    pub address: SocketAddr,
    /// Whether it is an IPv6 socket that accepts IPv4, too (`IPV6_V6ONLY` is off); `None` when the kernel does not tell.
    pub is_dual_stack: Option<bool>,
    /// Inode of the socket, as in `/proc/PID/fd`. It identifies the sockets of a `SO_REUSEPORT` group.
    pub inode: u64,
    /// Id of the user that owns it.
    pub uid: u32,
    /// Length of the Fast Open queue: the number of connections whose handshake is not finished. 0 when Fast Open is off.
    pub limit: u32,
    /// Connections in that queue now; `None` when they were not read, which needs BPF.
    pub length: Option<u32>,
    /// Whether it listens for MPTCP; `None` when the kernel does not tell.
    pub is_mptcp: Option<bool>,
    /// The service it belongs to.
    pub cgroup: Option<CgroupName>,
    /// Processes that have it open; empty when `/proc` does not tell.
    pub holders: Vec<Holder>,
    /// The settings of its network namespace.
    pub settings: Settings,
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Id of the process.
    pub pid: u32,
    /// Name of the process, which it can choose itself.
    pub comm: String,
    /// Number of the file descriptor.
    pub fd: u32,
}

/// The settings of a network namespace that affect Fast Open; each is `None` when it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `net.ipv4.tcp_fastopen`.
    pub tcp_fastopen: Option<u32>,
    /// `net.core.somaxconn`, the upper limit of every queue.
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
    /// A text that identifies the socket: `4026531840/4711`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.netns.inode, self.inode)
    }

    /// The name of the service it belongs to; `None` when it has none.
    pub fn service(&self) -> Option<&str> {
        self.cgroup.as_ref().map(CgroupName::label)
    }

    /// The process with the lowest id that has the socket open; `None` when none is known.
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
