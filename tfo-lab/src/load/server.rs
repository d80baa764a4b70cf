//! The echo servers of the load generator: each accepts, reads, writes and closes one connection at a time.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use nix::sys::socket::{Shutdown, shutdown};

use crate::server::Listen;

/// Length of the accept queue and of the TFO queue: enough for all connections that the clients have in flight.
const QUEUE: i32 = 4096;

/// Running echo servers; dropping them stops them.
pub struct Servers {
    listeners: Vec<Arc<TcpListener>>,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Servers {
    /// Starts `count` servers in the calling thread's namespace, each on a port of its own.
    pub fn start(ip: IpAddr, count: usize, message: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut servers = Self {
            listeners: Vec::new(),
            addresses: Vec::new(),
            threads: Vec::new(),
            stop,
        };
        for _ in 0..count {
            let (listener, address) = listen(ip)?;
            servers.addresses.push(address);
            let listener = Arc::new(listener);
            servers.listeners.push(Arc::clone(&listener));
            let stop = Arc::clone(&servers.stop);
            servers
                .threads
                .push(thread::spawn(move || echo(&listener, message, &stop)));
        }
        Ok(servers)
    }

    /// None of its own: one that listens here already.
    pub fn elsewhere(address: SocketAddr) -> Self {
        Self {
            listeners: Vec::new(),
            addresses: vec![address],
            threads: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Wakes the thread that waits in accept.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A listener that waits in `accept`, on a free port, and its address.
pub fn listen(ip: IpAddr) -> Result<(TcpListener, SocketAddr)> {
    let listen = Listen {
        backlog: QUEUE,
        fast_open: Some(QUEUE.cast_unsigned()),
        ..Listen::new(SocketAddr::new(ip, 0))
    };
    let listener = listen.open()?;
    listener
        .set_nonblocking(false)
        .context("load: making a listener block")?;
    let address = listener
        .local_addr()
        .context("load: reading a listener's address")?;
    Ok((listener, address))
}

fn echo(listener: &TcpListener, message: usize, stop: &AtomicBool) {
    let mut buffer = vec![0_u8; message];
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            continue;
        };
        answer(&mut stream, &mut buffer);
    }
}

/// Reads a request and sends it back. A client that has gone, or gets no reply, counts the error itself.
pub fn answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    if stream.read_exact(buffer).is_ok() {
        let _ = stream.write_all(buffer);
    }
}
