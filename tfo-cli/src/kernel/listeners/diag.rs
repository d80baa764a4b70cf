//! `sock_diag(7)`: what /proc does not tell of a listening socket. Asked in the network namespace of the calling thread.

use std::{ffi::CStr, io};

use netlink_packet_core::{NLM_F_DUMP, NlasIterator};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::super::netlink::{self, Request};

/// `SOCK_DIAG_BY_FAMILY` (`include/uapi/linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` as a bit of `idiag_states`.
const LISTEN: u32 = 1 << 10;
/// Asks for `INET_DIAG_INFO`, and with it for what tells MPTCP (`inet_sk_diag_fill`, `net/ipv4/inet_diag.c`).
const INFO: u8 = 1 << 1;
/// Length of `struct inet_diag_req_v2` and `struct inet_diag_msg`, and where the latter has its inode.
const REQUEST: usize = 56;
const ANSWER: usize = 72;
const INODE: usize = 68;
/// Attributes (`include/uapi/linux/inet_diag.h`).
const V6_ONLY: u16 = 11;
const ULP_INFO: u16 = 19;
const CGROUP_ID: u16 = 21;
/// Name inside of [`ULP_INFO`].
const ULP_NAME: u16 = 1;

/// What the kernel says of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diag {
    /// Inode of the socket.
    pub inode: u64,
    /// `IPV6_V6ONLY`; `None` for IPv4.
    pub is_v6_only: Option<bool>,
    /// The TCP socket below an MPTCP socket, which has the same inode (`mptcp_subflow_create_socket`).
    pub is_mptcp: bool,
    /// cgroup v2 id; 0 before Linux 5.9.
    pub cgroup_id: u64,
}

/// Listening TCP sockets of a family.
pub fn listeners(family: i32) -> io::Result<Vec<Diag>> {
    let mut header = vec![0; REQUEST];
    header[0] = u8::try_from(family).unwrap_or(0);
    header[1] = u8::try_from(libc::IPPROTO_TCP).unwrap_or(0);
    header[2] = INFO;
    header[4..8].copy_from_slice(&LISTEN.to_ne_bytes());
    let request = Request {
        kind: BY_FAMILY,
        header,
        attributes: Vec::new(),
    };
    let mut found = Vec::new();
    netlink::ask(NETLINK_SOCK_DIAG, request, NLM_F_DUMP, |payload| {
        found.push(parse(payload).ok_or_else(netlink::malformed)?);
        Ok(())
    })?;
    Ok(found)
}

/// Reads one answer; `None` when it is cut short or an attribute has a length the kernel does not give it.
fn parse(payload: &[u8]) -> Option<Diag> {
    let inode = payload.get(INODE..ANSWER)?.try_into().ok()?;
    let mut diag = Diag {
        inode: u32::from_ne_bytes(inode).into(),
        ..Diag::default()
    };
    for found in NlasIterator::new(payload.get(ANSWER..)?) {
        let found = found.ok()?;
        let value = found.value();
        match found.kind() {
            V6_ONLY => diag.is_v6_only = Some(*value.first()? != 0),
            CGROUP_ID => diag.cgroup_id = u64::from_ne_bytes(value.try_into().ok()?),
            ULP_INFO => diag.is_mptcp = is_mptcp(value)?,
            _ => {}
        }
    }
    Some(diag)
}

fn is_mptcp(ulp: &[u8]) -> Option<bool> {
    for found in NlasIterator::new(ulp) {
        let found = found.ok()?;
        if found.kind() == ULP_NAME {
            let name = CStr::from_bytes_until_nul(found.value()).ok()?;
            return Some(name == c"mptcp");
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, Emitable as _};
    use proptest::prelude::*;

    use super::*;

    fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
        let mut bytes = vec![0; attributes.buffer_len()];
        attributes.emit(&mut bytes);
        bytes
    }

    fn answer(attributes: &[DefaultNla]) -> Vec<u8> {
        let mut bytes = vec![0; ANSWER];
        bytes[INODE..].copy_from_slice(&4711u32.to_ne_bytes());
        bytes.extend(emitted(attributes));
        bytes
    }

    fn ulp(name: &[u8]) -> DefaultNla {
        DefaultNla::new(
            ULP_INFO | 0x8000,
            emitted(&[DefaultNla::new(ULP_NAME, name.to_vec())]),
        )
    }

    #[test]
    fn an_answer_is_read() {
        let attributes = [
            DefaultNla::new(2, vec![0; 104]),
            DefaultNla::new(V6_ONLY, vec![0]),
            ulp(b"mptcp\0"),
            DefaultNla::new(CGROUP_ID, 77u64.to_ne_bytes().to_vec()),
        ];
        let diag = Diag {
            inode: 4711,
            is_v6_only: Some(false),
            is_mptcp: true,
            cgroup_id: 77,
        };
        assert_eq!(parse(&answer(&attributes)), Some(diag));
        assert_eq!(
            parse(&answer(&[ulp(b"tls\0")])).map(|diag| diag.is_mptcp),
            Some(false)
        );
        assert_eq!(parse(&answer(&[])).map(|diag| diag.is_v6_only), Some(None));
    }

    #[test]
    fn an_answer_cut_short_is_none() {
        assert_eq!(parse(&answer(&[])[..ANSWER - 1]), None);
        assert_eq!(parse(&answer(&[DefaultNla::new(V6_ONLY, vec![])])), None);
        assert_eq!(parse(&answer(&[DefaultNla::new(CGROUP_ID, vec![1; 7])])), None);
        assert_eq!(parse(&answer(&[ulp(b"mptcp")])), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(payload: Vec<u8>, kind in 0u16..24, value: Vec<u8>) {
            let _ = parse(&payload);
            let _ = parse(&answer(&[DefaultNla::new(kind, value)]));
        }
    }
}
