//! A TCP peer in user space for answers that no Linux server gives: it acks only part of the data in a SYN, or it is as far
//! away as it likes, on kernels without a queueing discipline that delays.
//!
//! It works on a raw socket beside the server's own stack, whose RSTs a [`Middlebox`] rule drops. It grants cookies,
//! accepts any cookie, echoes data and answers FIN. It retransmits nothing, as the lab's link does not lose packets by
//! itself.

mod duplicator;
mod flow;
mod segment;

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
pub use duplicator::{Duplicator, Kept};
use flow::Flow;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recvfrom,
            sendto, socket,
        },
    },
};
pub use segment::Cookie;
use segment::{Ends, Segment};

use crate::{
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

/// How a responder answers.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Bytes of SYN data that it acks at most.
    pub ack_limit: usize,
    /// The cookies that it grants.
    pub cookie: Cookie,
    /// Time between a segment and the answer to it: the round trip, as the client sees it.
    pub delay: Duration,
    /// Whether it answers the data of a SYN right behind its SYN-ACK; if not, after the handshake.
    pub is_eager: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            ack_limit: usize::MAX,
            cookie: Cookie::ORDINARY,
            delay: Duration::ZERO,
            is_eager: false,
        }
    }
}

/// A running responder; dropping it stops it.
#[derive(Debug)]
pub struct Responder {
    address: SocketAddr,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<Result<()>>>,
    _silence: Middlebox,
}

impl Responder {
    /// Starts a responder on `address` in the server's namespace, where nothing else may listen. It acks at most
    /// `ack_limit` bytes of SYN data and grants cookies as Linux servers do.
    pub fn start(lab: &Lab, address: SocketAddr, ack_limit: usize) -> Result<Self> {
        Self::start_with(lab, address, ack_limit, Cookie::ORDINARY)
    }

    /// Starts a responder that grants cookies of this kind and length.
    pub fn start_with(lab: &Lab, address: SocketAddr, ack_limit: usize, cookie: Cookie) -> Result<Self> {
        let manner = Manner {
            ack_limit,
            cookie,
            ..Manner::default()
        };
        Self::start_as(lab, address, manner)
    }

    /// Starts a responder that answers so.
    pub fn start_as(lab: &Lab, address: SocketAddr, manner: Manner) -> Result<Self> {
        let rule = Rule::new(Effect::DropServerReset, address.ip()).port(address.port());
        let silence = Middlebox::on_path(lab, &rule)?;
        let raw = lab.in_server(|| open(address.ip()))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd: creating it")?;
        let stop = Arc::new(stop);
        let stopped = Arc::clone(&stop);
        let thread = lab
            .server()
            .spawn("tfo-responder", move || answer(&raw, address, manner, &stopped))?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
            _silence: silence,
        })
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(ip: IpAddr) -> Result<OwnedFd> {
    let domain = if ip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let raw = socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)
        .context("raw TCP socket: opening it; this needs root (CAP_NET_RAW)")?;
    bind(raw.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, 0)))
        .with_context(|| format!("raw TCP socket: binding it to {ip}"))?;
    Ok(raw)
}

/// A packet that leaves when its time has come.
struct Due {
    at: Instant,
    packet: Vec<u8>,
    peer: IpAddr,
}

fn answer(raw: &OwnedFd, address: SocketAddr, manner: Manner, stop: &EventFd) -> Result<()> {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    // In the order of their times, because every answer takes as long.
    let mut waiting: VecDeque<Due> = VecDeque::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        while let Some(due) = waiting.pop_front_if(|due| due.at <= Instant::now()) {
            let target = SockaddrStorage::from(SocketAddr::new(due.peer, 0));
            sendto(raw.as_raw_fd(), &due.packet, &target, MsgFlags::empty())
                .with_context(|| format!("responder: answering {}", due.peer))?;
        }
        let mut fds = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(raw.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, until_next(&waiting)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("responder: poll"),
        }
        if fds[0].any() == Some(true) {
            return Ok(());
        }
        if fds[1].any() != Some(true) {
            continue;
        }
        let received = recvfrom::<SockaddrStorage>(raw.as_raw_fd(), &mut buffer);
        let (len, from) = received.context("responder: receiving")?;
        let Some(peer) = from.and_then(ip_of) else {
            continue;
        };
        let packet = &buffer[..len];
        let Some(segment) = segment::strip_ip(packet, peer.is_ipv4()).and_then(Segment::parse) else {
            continue;
        };
        if segment.destination != address.port() {
            continue;
        }
        let peer = SocketAddr::new(peer, segment.source);
        let flow = flows.entry(peer).or_insert_with(|| Flow::new(manner));
        let ends = Ends {
            from: address,
            to: peer,
        };
        let at = Instant::now() + manner.delay;
        waiting.extend(flow.receive(&segment).iter().map(|reply| Due {
            at,
            packet: reply.encode(&ends),
            peer: peer.ip(),
        }));
    }
}

/// Time until the first answer is due.
fn until_next(waiting: &VecDeque<Due>) -> PollTimeout {
    let Some(due) = waiting.front() else {
        return PollTimeout::NONE;
    };
    // Rounded up: waking a moment early would spin until it is due.
    let wait = due.at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
}

fn ip_of(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}
