//! A client thread of the load generator: starts a batch of connections, then reads their replies.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, sendto,
        setsockopt, socket, sockopt,
    },
};

use super::{Load, Progress};
use crate::pattern;

/// Makes connections until the budget or the time is used up. Failed connections are counted; only an error that every
/// connection would have, such as no more file descriptors, ends the thread.
pub fn work(load: &Load, target: SocketAddr, progress: &Progress) -> Result<()> {
    let request = pattern::bytes(load.message);
    let address = SockaddrStorage::from(target);
    let mut reply = vec![0_u8; load.message.max(1)];
    let mut batch = Vec::with_capacity(load.in_flight);
    loop {
        let count = progress.claim(load.in_flight);
        if count == 0 {
            return Ok(());
        }
        let mut errors = 0;
        for _ in 0..count {
            let socket = open(target)?;
            match start(load, &socket, &address, &request) {
                Ok(()) => batch.push(socket),
                Err(_) => errors += 1,
            }
        }
        let mut completed = 0;
        for socket in batch.drain(..) {
            match read_all(&socket, &mut reply) {
                Ok(len) if len == load.message => completed += 1,
                _ => errors += 1,
            }
        }
        progress.completed.fetch_add(completed, Ordering::Relaxed);
        progress.errors.fetch_add(errors, Ordering::Relaxed);
    }
}

fn open(target: SocketAddr) -> Result<OwnedFd> {
    let domain = if target.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("load: opening a socket; is the limit of open files too low?")?;
    let reset = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&socket, sockopt::Linger, &reset).context("load: SO_LINGER")?;
    Ok(socket)
}

fn start(load: &Load, socket: &OwnedFd, target: &SockaddrStorage, request: &[u8]) -> nix::Result<()> {
    let fd = socket.as_raw_fd();
    if load.fast_open {
        // Without waiting: on loopback the SYN-ACK has usually arrived before the call returns.
        let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
        sendto(
            fd,
            request,
            target,
            flags | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        )?;
    } else {
        connect(fd, target)?;
        send(fd, request, MsgFlags::MSG_NOSIGNAL)?;
    }
    Ok(())
}

/// Reads until `buffer` is full or the server has closed.
fn read_all(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match recv(socket.as_raw_fd(), &mut buffer[filled..], MsgFlags::empty()) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}
