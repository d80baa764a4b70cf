//! The raw sockets of a probe: send a SYN and wait for its answer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
        getsockname, recvfrom, send, setsockopt, socket, sockopt,
    },
};

use super::{
    Kind, SynAnswer,
    segment::{self, Sent},
};
use crate::exit::{self, Failure};

/// How long to wait for an answer.
const WAIT: Duration = Duration::from_secs(1);
/// TTL of SYNs that are to reach the destination.
pub const FAR: u8 = 64;
/// Length of the receive buffer: more than any answer has.
const LONGEST: usize = 2_048;

/// The sockets for one destination.
#[derive(Debug)]
pub struct RawSockets {
    tcp: OwnedFd,
    icmp: OwnedFd,
    local: IpAddr,
    remote: SocketAddr,
    payload: Vec<u8>,
    sequence: u32,
}

impl RawSockets {
    /// Opens the sockets. `local` is the source address of the SYNs; `sequence` is a random number.
    pub fn open(local: IpAddr, remote: SocketAddr, payload: &[u8], sequence: u32) -> anyhow::Result<Self> {
        let (family, icmp) = match remote {
            SocketAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            SocketAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let open = |protocol| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(family, SockType::Raw, flags, protocol).map_err(no_socket)
        };
        let this = Self {
            tcp: open(SockProtocol::Tcp)?,
            icmp: open(icmp)?,
            local,
            remote,
            // The SYN must fit into one packet on every path.
            payload: payload.iter().copied().take(1_000).collect(),
            sequence,
        };
        let context = || format!("probe: raw socket to {}", remote.ip());
        bind(
            this.tcp.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(local, 0)),
        )
        .with_context(context)?;
        // Connected, so that only packets of this peer are delivered. A raw socket has no port.
        let mut peer = remote;
        peer.set_port(0);
        connect(this.tcp.as_raw_fd(), &SockaddrStorage::from(peer)).with_context(context)?;
        Ok(this)
    }

    /// Sends a SYN with this TTL and waits for its answer.
    pub fn ask(&mut self, kind: Kind, ttl: u8) -> anyhow::Result<SynAnswer> {
        // A new port and sequence number each time, so that a late answer is not taken for one to the next SYN.
        let (_held, local) = self.port()?;
        self.sequence = self.sequence.wrapping_add(0x0103_0507);
        let data = if kind.has_data() { self.payload.len() } else { 0 };
        let sent = Sent {
            local,
            remote: self.remote,
            sequence: self.sequence,
            kind,
            data: u16::try_from(data).unwrap_or(0),
        };
        let bytes = segment::syn(&sent, &self.payload).context("probe: build a SYN")?;
        let context = || format!("probe: send {} to {}", kind.describe(), self.remote);
        match self.remote {
            SocketAddr::V4(_) => setsockopt(&self.tcp, sockopt::Ipv4Ttl, &i32::from(ttl)),
            SocketAddr::V6(_) => setsockopt(&self.tcp, sockopt::Ipv6Ttl, &i32::from(ttl)),
        }
        .with_context(context)?;
        match send(self.tcp.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => {}
            // The error of an ICMP message about an earlier SYN, or there is no route.
            Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED | Errno::EPROTO) => {
                send(self.tcp.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)
                    .map_err(io::Error::from)
                    .with_context(context)?;
            }
            Err(Errno::EPERM) => anyhow::bail!("{}: a firewall rule of this host dropped it", context()),
            Err(errno) => return Err(errno).with_context(context),
        }
        self.wait(&sent)
    }

    /// Reserves a local port while the answer is on its way. The socket does not listen, so the kernel answers a SYN-ACK by
    /// a RST.
    fn port(&self) -> anyhow::Result<(OwnedFd, SocketAddr)> {
        let family = if self.local.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let held =
            socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("probe: open a socket")?;
        bind(
            held.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(self.local, 0)),
        )
        .context("probe: get a port")?;
        let name: SockaddrStorage = getsockname(held.as_raw_fd()).context("probe: get a port")?;
        let port = match (name.as_sockaddr_in(), name.as_sockaddr_in6()) {
            (Some(v4), _) => v4.port(),
            (None, Some(v6)) => v6.port(),
            (None, None) => anyhow::bail!("probe: get a port: the socket has no address"),
        };
        Ok((held, SocketAddr::new(self.local, port)))
    }

    fn wait(&self, sent: &Sent) -> anyhow::Result<SynAnswer> {
        let end = Instant::now() + WAIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut both = [&self.tcp, &self.icmp].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            match poll(&mut both, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("probe: wait for an answer"),
            }
            if let Some(seen) = self.read(sent)? {
                return Ok(seen);
            }
            if left.is_zero() {
                return Ok(SynAnswer::Nothing);
            }
        }
    }

    /// Reads the packets that have arrived; the answer, if it is among them.
    fn read(&self, sent: &Sent) -> anyhow::Result<Option<SynAnswer>> {
        let mut bytes = [0; LONGEST];
        while let Some((length, _)) = receive(&self.tcp, &mut bytes)? {
            if let Some(seen) = self
                .bare(&bytes[..length])
                .and_then(|tcp| segment::answer(tcp, sent))
            {
                return Ok(Some(seen));
            }
        }
        while let Some((length, from)) = receive(&self.icmp, &mut bytes)? {
            let message = self.bare(&bytes[..length]);
            let told = message
                .zip(from)
                .and_then(|(icmp, from)| segment::error(icmp, from, sent));
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(None)
    }

    /// A packet without its IP header: raw sockets deliver that of IPv4, but not that of IPv6 (raw(7), ipv6(7)).
    fn bare<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        if self.remote.is_ipv4() {
            segment::without_ip(packet)
        } else {
            Some(packet)
        }
    }
}

/// The next packet and its sender; `None` when there is no more.
fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> anyhow::Result<Option<(usize, Option<IpAddr>)>> {
    loop {
        return match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), bytes) {
            Ok((length, from)) => Ok(Some((length.min(bytes.len()), from.as_ref().and_then(ip)))),
            Err(Errno::EAGAIN) => Ok(None),
            // ICMP messages leave errors on this socket; the messages themselves are read from the other one.
            Err(
                Errno::EINTR | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED | Errno::EPROTO,
            ) => continue,
            Err(errno) => Err(errno).context("probe: read an answer"),
        };
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn no_socket(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            Failure::new(exit::MISSING, "probe: open a raw socket: missing CAP_NET_RAW")
                .hint("run it as root: sudo tfo-cli probe ...; without --raw and --locate no right is needed")
                .into()
        }
        errno => anyhow::Error::new(errno).context("probe: open a raw socket"),
    }
}
