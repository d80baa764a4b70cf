//! A client connection: described by [`Connect`], then made through any TFO interface that Linux has, on a blocking or
//! non-blocking socket. The report has the result of each call.
//!
//! The sequences follow docs/kernel-facts.md section 1.1. [`Connect::run`] does everything; [`Connect::open`]
//! stops after the handshake for tests that hold connections open.

mod report;
mod start;
mod unsent;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, setsockopt, sockopt},
};
pub use report::{Call, Report};
use serde::Serialize;
pub use unsent::Unsent;

use crate::{
    netns::Namespace,
    pattern,
    sockopt::{RawTcpInfo, TcpInfo},
    undisturbed::undisturbed,
};

/// Address family of the client's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// An IPv4 socket.
    V4,
    /// An IPv6 socket.
    V6,
    /// An IPv6 socket connected to an IPv4-mapped address: IPv4 on the wire.
    Mapped,
}

/// How the client asks for TCP Fast Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// Not at all: `connect`, then `send`.
    Plain,
    /// `sendto(MSG_FASTOPEN)` instead of `connect`.
    MsgFastopen,
    /// `setsockopt(TCP_FASTOPEN_CONNECT)`, then `connect` and `send` as usual.
    FastopenConnect,
}

/// A setting of the socket, made before it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientOption {
    /// `TCP_FASTOPEN_NO_COOKIE`.
    NoCookie,
    /// `TCP_QUICKACK` 0, with which a connection whose SYN data was withheld stalls unless it is pushed.
    QuickAckOff,
    /// `TCP_DEFER_ACCEPT`, which on a client delays its last ACK. It has the same effect on withheld SYN data.
    DeferAccept,
    /// `TCP_NODELAY`.
    NoDelay,
    /// `TCP_CORK`: partial segments wait. Only for payloads that fit a SYN.
    Cork,
    /// `MSG_MORE` on the call that sends the SYN. Only for payloads that fit a SYN.
    More,
    /// An MPTCP socket.
    Mptcp,
    /// `TCP_SYNCNT`: give up after this many SYN retransmissions.
    SynCount(u32),
    /// `IP_TTL`: how many hops packets of this socket may make.
    HopLimit(u8),
}

/// Which local address and port the client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The kernel picks both while it connects, as for most programs.
    Automatic,
    /// Bound to this address before connecting. Also keeps the port known when the connect fails.
    Bound(SocketAddr),
}

/// A connection to make.
#[derive(Clone, Debug, Serialize)]
pub struct Connect {
    /// Address of the server; for [`Family::Mapped`], the IPv4 address.
    pub target: SocketAddr,
    /// Address family of the socket.
    pub family: Family,
    /// How the connection asks for TFO.
    pub api: Api,
    /// Whether the socket blocks.
    pub blocking: bool,
    /// Bytes the application sends.
    pub payload: usize,
    /// What these begin with, in place of the pattern's first bytes.
    pub begins: &'static [u8],
    /// Bytes to read back before closing; 0 closes at once.
    pub reply: usize,
    /// Settings made before connecting.
    pub options: Vec<ClientOption>,
    /// Local address.
    pub source: Source,
    /// Longest wait for any single step.
    pub timeout: Duration,
    /// Close by RST instead of FIN.
    pub reset_on_close: bool,
}

impl Connect {
    /// A blocking `MSG_FASTOPEN` connection that sends `payload` bytes and reads them back.
    pub fn new(target: SocketAddr, payload: usize) -> Self {
        Self {
            target,
            family: if target.is_ipv4() { Family::V4 } else { Family::V6 },
            api: Api::MsgFastopen,
            blocking: true,
            payload,
            begins: b"",
            reply: payload,
            options: Vec::new(),
            source: Source::Automatic,
            timeout: Duration::from_secs(10),
            reset_on_close: false,
        }
    }

    /// What the application sends.
    fn data(&self) -> Vec<u8> {
        let mut data = pattern::bytes(self.payload);
        for (to, from) in data.iter_mut().zip(self.begins) {
            *to = *from;
        }
        data
    }

    /// Connects from inside `namespace`, exchanges the payload and closes.
    pub fn run_in(&self, namespace: &Namespace) -> Result<Report> {
        namespace.run(|| self.run())
    }

    /// Connects from the calling thread's namespace, exchanges the payload and closes.
    pub fn run(&self) -> Result<Report> {
        let mut connection = self.open()?;
        if connection.report.error.is_none() {
            connection.exchange()?;
        }
        connection.close()
    }

