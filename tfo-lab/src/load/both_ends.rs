//! A thread of the load generator that has both ends of its connections, on a CPU of its own.
//!
//! Nobody waits for anybody, so there is no context switch, and what a connection takes is what the kernel does for it. Clients and
//! servers that are threads of their own are woken and moved by the scheduler: how often depends on which of them is the slower one,
//! and so on what is attached to its callbacks.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::SockaddrStorage,
};

use super::{Load, Progress, client, server};
use crate::{cpu, pattern};

/// Makes connections to its own listener until the budget or the time is used up: a batch of connects, then the servers' ends
/// of all of them, then the replies.
pub fn work(
    load: &Load,
    on: usize,
    (listener, target): &(TcpListener, SocketAddr),
    progress: &Progress,
) -> Result<()> {
    cpu::stay_on(on)?;
    // Else the threads wait for each other all the same, for the lock of the table that their descriptors are in.
    unshare(CloneFlags::CLONE_FILES).context("load: giving a thread descriptors of its own")?;
    let request = pattern::bytes(load.message);
    let mut buffer = vec![0_u8; load.message];
    let address = SockaddrStorage::from(*target);
    let mut clients: Vec<OwnedFd> = Vec::with_capacity(load.in_flight);
    let mut servers: Vec<TcpStream> = Vec::with_capacity(load.in_flight);
    loop {
        let count = progress.claim(load.in_flight);
        if count == 0 {
            return Ok(());
        }
        progress.pace(count, load.rate);
        let (mut completed, mut errors) = (0, 0);
        for _ in 0..count {
            let socket = client::open(*target, true)?;
            match client::start(load, &socket, &address, &request) {
                Ok(()) => clients.push(socket),
                Err(_) => errors += 1,
            }
        }
        for _ in 0..clients.len() {
            let (mut stream, _) = listener.accept().context("load: accepting a connection")?;
            server::answer(&mut stream, &mut buffer);
            servers.push(stream);
        }
        for socket in clients.drain(..) {
            match client::read_all(&socket, &mut buffer) {
                Ok(length) if length == load.message => completed += 1,
                _ => errors += 1,
            }
        }
        servers.clear();
        progress.completed.fetch_add(completed, Ordering::Relaxed);
        progress.errors.fetch_add(errors, Ordering::Relaxed);
    }
}
