//! An echo server with every listener option that matters to TCP Fast Open.
//!
//! It has one thread with one `poll` loop, inside a namespace. Dropping the [`Server`] stops it.

mod connection;
mod listen;

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use connection::Connection;
pub use listen::{Keys, Listen, Reply};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::netns::Namespace;

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    stop: EventFd,
    accepted: AtomicU64,
}

impl Server {
    /// Starts a server inside `namespace`; returns when it listens.
    pub fn start(namespace: &Namespace, listen: &Listen) -> Result<Self> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .context("eventfd: creating it")?;
        let shared = Arc::new(Shared {
            stop,
            accepted: AtomicU64::new(0),
        });
        let (ready, bound) = mpsc::channel();
        let (config, state) = (listen.clone(), Arc::clone(&shared));
        let thread = namespace.spawn(&listen.name, move || {
            let listener = config.open()?;
            let address = listener.local_addr().context("listener: reading its address")?;
            // The receiver is gone only when the caller has panicked; then there is nothing to serve.
            let _ = ready.send(address);
            serve(&listener, &config, &state)
        })?;
        match bound.recv() {
            Ok(address) => Ok(Self {
                address,
                shared,
                thread: Some(thread),
            }),
            Err(_) => Err(thread.join().map_or_else(
                |_| anyhow!("server {}: its thread panicked", listen.address),
                |end| {
                    end.err()
                        .unwrap_or_else(|| anyhow!("server {}: ended at once", listen.address))
                },
            )),
        }
    }

    /// The address that clients connect to; of an IPv4-mapped listener, the IPv4 address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip().to_canonical(), self.address.port())
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, config: &Listen, shared: &Shared) -> Result<()> {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN)];
        let accepting = if config.accept {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        fds.push(PollFd::new(listener.as_fd(), accepting));
        fds.extend(connections.iter().map(Connection::poll_fd));
        match poll(&mut fds, until_next(&connections)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("server: poll"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[0] {
            return Ok(());
        }
        let mut readiness = ready[2..].iter().copied();
        connections.retain_mut(|connection| connection.advance(readiness.next().unwrap_or(false), config));
        // Several connections may be waiting: all are accepted before the next poll.
        if config.accept && ready[1] {
            while let Ok((stream, _)) = listener.accept() {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                connections.extend(Connection::new(stream));
            }
        }
    }
}

/// Time until the first delayed reply is due.
fn until_next(connections: &[Connection]) -> PollTimeout {
    let Some(due) = connections.iter().filter_map(Connection::due).min() else {
        return PollTimeout::NONE;
    };
    // Rounded up: waking a moment early would spin until the reply is due.
    let wait = due.saturating_duration_since(Instant::now()) + std::time::Duration::from_millis(1);
    PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
}
