//! The calls that send the SYN: one function for each interface. Each result is noted in the report.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, SockaddrStorage, bind, connect, send, sendto, setsockopt, sockopt},
        time::{TimeVal, TimeValLike},
    },
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Api, ClientOption, Connect, Family, Report, Source};
use crate::sockopt::{Cork, DeferAccept, FastOpenConnect, FastOpenNoCookie, QuickAck, SynCount};

/// A connection whose SYN has been sent.
pub struct Started {
    pub stream: TcpStream,
    pub report: Report,
    /// Bytes of the payload that the kernel has taken.
    pub sent: usize,
}

/// Makes the socket and starts connecting.
pub fn start(config: &Connect) -> Result<Started> {
    let socket = prepare(config)?;
    let target = SockaddrStorage::from(wire_address(config.family, config.target));
    let data = config.data();
    let mut report = Report::new(config.target);
    let sent = match config.api {
        Api::Plain => plain(&socket, &target, config, &mut report),
        Api::MsgFastopen => msg_fastopen(&socket, &target, &data, config, &mut report),
        Api::FastopenConnect => fastopen_connect(&socket, &target, &data, config, &mut report),
    };
    let stream = TcpStream::from(socket);
    if let Source::Bound(_) = config.source {
        report.note_addresses(&stream);
    }
    Ok(Started { stream, report, sent })
}

fn plain(socket: &OwnedFd, target: &SockaddrStorage, config: &Connect, report: &mut Report) -> usize {
    match connect(socket.as_raw_fd(), target) {
        Ok(()) => report.note("connect", Ok(0)),
        Err(Errno::EINPROGRESS) if !config.blocking => report.note("connect", Err(Errno::EINPROGRESS)),
        Err(errno) => report.fail("connect", errno),
    }
    0
}

fn msg_fastopen(
    socket: &OwnedFd,
    target: &SockaddrStorage,
    data: &[u8],
    config: &Connect,
    report: &mut Report,
) -> usize {
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN) | send_flags(config);
    match sendto(socket.as_raw_fd(), data, target, flags) {
        Ok(sent) => {
            report.note("sendto", Ok(sent));
            sent
        }
        // No cookie yet: the SYN left without the data, which has to be sent again later.
        Err(Errno::EINPROGRESS) if !config.blocking => {
            report.note("sendto", Err(Errno::EINPROGRESS));
            0
        }
        Err(errno) => {
            report.fail("sendto", errno);
            0
        }
    }
}

fn fastopen_connect(
    socket: &OwnedFd,
    target: &SockaddrStorage,
    data: &[u8],
    config: &Connect,
    report: &mut Report,
) -> usize {
    // Refused when the namespace's client bit is off; applications then connect as usual.
    let enabled = setsockopt(socket, FastOpenConnect, &1).map(|()| 0);
    report.note("TCP_FASTOPEN_CONNECT", enabled);
    match connect(socket.as_raw_fd(), target) {
        Ok(()) => report.note("connect", Ok(0)),
        Err(Errno::EINPROGRESS) if !config.blocking => {
            report.note("connect", Err(Errno::EINPROGRESS));
            return 0;
        }
        Err(errno) => {
            report.fail("connect", errno);
            return 0;
        }
    }
    // With a cached cookie nothing has left yet: this write is what sends the SYN.
    match send(socket.as_raw_fd(), data, send_flags(config)) {
        Ok(sent) => {
            report.note("send", Ok(sent));
            sent
        }
        Err(Errno::EINPROGRESS | Errno::EAGAIN) if !config.blocking => {
            report.note("send", Err(Errno::EINPROGRESS));
            0
        }
        Err(errno) => {
            report.fail("send", errno);
            0
        }
    }
}

/// Flags of the call that sends the SYN.
fn send_flags(config: &Connect) -> MsgFlags {
    let more = config.options.contains(&ClientOption::More);
    MsgFlags::MSG_NOSIGNAL
        | if more {
            MsgFlags::from_bits_retain(libc::MSG_MORE)
        } else {
            MsgFlags::empty()
        }
}

fn prepare(config: &Connect) -> Result<OwnedFd> {
    let domain = match config.family {
        Family::V4 => Domain::IPV4,
        Family::V6 | Family::Mapped => Domain::IPV6,
    };
    let protocol = if config.options.contains(&ClientOption::Mptcp) {
        Protocol::MPTCP
    } else {
        Protocol::TCP
    };
    let socket =
        Socket::new(domain, Type::STREAM.cloexec(), Some(protocol)).context("TCP socket: opening it")?;
    socket
        .set_nonblocking(!config.blocking)
        .context("O_NONBLOCK: setting it")?;
    let socket = OwnedFd::from(socket);
    if config.blocking {
        let limit = TimeVal::milliseconds(i64::try_from(config.timeout.as_millis()).unwrap_or(i64::MAX));
        setsockopt(&socket, sockopt::SendTimeout, &limit).context("SO_SNDTIMEO: setting it")?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &limit).context("SO_RCVTIMEO: setting it")?;
    }
    for option in &config.options {
        set(&socket, *option).with_context(|| format!("{option:?}: setting it before connect"))?;
    }
    if let Source::Bound(address) = config.source {
        bind(
            socket.as_raw_fd(),
            &SockaddrStorage::from(wire_address(config.family, address)),
        )
        .with_context(|| format!("{address}: binding the client to it"))?;
    }
    Ok(socket)
}

fn set(socket: &OwnedFd, option: ClientOption) -> nix::Result<()> {
    match option {
        ClientOption::NoCookie => setsockopt(socket, FastOpenNoCookie, &1),
        ClientOption::QuickAckOff => setsockopt(socket, QuickAck, &0),
        ClientOption::DeferAccept => setsockopt(socket, DeferAccept, &1),
        ClientOption::NoDelay => setsockopt(socket, sockopt::TcpNoDelay, &true),
        ClientOption::Cork => setsockopt(socket, Cork, &1),
        // No setting of the socket.
        ClientOption::More | ClientOption::Mptcp => Ok(()),
        ClientOption::SynCount(count) => setsockopt(socket, SynCount, &count),
        ClientOption::HopLimit(hops) => setsockopt(socket, sockopt::Ipv4Ttl, &i32::from(hops)),
    }
}

/// The address as the socket needs it: IPv4 becomes `::ffff:a.b.c.d` on a mapped one.
pub(super) fn wire_address(family: Family, address: SocketAddr) -> SocketAddr {
    match (family, address.ip()) {
        (Family::Mapped, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}
