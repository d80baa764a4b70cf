//! A TCP peer in user space for answers that no Linux server gives: it acks only part of the data in a SYN.
//!
//! It works on a raw socket beside the server's own stack, whose RSTs a [`Middlebox`] rule drops. It grants cookies,
//! accepts any cookie, echoes data and answers FIN. It retransmits nothing, as the lab's link does not lose packets by
//! itself.

mod flow;
mod segment;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::{Context, Result};
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
        let rule = Rule::new(Effect::DropServerReset, address.ip()).port(address.port());
        let silence = Middlebox::on_path(lab, &rule)?;
        let raw = lab.in_server(|| open(address.ip()))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd: creating it")?;
        let stop = Arc::new(stop);
        let stopped = Arc::clone(&stop);
        let thread = lab.server().spawn("tfo-responder", move || {
            answer(&raw, address, &|| Flow::new(ack_limit, cookie), &stopped)
        })?;
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

fn answer(raw: &OwnedFd, address: SocketAddr, meet: &dyn Fn() -> Flow, stop: &EventFd) -> Result<()> {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let mut fds = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(raw.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("responder: poll"),
        }
        if fds[0].any() == Some(true) {
            return Ok(());
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
        let flow = flows.entry(peer).or_insert_with(meet);
        let ends = Ends {
            from: address,
            to: peer,
        };
        for reply in flow.receive(&segment) {
            let target = SockaddrStorage::from(SocketAddr::new(peer.ip(), 0));
            sendto(raw.as_raw_fd(), &reply.encode(&ends), &target, MsgFlags::empty())
                .with_context(|| format!("responder: answering {peer}"))?;
        }
    }
}

fn ip_of(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}
