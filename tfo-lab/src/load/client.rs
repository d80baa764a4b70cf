//! A client thread of the load generator: starts a batch of connections, then reads their replies.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, sendto,
        setsockopt, socket, sockopt,
    },
};

use super::{FIRST_DESTINATION, Load, Progress};
use crate::pattern;

/// What an HTTP server is asked; it closes after its answer.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Makes connections until the budget or the time is used up. Failed connections are counted; only an error that every
/// connection would have, such as no more file descriptors, ends the thread.
pub fn work(load: &Load, target: SocketAddr, progress: &Progress) -> Result<()> {
    let request = match load.http {
        Some(_) => REQUEST.to_vec(),
        None => pattern::bytes(load.message),
    };
    let mut reply = vec![
        0_u8;
        if load.http.is_some() {
            4096
        } else {
            load.message.max(1)
        }
    ];
    let mut batch = Vec::with_capacity(load.in_flight);
    loop {
        let count = progress.claim(load.in_flight);
        if count == 0 {
            return Ok(());
        }
        let first = progress.pace(count, load.rate);
        let mut errors = 0;
        for number in first..first + count as u64 {
            let socket = open(target, load.http.is_none())?;
            let address = SockaddrStorage::from(aimed(load, target, number));
            match start(load, &socket, &address, &request) {
                Ok(()) => batch.push(socket),
                Err(_) => errors += 1,
            }
        }
        let mut completed = 0;
        for socket in batch.drain(..) {
            match read_all(&socket, &mut reply) {
                Ok(len) if len == load.message || load.http.is_some() && is_answer(&reply[..len]) => {
                    completed += 1;
                }
                _ => errors += 1,
            }
        }
        progress.completed.fetch_add(completed, Ordering::Relaxed);
        progress.errors.fetch_add(errors, Ordering::Relaxed);
    }
}

/// Fetches the cookie of an HTTP server, with its first request.
pub fn prime(addresses: &[SocketAddr]) -> Result<u64> {
    let target = *addresses.first().context("load: no server")?;
    let mut reply = [0_u8; 4096];
    let socket = open(target, false)?;
    // Waits: without a cookie the request leaves when the handshake is over.
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN) | MsgFlags::MSG_NOSIGNAL;
    let target_address = SockaddrStorage::from(target);
    sendto(socket.as_raw_fd(), REQUEST, &target_address, flags).context("load: the first request")?;
    let length = read_all(&socket, &mut reply).context("load: reading the first answer")?;
    ensure!(
        is_answer(&reply[..length]),
        "load: no HTTP answer on port {}",
        target.port()
    );
    Ok(1)
}

fn is_answer(reply: &[u8]) -> bool {
    reply.starts_with(b"HTTP/1.1 200")
}

/// The address of a connection by its number: one of several, where there are.
fn aimed(load: &Load, target: SocketAddr, number: u64) -> SocketAddr {
    if load.destinations <= 1 {
        return target;
    }
    // Below a number of 32 bits, so it is one.
    let offset = u32::try_from(number % u64::from(load.destinations)).unwrap_or_default();
    let address = Ipv4Addr::from_bits(FIRST_DESTINATION.to_bits() + offset);
    SocketAddr::new(address.into(), target.port())
}

/// `reset`: it ends by RST when it is closed.
pub fn open(target: SocketAddr, reset: bool) -> Result<OwnedFd> {
    let domain = if target.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("load: opening a socket; is the limit of open files too low?")?;
    if reset {
        let reset = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&socket, sockopt::Linger, &reset).context("load: SO_LINGER")?;
    }
    Ok(socket)
}

pub fn start(load: &Load, socket: &OwnedFd, target: &SockaddrStorage, request: &[u8]) -> nix::Result<()> {
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
pub fn read_all(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
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
