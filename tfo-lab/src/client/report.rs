//! What a client connection did, call by call.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Instant,
};

use nix::errno::Errno;
use serde::Serialize;

use crate::sockopt::TcpInfo;

/// One system call and what it returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Name of the call, or of the option set.
    pub call: &'static str,
    /// Its return value; -1 on error.
    pub returned: i64,
    /// Name of the error (`EINPROGRESS`).
    pub errno: Option<String>,
}

/// What a connection did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every call that matters, in order.
    pub calls: Vec<Call>,
    /// Name of the thread that connected, as the kernel knows it.
    pub comm: String,
    /// Local address; an IPv4-mapped one as IPv4. `None` if the socket never had one.
    pub local: Option<SocketAddr>,
    /// Remote address, in the same form.
    pub remote: SocketAddr,
    /// Name of the error that ended the connection; `None` if it ended as it should.
    pub error: Option<String>,
    /// Time until the application knew that the connection was established, in us; `None` if it never was.
    pub handshake_us: Option<u64>,
    /// Time until the first byte of the reply, in us; `None` if none came.
    pub first_byte_us: Option<u64>,
    /// Time until the close, in us.
    pub total_us: u64,
    /// Bytes of reply read.
    pub received: usize,
    /// Whether the reply was complete and equal to what was sent.
    pub reply_matched: bool,
    /// `TCP_INFO` just before the close.
    pub tcp_info: Option<TcpInfo>,
    /// The instant just before the first call, from which times count.
    #[serde(skip)]
    pub(super) started: Instant,
}

impl Report {
    /// An empty report for a connection to `remote` that starts now.
    pub(super) fn new(remote: SocketAddr) -> Self {
        Self {
            calls: Vec::new(),
            comm: own_comm(),
            local: None,
            remote: canonical(remote),
            error: None,
            handshake_us: None,
            first_byte_us: None,
            total_us: 0,
            received: 0,
            reply_matched: false,
            tcp_info: None,
            started: Instant::now(),
        }
    }

    /// Whether the handshake completed.
    pub fn established(&self) -> bool {
        self.handshake_us.is_some()
    }

    /// What the first call named `call` returned.
    pub fn call(&self, call: &str) -> Option<&Call> {
        self.calls.iter().find(|noted| noted.call == call)
    }

    /// Notes a call that returned.
    pub(super) fn note(&mut self, call: &'static str, result: Result<usize, Errno>) {
        let (returned, errno) = match result {
            Ok(value) => (i64::try_from(value).unwrap_or(i64::MAX), None),
            Err(errno) => (-1, Some(format!("{errno:?}"))),
        };
        self.calls.push(Call {
            call,
            returned,
            errno,
        });
    }

    /// Notes a call whose failure ended the connection.
    pub(super) fn fail(&mut self, call: &'static str, errno: Errno) {
        self.note(call, Err(errno));
        self.error = Some(format!("{errno:?}"));
    }

    /// Notes the local address of the socket, once it has one; a socket that fails loses it again.
    pub(super) fn note_addresses(&mut self, stream: &TcpStream) {
        if let Ok(address) = stream.local_addr()
            && address.port() != 0
            && !address.ip().is_unspecified()
        {
            self.local = Some(canonical(address));
        }
    }
}

/// Name of the calling thread; empty where `/proc` is not mounted.
fn own_comm() -> String {
    let comm = fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    comm.trim_end().to_owned()
}

/// The form in which records name addresses: IPv4-mapped ones as IPv4, no scope.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
