//! Sets `lo` up through netlink, for namespaces and VMs without `ip`.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Index of `lo`, which is the first interface of every namespace.
const LOOPBACK_INDEX: i32 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER_LEN: usize = 16;

/// Sets `lo` up in the namespace of the calling thread; the kernel adds its addresses.
pub fn bring_up() -> Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .context("netlink socket: opening it")?;
    let fd = socket.as_raw_fd();
    sendto(fd, &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .context("netlink: asking for lo to be set up; this needs root (CAP_NET_ADMIN)")?;
    let mut reply = [0_u8; 512];
    let len = recv(fd, &mut reply, MsgFlags::empty()).context("netlink: reading the answer")?;
    check(&reply[..len])
}

/// `RTM_NEWLINK` for interface 1 that sets `IFF_UP` and asks for an acknowledgement.
fn request() -> Vec<u8> {
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    let up = libc::IFF_UP.cast_unsigned();
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence number, port: unused
    message.extend_from_slice(&[0; 4]); // family, padding, device type
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message.extend_from_slice(&up.to_ne_bytes());
    message.extend_from_slice(&up.to_ne_bytes()); // change mask
    message
}

fn check(reply: &[u8]) -> Result<()> {
    let Some((header, body)) = reply.split_at_checked(HEADER_LEN) else {
        bail!("netlink: answer of {} bytes is too short", reply.len());
    };
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let Some(code) = body.first_chunk::<4>() else {
        bail!("netlink: answer of type {kind} without a code");
    };
    match (kind, i32::from_ne_bytes(*code)) {
        (NLMSG_ERROR, 0) => Ok(()),
        (NLMSG_ERROR, code) => {
            bail!(
                "netlink: setting lo up: {}",
                std::io::Error::from_raw_os_error(-code)
            )
        }
        (kind, _) => bail!("netlink: unexpected answer of type {kind}"),
    }
}
