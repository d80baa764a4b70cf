//! One accepted connection: reads, replies when the reply is due, and closes after the peer has closed.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    time::Instant,
};

use nix::poll::{PollFd, PollFlags};

use super::{Listen, Reply};
use crate::pattern;

/// State of an accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
    due: Option<Instant>,
    answered: bool,
    peer_done: bool,
}

impl Connection {
    /// A connection on an accepted socket; `None` if it cannot be used any more.
    pub fn new(stream: TcpStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        Some(Self {
            stream,
            pending: Vec::new(),
            due: None,
            answered: false,
            peer_done: false,
        })
    }

    /// The events to wait for.
    pub fn poll_fd(&self) -> PollFd<'_> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, !self.peer_done);
        events.set(PollFlags::POLLOUT, !self.pending.is_empty() && self.due.is_none());
        PollFd::new(self.stream.as_fd(), events)
    }

    /// When a delayed reply is due; `None` when none is.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Does what can be done without blocking; false when the connection is over.
    pub fn advance(&mut self, ready: bool, config: &Listen) -> bool {
        if ready && !self.peer_done && !self.read(config) {
            return false;
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
        }
        if self.due.is_none() && !self.pending.is_empty() && !self.write() {
            return false;
        }
        !(self.peer_done && self.pending.is_empty())
    }

    fn read(&mut self, config: &Listen) -> bool {
        let mut chunk = [0_u8; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.peer_done = true;
                    return true;
                }
                Ok(len) => self.prepare_reply(&chunk[..len], config),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn prepare_reply(&mut self, data: &[u8], config: &Listen) {
        match config.reply {
            Reply::Echo => self.pending.extend_from_slice(data),
            Reply::Bytes(len) if !self.answered => self.pending = pattern::bytes(len),
            Reply::Bytes(_) => {}
        }
        if !self.answered && !config.reply_delay.is_zero() {
            self.due = Some(Instant::now() + config.reply_delay);
        }
        self.answered = true;
    }

    fn write(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(len) => drop(self.pending.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
