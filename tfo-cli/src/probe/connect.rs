//! Makes one attempt, with an ordinary socket and what the kernel reports about it. No capabilities are needed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, sendto,
        socket, sockopt,
    },
};
use tokio::{net::TcpStream, time::timeout_at};

use super::{
    attempt::{Answer, Attempt, Carried, Cookie, DataFate, Step},
    sockopt::{RawTcpInfo, TcpInfo},
};

/// How long a handshake may take: a SYN that is lost is sent again after 1 s, and once more after 1 or 2 s more
/// (`TCP_TIMEOUT_INIT`, `tcp_syn_linear_timeouts`).
const HANDSHAKE: Duration = Duration::from_millis(4_500);
/// How long to wait for the first byte of the reply. Not every server replies to every protocol.
const FIRST_BYTE: Duration = Duration::from_secs(2);

/// The addresses and the payload of an attempt.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The local address; `None` to let the kernel choose.
    pub source: Option<IpAddr>,
    /// The payload, which is sent first.
    pub payload: Vec<u8>,
}

/// Makes an attempt. `cookie` reads the kernel's cookie for the destination; it is called before and after.
///
/// # Errors
///
/// Errors of this host only: no socket, a local address that it does not have, or Fast Open switched off for clients.
pub async fn attempt(
    destination: &Destination,
    step: Step,
    cookie: impl Fn() -> Cookie,
) -> anyhow::Result<Attempt> {
    let socket = open(destination)?;
    let cookie_before = cookie();
    let start = Instant::now();
    let (begun, carried_bytes) = begin(&socket, destination, step)?;
    // The socket is in SYN_SENT: until it is established, the stream is only polled.
    let socket = TcpStream::from_std(socket.into()).context("probe: wait for a socket")?;
    let deadline = tokio::time::Instant::now() + HANDSHAKE;
    let error = match begun {
        Err(errno) if errno != Errno::EINPROGRESS => Some(errno),
        _ => match timeout_at(deadline, socket.writable()).await {
            Ok(ready) => {
                ready.context("probe: wait for the handshake")?;
                socket_error(&socket)?
            }
            Err(_) => Some(Errno::ETIMEDOUT),
        },
    };
    let handshake = start.elapsed();
    let info = tcp_info(&socket)?;
    let mut attempt = Attempt {
        step,
        carried: carried(step, carried_bytes),
        answer: answer(error, step, &info),
        data: None,
        rtt: None,
        handshake: None,
        first_byte: None,
        cookie_before,
        cookie_after: Cookie::NotLookedAt,
    };
    if attempt.answer.is_established() {
        attempt.handshake = Some(handshake);
        attempt.first_byte = first_byte(&socket, &destination.payload[carried_bytes..], start).await?;
        let info = tcp_info(&socket)?;
        attempt.rtt = (info.rtt_us > 0).then(|| Duration::from_micros(info.rtt_us.into()));
        ensure_not_withheld(step, &info)?;
        attempt.data = (carried_bytes > 0).then(|| data_fate(&info));
        if attempt.data == Some(DataFate::Lost) {
            attempt.answer = Answer::Late;
        }
    }
    attempt.cookie_after = cookie();
    Ok(attempt)
}

fn open(destination: &Destination) -> anyhow::Result<OwnedFd> {
    let family = if destination.address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None).context("probe: open a socket")?;
    if let Some(source) = destination.source {
        bind(
            socket.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(source, 0)),
        )
        .with_context(|| format!("probe: use the source address {source}"))?;
    }
    Ok(socket)
}