    /// Connects and sends what the interface sends while it connects.
    ///
    /// A connection that is refused or times out is no error of this function: see [`Report::error`].
    pub fn open(&self) -> Result<Connection> {
        let start::Started {
            stream,
            mut report,
            sent,
        } = undisturbed(|| start::start(self))?;
        report.note_addresses(&stream);
        let mut connection = Connection {
            config: self.clone(),
            stream,
            report,
            sent,
        };
        if connection.report.error.is_none() {
            connection.await_handshake()?;
        }
        connection.note_info();
        Ok(connection)
    }
}

/// A connection that was started.
#[derive(Debug)]
pub struct Connection {
    config: Connect,
    stream: TcpStream,
    report: Report,
    sent: usize,
}

impl Connection {
    /// The report up to now.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the kernel says about it now.
    pub fn info(&mut self) -> Option<TcpInfo> {
        self.note_info();
        self.report.tcp_info
    }

    /// The socket, for what no report is about.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends what did not fit into the SYN and reads the reply.
    pub fn exchange(&mut self) -> Result<()> {
        undisturbed(|| {
            self.send_rest()?;
            if self.report.error.is_none() {
                self.read_reply()?;
            }
            Ok(())
        })?;
        self.note_info();
        Ok(())
    }

    /// Closes the socket and returns the report.
    pub fn close(mut self) -> Result<Report> {
        if self.config.reset_on_close {
            let now = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&self.stream, sockopt::Linger, &now).context("SO_LINGER: setting it")?;
        }
        self.report.total_us = micros(self.report.started.elapsed());
        Ok(self.report)
    }

    /// Waits for the end of the handshake. A blocking socket is established or has failed by now; a non-blocking one says
    /// so by POLLOUT.
    fn await_handshake(&mut self) -> Result<()> {
        if !self.config.blocking {
            if !self.wait_for(PollFlags::POLLOUT)? {
                self.report.fail("poll", Errno::ETIMEDOUT);
                return Ok(());
            }
            let error = getsockopt(&self.stream, sockopt::SocketError).context("SO_ERROR: reading it")?;
            if error != 0 {
                self.report.fail("SO_ERROR", Errno::from_raw(error));
                return Ok(());
            }
        }
        self.report.note_addresses(&self.stream);
        self.report.handshake_us = Some(micros(self.report.started.elapsed()));
        Ok(())
    }

    fn send_rest(&mut self) -> Result<()> {
        let data = self.config.data();
        while self.sent < data.len() {
            match self.stream.write(&data[self.sent..]) {
                Ok(sent) => {
                    self.report.note("send", Ok(sent));
                    self.sent += sent;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.config.blocking => {
                    if !self.wait_for(PollFlags::POLLOUT)? {
                        bail!(
                            "send to {}: peer took nothing for {:?}",
                            self.config.target,
                            self.config.timeout
                        );
                    }
                }
                Err(error) => {
                    self.report
                        .fail("send", Errno::from_raw(error.raw_os_error().unwrap_or_default()));
                    break;
                }
            }
        }
        Ok(())
    }

    fn read_reply(&mut self) -> Result<()> {
        let mut reply = Vec::new();
        let mut chunk = [0_u8; 16 * 1024];
        while reply.len() < self.config.reply {
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => {
                    self.report
                        .first_byte_us
                        .get_or_insert_with(|| micros(self.report.started.elapsed()));
                    reply.extend_from_slice(&chunk[..len]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.config.blocking => {
                    if !self.wait_for(PollFlags::POLLIN)? {
                        self.report.fail("poll", Errno::ETIMEDOUT);
                        break;
                    }
                }
                Err(error) => {
                    self.report
                        .fail("recv", Errno::from_raw(error.raw_os_error().unwrap_or_default()));
                    break;
                }
            }
        }
        self.report.received = reply.len();
        // A server that does not echo answers with the pattern.
        let is_echo = self.config.data().starts_with(&reply);
        self.report.reply_matched = reply.len() == self.config.reply && (is_echo || pattern::matches(&reply));
        Ok(())
    }

    /// Waits for `events`; false when the time is up.
    fn wait_for(&self, events: PollFlags) -> Result<bool> {
        let timeout = PollTimeout::try_from(self.config.timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.stream.as_fd(), events)];
        let ready = poll(&mut fds, timeout).context("poll: waiting for the connection")?;
        Ok(ready > 0)
    }

    fn note_info(&mut self) {
        self.report.tcp_info = getsockopt(&self.stream, RawTcpInfo).ok().map(TcpInfo::from);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
