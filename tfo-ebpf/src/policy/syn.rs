//! Which packets matter: SYNs of our own connections, told from everything else in a few nanoseconds.
//!
//! Reads the headers in place: a packet that TCP built has them in its linear part (`__tcp_transmit_skb` and
//! `__ip_queue_xmit` push them there). How much payload there is is calculated from the lengths: on 6.6 and newer it lies in
//! fragments.

use aya_ebpf::programs::SkBuffContext;

use crate::{forget::forget, kern::Typed, policy::marks};

/// IPPROTO_TCP.
const TCP: u8 = 6;
/// SOCK_STREAM.
const STREAM: u32 = 1;
/// TCP flags (RFC 9293 section 3.1).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Header lengths without options.
const IPV4: usize = 20;
const IPV6: usize = 40;

/// A SYN that is about to leave.
#[derive(Clone, Copy)]
pub struct Syn {
    /// 4 or 6.
    pub family: u8,
    /// Destination in network order; IPv4 in the first word.
    pub remote: [u32; 4],
    /// Where it comes from, likewise.
    pub local: [u32; 4],
    /// Destination port, host order.
    pub port: u16,
    /// Bytes of payload.
    pub payload: u32,
    /// Where they begin in the packet.
    pub payload_at: u32,
}

impl Syn {
    /// The destination as bytes.
    #[inline(always)]
    pub fn addr(&self) -> [u8; 16] {
        crate::ops::Address { words: self.remote }.bytes()
    }
}

/// The SYN in this packet, if it is one (and not a SYN-ACK).
#[inline(always)]
pub fn find(ctx: &SkBuffContext) -> Option<Syn> {
    // SAFETY: a valid context; the verifier knows the two fields as packet pointers.
    let (start, end) = unsafe { ((*ctx.skb.skb).data as usize, (*ctx.skb.skb).data_end as usize) };
    let ip = start as *const u8;
    if start + IPV4 + 20 > end {
        return None;
    }
    // SAFETY: within the bounds checked above.
    match unsafe { *ip } {
        0x45 => ipv4(ip),
        0x46..=0x4f => ipv4_with_options(ctx),
        0x60..=0x6f if start + IPV6 + 20 <= end => ipv6(ip),
        _ => None,
    }
}

/// The same with the destination its socket connects to. After a DNAT (LOCAL_OUT comes before this hook) the packet
/// has another one, but rules are about what the application and everybody who watches it sees, and evidence for
/// guards is filed under that. `None` for what no TCP socket sends: a raw socket has no way to fall back.
#[inline(always)]
pub fn of_socket(ctx: &SkBuffContext, syn: Syn) -> Option<(Syn, Typed)> {
    let sk = marks::socket_of(ctx.skb.skb);
    if sk.is_null() {
        return None;
    }
    // SAFETY: a full socket, checked above. Volatile, word by word: the verifier takes no wider reads.
    unsafe {
        let word = |at: *const u32| at.read_volatile();
        if word(&raw const (*sk).protocol) != u32::from(TCP) || word(&raw const (*sk).type_) != STREAM {
            return None;
        }
        let words = |at: *const [u32; 4]| {
            [
                word(&raw const (*at)[0]),
                word(&raw const (*at)[1]),
                word(&raw const (*at)[2]),
                word(&raw const (*at)[3]),
            ]
        };
        let (remote, local) = if syn.family == 4 {
            let (remote, local) = (word(&raw const (*sk).dst_ip4), word(&raw const (*sk).src_ip4));
            // Not known to be zero: what is behind would be gone through for each family by itself.
            let zero = forget(0, (*ctx.skb.skb).len.into()) as u32;
            ([remote, zero, zero, zero], [local, zero, zero, zero])
        } else {
            (words(&raw const (*sk).dst_ip6), words(&raw const (*sk).src_ip6))
        };
        let syn = Syn {
            remote,
            local,
            port: u16::from_be((&raw const (*sk).dst_port).read_volatile()),
            ..syn
        };
        Some((syn, Typed::tcp_sock(sk)?))
    }
}

#[inline(always)]
fn ipv4(ip: *const u8) -> Option<Syn> {
    // SAFETY: `find` checked 40 bytes; `read` of unaligned packet fields as the verifier allows them.
    unsafe {
        let tcp = ip.add(IPV4);
        if *ip.add(9) != TCP || !is_syn(*tcp.add(13)) {
            return None;
        }
        let tcp_len = u32::from(*tcp.add(12) >> 4) * 4;
        let total = u32::from(be16(ip.add(2)));
        let payload_at = IPV4 as u32 + tcp_len;
        Some(Syn {
            family: 4,
            local: [0; 4],
            remote: [word(ip.add(16)), 0, 0, 0],
            port: be16(tcp.add(2)),
            payload: total.saturating_sub(payload_at),
            payload_at,
        })
    }
}

/// IP options move the TCP header to an offset the verifier does not know: rare enough for a copy.
#[inline(always)]
fn ipv4_with_options(ctx: &SkBuffContext) -> Option<Syn> {
    let ip: [u8; IPV4] = ctx.load(0).ok()?;
    let header = u32::from(ip[0] & 0x0f) * 4;
    if ip[9] != TCP {
        return None;
    }
    let tcp: [u8; 20] = ctx.load(header as usize).ok()?;
    if !is_syn(tcp[13]) {
        return None;
    }
    let tcp_len = u32::from(tcp[12] >> 4) * 4;
    let total = u32::from(u16::from_be_bytes([ip[2], ip[3]]));
    Some(Syn {
        family: 4,
        local: [0; 4],
        remote: [u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]), 0, 0, 0],
        port: u16::from_be_bytes([tcp[2], tcp[3]]),
        payload: total.saturating_sub(header + tcp_len),
        payload_at: header + tcp_len,
    })
}

/// Without extension headers: a socket with `IPV6_RTHDR` and the like passes.
#[inline(always)]
fn ipv6(ip: *const u8) -> Option<Syn> {
    // SAFETY: `find` checked 60 bytes.
    unsafe {
        let tcp = ip.add(IPV6);
        if *ip.add(6) != TCP || !is_syn(*tcp.add(13)) {
            return None;
        }
        let tcp_len = u32::from(*tcp.add(12) >> 4) * 4;
        Some(Syn {
            family: 6,
            local: [0; 4],
            remote: [
                word(ip.add(24)),
                word(ip.add(28)),
                word(ip.add(32)),
                word(ip.add(36)),
            ],
            port: be16(tcp.add(2)),
            payload: u32::from(be16(ip.add(4))).saturating_sub(tcp_len),
            payload_at: IPV6 as u32 + tcp_len,
        })
    }
}

#[inline(always)]
fn is_syn(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

/// # Safety
///
/// Two readable bytes.
#[inline(always)]
unsafe fn be16(at: *const u8) -> u16 {
    // SAFETY: as promised by the caller.
    u16::from_be(unsafe { at.cast::<u16>().read_unaligned() })
}

/// # Safety
///
/// Four readable bytes.
#[inline(always)]
unsafe fn word(at: *const u8) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { at.cast::<u32>().read_unaligned() }
}