/// Sends the first SYN; returns the number of bytes that it carried.
fn begin(
    socket: &OwnedFd,
    destination: &Destination,
    step: Step,
) -> anyhow::Result<(Result<(), Errno>, usize)> {
    let address = SockaddrStorage::from(destination.address);
    let fd = socket.as_raw_fd();
    if step == Step::Plain {
        return Ok((connect(fd, &address), 0));
    }
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN) | MsgFlags::MSG_NOSIGNAL;
    match sendto(fd, &destination.payload, &address, flags) {
        Ok(sent) => Ok((Ok(()), sent)),
        // `tcp_sendmsg_fastopen` (net/ipv4/tcp.c): the sysctl lacks TFO_CLIENT_ENABLE.
        Err(Errno::EOPNOTSUPP) => {
            anyhow::bail!("probe: Fast Open is off for clients in this network namespace")
        }
        Err(errno) => Ok((Err(errno), 0)),
    }
}

fn carried(step: Step, bytes: usize) -> Carried {
    match (step, bytes) {
        (Step::Plain, _) => Carried::Nothing,
        (Step::FastOpen, 0) => Carried::Request,
        (Step::FastOpen, bytes) => Carried::Data(bytes),
    }
}

fn answer(error: Option<Errno>, step: Step, info: &TcpInfo) -> Answer {
    match error {
        Some(Errno::ECONNREFUSED) => Answer::Reset,
        Some(Errno::ETIMEDOUT) => Answer::Nothing,
        Some(errno) => Answer::Error(format!("{errno:?}")),
        // Data that was not acknowledged is retransmitted at once, without a SYN; `data_fate` tells that.
        None if info.total_retrans > 0 && (step == Step::Plain || info.client_fail != 2) => Answer::Late,
        None => Answer::AtOnce,
    }
}

/// The kernel notes why there was no cookie or no acknowledgement (`tcpi_fastopen_client_fail`). Where it notes nothing
/// and nothing was acked, this host has sent a plain SYN: that says nothing about the destination.
fn ensure_not_withheld(step: Step, info: &TcpInfo) -> anyhow::Result<()> {
    anyhow::ensure!(
        step == Step::Plain || info.syn_data_acked || info.client_fail != 0,
        "probe: Fast Open was withheld on this host, by a rule or guard (`tfo-cli policy list`), a firewall or queueing \
         discipline, or the blackhole pause (net.ipv4.tcp_fastopen_blackhole_timeout_sec)"
    );
    Ok(())
}

fn data_fate(info: &TcpInfo) -> DataFate {
    if info.syn_data_acked {
        DataFate::Acked
    } else if info.client_fail == 3 {
        DataFate::Lost
    } else {
        DataFate::NotAcked
    }
}

/// Sends the rest of the payload and waits for the first byte of the reply; `None` when none comes in time.
async fn first_byte(socket: &TcpStream, mut rest: &[u8], start: Instant) -> anyhow::Result<Option<Duration>> {
    let deadline = tokio::time::Instant::now() + FIRST_BYTE;
    while !rest.is_empty() {
        let Ok(ready) = timeout_at(deadline, socket.writable()).await else {
            return Ok(None);
        };
        ready.context("probe: wait to send")?;
        match socket.try_write(rest) {
            Ok(sent) => rest = &rest[sent.min(rest.len())..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The server has closed: no reply will come.
            Err(_) => return Ok(None),
        }
    }
    let mut byte = [0; 1];
    loop {
        let Ok(ready) = timeout_at(deadline, socket.readable()).await else {
            return Ok(None);
        };
        ready.context("probe: wait for the answer")?;
        match socket.try_read(&mut byte) {
            Ok(1..) => return Ok(Some(start.elapsed())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The server closed without a reply.
            Ok(0) | Err(_) => return Ok(None),
        }
    }
}

fn socket_error(socket: &TcpStream) -> anyhow::Result<Option<Errno>> {
    let code = getsockopt(&socket.as_fd(), sockopt::SocketError).context("probe: read SO_ERROR")?;
    Ok((code != 0).then(|| Errno::from_raw(code)))
}

fn tcp_info(socket: &TcpStream) -> anyhow::Result<TcpInfo> {
    getsockopt(&socket.as_fd(), RawTcpInfo)
        .map(TcpInfo::from)
        .context("probe: read TCP_INFO")
}
