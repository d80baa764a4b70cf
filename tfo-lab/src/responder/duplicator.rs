//! A network that brings a SYN twice: keeps the SYNs with data that arrive at a server, and sends one again when told.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, RecvMsg, SockaddrStorage, recvmsg, sendto},
};

use super::{
    ip_of, open,
    segment::{self, Ends, SYN, Segment},
};
use crate::lab::Lab;

/// Watches what arrives at a server.
#[derive(Debug)]
pub struct Duplicator<'lab> {
    lab: &'lab Lab,
    server: SocketAddr,
    raw: OwnedFd,
}

/// A SYN that arrived.
#[derive(Clone, Debug)]
pub struct Kept {
    client: SocketAddr,
    bytes: Vec<u8>,
}

impl Kept {
    /// Who sent it.
    pub fn client(&self) -> SocketAddr {
        self.client
    }
}

impl<'lab> Duplicator<'lab> {
    /// Begins to keep SYNs to this address.
    pub fn start(lab: &'lab Lab, server: SocketAddr) -> Result<Self> {
        let raw = lab.in_server(|| open(server.ip()))?;
        Ok(Self { lab, server, raw })
    }

    /// The SYNs that have arrived since it was asked last.
    pub fn kept(&self) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let received = recvfrom_now(&self.raw, &mut buffer).context("duplicator: receiving")?;
            let Some((len, from)) = received else { break };
            let Some(peer) = from.and_then(ip_of) else {
                continue;
            };
            let Some(bytes) = segment::strip_ip(&buffer[..len], peer.is_ipv4()) else {
                continue;
            };
            let Some(parsed) = Segment::parse(bytes) else {
                continue;
            };
            if parsed.destination == self.server.port() && parsed.flags & SYN != 0 {
                kept.push(Kept {
                    client: SocketAddr::new(peer, parsed.source),
                    bytes: bytes.to_vec(),
                });
            }
        }
        Ok(kept)
    }

    /// Brings a SYN again, as the network would: from the client's side, with every bit as it was.
    pub fn send_again(&self, syn: &Kept) -> Result<()> {
        let ends = Ends {
            from: syn.client,
            to: self.server,
        };
        // What was received over a veth pair may lack its checksum: nobody has worked it out.
        let bytes = segment::with_checksum(&ends, &syn.bytes);
        self.lab.in_client(|| {
            let raw = open(syn.client.ip())?;
            let target = SockaddrStorage::from(SocketAddr::new(self.server.ip(), 0));
            sendto(raw.as_raw_fd(), &bytes, &target, MsgFlags::empty())
                .with_context(|| format!("duplicator: sending to {}", self.server))?;
            Ok(())
        })
    }
}

/// What has arrived; `None` when there is nothing more.
fn recvfrom_now(raw: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Option<(usize, Option<SockaddrStorage>)>> {
    let mut pieces = [std::io::IoSliceMut::new(buffer)];
    let received: nix::Result<RecvMsg<'_, '_, SockaddrStorage>> =
        recvmsg(raw.as_raw_fd(), &mut pieces, None, MsgFlags::MSG_DONTWAIT);
    match received {
        Ok(received) => Ok(Some((received.bytes, received.address))),
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}
