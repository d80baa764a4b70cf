//! A deferred connect without a first write, as a proxy makes it when the server is to send first.

use std::{net::SocketAddr, os::fd::AsRawFd as _, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, send, setsockopt, socket,
};

use super::{Family, start::wire_address};
use crate::{netns::Namespace, sockopt::FastOpenConnect};

/// A socket on which `connect()` has succeeded although no SYN has left. That needs a cookie of the destination.
#[derive(Debug)]
pub struct Unsent {
    socket: OwnedFd,
}

impl Unsent {
    /// Connects with `TCP_FASTOPEN_CONNECT` and writes nothing.
    pub fn open(namespace: &Namespace, family: Family, target: SocketAddr) -> Result<Self> {
        namespace.run(|| {
            let domain = match family {
                Family::V4 => AddressFamily::Inet,
                Family::V6 | Family::Mapped => AddressFamily::Inet6,
            };
            let socket = socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .context("TCP socket: opening it")?;
            setsockopt(&socket, FastOpenConnect, &1).context("TCP_FASTOPEN_CONNECT: setting it")?;
            let target = SockaddrStorage::from(wire_address(family, target));
            connect(socket.as_raw_fd(), &target).context("connecting")?;
            Ok(Self { socket })
        })
    }

    /// Writes for the first time, which sends the SYN.
    pub fn write(&self) -> Result<()> {
        send(self.socket.as_raw_fd(), b"at last", MsgFlags::MSG_NOSIGNAL)
            .map(|_| ())
            .context("the first write")
    }
}
