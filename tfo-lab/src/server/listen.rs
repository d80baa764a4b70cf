//! The settings of a server: its listening socket, and its replies.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    client::Family,
    sockopt::{DeferAccept, FastOpenKey, FastOpenKeyPair, FastOpenNoCookie, FastOpenQueue},
};

/// TFO keys of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// The namespace's key.
    #[default]
    Inherited,
    /// A key of its own.
    One([u8; 16]),
    /// A key of its own, and an older one whose cookies are still accepted.
    WithBackup([u8; 16], [u8; 16]),
}

/// What the server replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// The data that it received.
    #[default]
    Echo,
    /// This many pattern bytes, once, after the first data.
    Bytes(usize),
}

/// A server to start.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Length of the TFO queue; `None` leaves TFO off for this listener.
    pub fast_open: Option<u32>,
    /// TFO keys.
    pub keys: Keys,
    /// `TCP_FASTOPEN_NO_COOKIE`: accept SYN data without a cookie.
    pub no_cookie: bool,
    /// Length of the accept queue.
    pub backlog: i32,
    /// `TCP_DEFER_ACCEPT`, in seconds.
    pub defer_accept: Option<u32>,
    /// An MPTCP socket, as every listener of a Go program is.
    pub mptcp: bool,
    /// Whether connections are accepted at all; if not, they fill the queues.
    pub accept: bool,
    /// What the server replies.
    pub reply: Reply,
    /// Time from the first data to the reply.
    pub reply_delay: Duration,
    /// Thread name, which is the `comm` of its sockets.
    pub name: String,
}

impl Listen {
    /// An echo server with TFO on and the namespace's key.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            fast_open: Some(256),
            keys: Keys::default(),
            no_cookie: false,
            backlog: 256,
            defer_accept: None,
            mptcp: false,
            accept: true,
            reply: Reply::default(),
            reply_delay: Duration::ZERO,
            name: "tfo-lab-server".to_owned(),
        }
    }

    /// An echo server on a free port of `ip`, reachable by a client of `family`.
    pub fn on(ip: IpAddr, family: Family) -> Self {
        let ip = match (family, ip) {
            (Family::Mapped, IpAddr::V4(ip)) => ip.to_ipv6_mapped().into(),
            (_, ip) => ip,
        };
        Self::new(SocketAddr::new(ip, 0))
    }

    /// Opens the listening socket in the calling thread's namespace.
    pub(crate) fn open(&self) -> Result<TcpListener> {
        let protocol = if self.mptcp {
            Protocol::MPTCP
        } else {
            Protocol::TCP
        };
        let kind = Type::STREAM.cloexec().nonblocking();
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(protocol))
            .context("listener: opening its socket")?;
        let set = |what: &'static str, result: nix::Result<()>| {
            result.with_context(|| format!("listener {}: setting {what}", self.address))
        };
        set("SO_REUSEADDR", setsockopt(&socket, sockopt::ReuseAddr, &true))?;
        if self.no_cookie {
            set(
                "TCP_FASTOPEN_NO_COOKIE",
                setsockopt(&socket, FastOpenNoCookie, &1),
            )?;
        }
        if let Some(seconds) = self.defer_accept {
            set("TCP_DEFER_ACCEPT", setsockopt(&socket, DeferAccept, &seconds))?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(self.address))
            .with_context(|| format!("listener {}: binding", self.address))?;
        if let Some(queue) = self.fast_open {
            set("TCP_FASTOPEN", setsockopt(&socket, FastOpenQueue, &queue))?;
        }
        match self.keys {
            Keys::Inherited => {}
            Keys::One(key) => set("TCP_FASTOPEN_KEY", setsockopt(&socket, FastOpenKey, &key))?,
            Keys::WithBackup(key, backup) => {
                let mut both = [0; 32];
                both[..16].copy_from_slice(&key);
                both[16..].copy_from_slice(&backup);
                set("TCP_FASTOPEN_KEY", setsockopt(&socket, FastOpenKeyPair, &both))?;
            }
        }
        let backlog = Backlog::new(self.backlog).context("listener: backlog out of range")?;
        listen(&socket, backlog).with_context(|| format!("listener {}: listen", self.address))?;
        Ok(TcpListener::from(socket))
    }
}
