//! One TFO connection to each of very many destinations: blocks of addresses that are all local to the namespace
//! (`ip route add local`), either with a server that accepts SYN data without a cookie, or without a listener.
//!
//! A port without a listener is the fastest way to fail: the RST comes back while `sendto` is still running.

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage, sendto, setsockopt, shutdown,
        socket, sockopt,
    },
};

use crate::{client::Family, netns::Namespace, server::Listen, sockopt::FastOpenNoCookie};

/// A port without a listener.
const CLOSED_PORT: u16 = 9;
/// The data in each SYN.
const DATA: [u8; 64] = [7; 64];
/// Length of the accept queue and of the TFO queue.
const QUEUE: i32 = 4096;

/// A namespace in which more than sixteen million addresses of either family lead back to it.
pub struct Destinations {
    namespace: Namespace,
}

impl Destinations {
    /// Makes the namespace, which is removed when this value is dropped.
    pub fn create() -> Result<Self> {
        let namespace = Namespace::anonymous("destinations")?;
        namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
        for (family, block) in [("-4", "10.0.0.0/8"), ("-6", "fd77:1::/64")] {
            namespace.command("ip", &[family, "route", "add", "local", block, "dev", "lo"])?;
        }
        Ok(Self { namespace })
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The address with this index, up to 16 million.
    pub fn address(family: Family, index: u32) -> IpAddr {
        match family {
            Family::V6 => Ipv6Addr::from((0xfd77_0001_u128 << 96) | u128::from(index + 1)).into(),
            _ => Ipv4Addr::from((10 << 24) | (index + 1) & 0x00ff_ffff).into(),
        }
    }

    /// Makes a connection that is refused to each of these addresses, on every core. Returns how many were refused.
    pub fn refuse(&self, family: Family, indices: std::ops::Range<u32>) -> Result<u64> {
        self.each(indices, |index| {
            let target = SocketAddr::new(Self::address(family, index), CLOSED_PORT);
            Ok(start(target)? == Err(Errno::ECONNREFUSED))
        })
    }

    /// Makes a connection whose SYN data is accepted to each of these addresses. Returns how many had all data accepted.
    pub fn accept(&self, family: Family, indices: std::ops::Range<u32>) -> Result<u64> {
        let acceptor = Acceptor::start(&self.namespace, family)?;
        self.each(indices, |index| {
            let target = SocketAddr::new(Self::address(family, index), acceptor.port);
            Ok(start(target)? == Ok(DATA.len()))
        })
    }

    /// Shares the work among the cores; returns how often it returned true.
    fn each(&self, indices: std::ops::Range<u32>, one: impl Fn(u32) -> Result<bool> + Sync) -> Result<u64> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = |first: u32| -> Result<u64> {
            let mut done = 0;
            for index in (first..indices.end).step_by(cores) {
                done += u64::from(one(index)?);
            }
            Ok(done)
        };
        self.namespace.run(|| {
            thread::scope(|scope| {
                let threads: Vec<_> = (indices.start..)
                    .take(cores)
                    .map(|first| scope.spawn(move || share(first)))
                    .collect();
                threads
                    .into_iter()
                    .map(|one| {
                        one.join()
                            .map_err(|_| anyhow!("destinations: a thread panicked"))?
                    })
                    .sum()
            })
        })
    }
}

/// Sends the SYN and closes the socket at once: a connection is reset, so that nothing is left of it. The inner result
/// is that of `sendto`.
fn start(target: SocketAddr) -> Result<nix::Result<usize>> {
    let domain = if target.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("destinations: opening a socket")?;
    setsockopt(&socket, FastOpenNoCookie, &1).context("TCP_FASTOPEN_NO_COOKIE: setting it")?;
    let reset = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&socket, sockopt::Linger, &reset).context("SO_LINGER: setting it")?;
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN) | MsgFlags::MSG_NOSIGNAL;
    Ok(sendto(
        socket.as_raw_fd(),
        &DATA,
        &SockaddrStorage::from(target),
        flags,
    ))
}

/// A server on all addresses that accepts, reads and closes.
struct Acceptor {
    port: u16,
    listener: Arc<std::net::TcpListener>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Acceptor {
    fn start(namespace: &Namespace, family: Family) -> Result<Self> {
        let any: IpAddr = match family {
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let listen = Listen {
            fast_open: Some(QUEUE.cast_unsigned()),
            no_cookie: true,
            backlog: QUEUE,
            ..Listen::new(SocketAddr::new(any, 0))
        };
        let listener = Arc::new(namespace.run(|| listen.open())?);
        listener
            .set_nonblocking(false)
            .context("destinations: making the listener block")?;
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = (Arc::clone(&listener), Arc::clone(&stop));
        Ok(Self {
            port: listener
                .local_addr()
                .context("destinations: the listener's port")?
                .port(),
            listener,
            stop,
            thread: Some(thread::spawn(move || {
                while !theirs.1.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = theirs.0.accept() else {
                        continue;
                    };
                    // Unread data would turn the close into a RST, and a client still connecting would see it.
                    let _ = stream.read(&mut [0; DATA.len()]);
                }
            })),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits in accept.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_stay_in_their_block() {
        for (family, first, last) in [
            (Family::V4, "10.0.0.1", "10.15.66.64"),
            (Family::V6, "fd77:1::1", "fd77:1::f:4240"),
        ] {
            assert_eq!(Destinations::address(family, 0).to_string(), first);
            assert_eq!(Destinations::address(family, 999_999).to_string(), last);
        }
    }
}
