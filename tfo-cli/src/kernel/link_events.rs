//! Tells when interfaces of some network namespaces come, go or change (rtnetlink(7), group `RTMGRP_LINK`).
//!
//! A socket keeps its namespace alive, so whoever listens must look now and then whether anybody else still does.

use std::{collections::BTreeMap, io, os::fd::AsFd as _, time::Duration};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::netns::{self, Id};

/// Listens in a number of namespaces.
#[derive(Debug, Default)]
pub struct LinkEvents {
    /// By namespace.
    sockets: BTreeMap<Id, Socket>,
}

impl LinkEvents {
    /// Listens in exactly these namespaces from now on. Only those that are new are looked for.
    pub fn follow(&mut self, wanted: &[Id]) -> io::Result<()> {
        self.sockets.retain(|id, _| wanted.contains(id));
        let is_new = |id: &&Id| !self.sockets.contains_key(id);
        let new: Vec<Id> = wanted.iter().filter(is_new).copied().collect();
        // Where they cannot be told, whoever looks after the interfaces says so.
        for (id, namespace) in netns::living(&new).unwrap_or_default() {
            self.sockets.insert(id, netns::inside(&namespace, listen)?);
        }
        Ok(())
    }

    /// In how many namespaces it listens.
    pub fn namespaces(&self) -> usize {
        self.sockets.len()
    }

    /// Waits for an event, at most for `timeout`; true when there was one. Events that came together are one. A
    /// signal ends the wait early.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut entries: Vec<PollFd<'_>> = self
            .sockets
            .values()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut entries, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        self.sockets.values().for_each(drain);
        Ok(true)
    }
}

fn listen() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, libc::RTMGRP_LINK.unsigned_abs()))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Throws away what is there. What an event says does not matter; one that did not fit into the socket's buffer
/// (`ENOBUFS`) was not the only one.
fn drain(socket: &Socket) {
    let mut bytes = Vec::with_capacity(1 << 16);
    loop {
        bytes.clear();
        match socket.recv(&mut bytes, libc::MSG_TRUNC) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(_) => return,
        }
    }
}
