//! TCX egress (a classifier): writes NOPs over the TFO option of SYNs whose socket is marked for it.
//!
//! No look-up here: the egress program, which runs before (`ip_finish_output` comes before the device), has
//! marked the socket. So cgroup, prefix and port are matched in one place.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes},
    macros::classifier,
    programs::TcContext,
};
use tfo_common::policy::{Stat, mark};

use crate::policy::{
    count, marks,
    options::{self, MAX, Options},
};

/// `TCX_NEXT` / `TC_ACT_UNSPEC`: go on with the next program, as if we were not there.
const NEXT: i32 = -1;
/// EtherTypes as `skb->protocol` has them.
const IPV4: u32 = u16::to_be(0x0800) as u32;
const IPV6: u32 = u16::to_be(0x86dd) as u32;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const IPPROTO_TCP: u8 = 6;
/// Offset of the checksum in a TCP header.
const CHECKSUM: u32 = 16;
const BARE_HEADER: u32 = 20;

/// Entry.
#[classifier]
pub fn tfo_pol_strip(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if let Some(tcp) = marked_syn(skb) {
        match strip(skb, &tcp) {
            Some(true) => count::stat(Stat::Stripped),
            // Without cookies (`TCP_FASTOPEN_NO_COOKIE`) the bare SYN after a denied one has no option.
            Some(false) => {}
            None => count::stat(Stat::StripFailed),
        }
    }
    NEXT
}

/// Where the TCP header of a packet lies.
struct Tcp {
    /// From the start of the packet.
    at: u32,
    /// Length of its options.
    options: u32,
}

/// The TCP header of a SYN whose option is to go.
#[inline(always)]
fn marked_syn(skb: *mut __sk_buff) -> Option<Tcp> {
    let mark = marks::of_packet(skb)?;
    if mark.flags & mark::STRIP == 0 {
        return None;
    }
    // SAFETY: a valid context.
    let (protocol, len) = unsafe { ((*skb).protocol, (*skb).len) };
    let l2 = link_header(skb, protocol, len)?;
    let tcp = match protocol {
        IPV4 => {
            let ip: [u8; 20] = load(skb, l2)?;
            if ip[9] != IPPROTO_TCP {
                return None;
            }
            l2 + u32::from(ip[0] & 0x0f) * 4
        }
        _ => {
            let ip: [u8; 8] = load(skb, l2)?;
            if ip[6] != IPPROTO_TCP {
                return None;
            }
            l2 + 40
        }
    };
    let header: [u8; 20] = load(skb, tcp)?;
    if header[13] & (SYN | ACK) != SYN {
        return None;
    }
    mark.flags |= mark::STRIPPER_SAW;
    let options = (u32::from(header[12] >> 4) * 4).saturating_sub(BARE_HEADER);
    // A retransmission has no option any more, and is nothing to worry about.
    (options > 0).then_some(Tcp { at: tcp, options })
}

/// Length of the link header. The context does not tell where the IP header begins, and a tunnel or a `tun`
/// device has no link header at all: but its length and that of the packet must add up. (A SYN is shorter than
/// the 60 bytes an Ethernet frame is padded to by the device, later.)
#[inline(always)]
fn link_header(skb: *mut __sk_buff, protocol: u32, len: u32) -> Option<u32> {
    if adds_up(skb, protocol, len, 14) {
        Some(14)
    } else if adds_up(skb, protocol, len, 0) {
        Some(0)
    } else if adds_up(skb, protocol, len, 18) {
        Some(18)
    } else {
        None
    }
}

/// Whether a packet of this length consists of a link header of `l2` bytes and an IP packet.
#[inline(always)]
fn adds_up(skb: *mut __sk_buff, protocol: u32, len: u32, l2: u32) -> bool {
    let Some(ip) = load::<8>(skb, l2) else {
        return false;
    };
    let (version, total) = match protocol {
        IPV4 => (4, u32::from(u16::from_be_bytes([ip[2], ip[3]]))),
        IPV6 => (6, u32::from(u16::from_be_bytes([ip[4], ip[5]])) + 40),
        _ => return false,
    };
    ip[0] >> 4 == version && total + l2 == len
}

/// Takes the option out, if there is one. `None`: it stays.
#[inline(always)]
fn strip(skb: *mut __sk_buff, tcp: &Tcp) -> Option<bool> {
    let at = tcp.at + BARE_HEADER;
    let len = tcp.options.min(MAX as u32);
    let found = options::find(skb, at, len)?;
    if found.len == 0 {
        return Some(false);
    }
    let mut before = load_options(skb, at, len)?;
    let mut after = before;
    options::blank(&mut after, found);
    // The options begin at a multiple of four in the header, so the sum over whole words is the header's.
    // SAFETY: two buffers of at least MAX bytes; a valid context. With a checksum left to the device
    // (CHECKSUM_PARTIAL) the field holds the pseudo header's sum, which `bpf_l4_csum_replace` leaves alone.
    unsafe {
        let difference = bpf_csum_diff(
            before.as_mut_ptr().cast(),
            MAX as u32,
            after.as_mut_ptr().cast(),
            MAX as u32,
            0,
        );
        if difference < 0 || bpf_l4_csum_replace(skb, tcp.at + CHECKSUM, 0, difference as u64, 0) != 0 {
            return None;
        }
        (bpf_skb_store_bytes(skb, at, after.as_ptr().cast(), len, 0) == 0).then_some(true)
    }
}

/// Copies `len` bytes of options out of the packet, zeros behind them.
///
/// Zeroed by hand: an array literal becomes a call of `memset`, and before Linux 6.2 a program with any call between
/// its own functions is verified without pruning: `__mark_reg_unknown` (kernel/bpf/verifier.c, 6.1) takes every
/// number for precise where `subprog_cnt > 1` ("BPF program is too large. Processed 1000001 insn").
#[inline(always)]
fn load_options(skb: *mut __sk_buff, at: u32, len: u32) -> Option<Options> {
    let mut words = MaybeUninit::<[u64; MAX / 8]>::uninit();
    let start: *mut u64 = words.as_mut_ptr().cast();
    let mut index = 0;
    while index < MAX / 8 {
        // SAFETY: within the array. Volatile, or these would become one `memset` again.
        unsafe { start.add(index).write_volatile(0) };
        index += 1;
    }
    // SAFETY: a valid context and a buffer of MAX bytes, all of them written; `len` is no more. Words and bytes are
    // of one size.
    unsafe {
        let loaded = bpf_skb_load_bytes(skb.cast(), at, start.cast(), len);
        (loaded == 0).then(|| core::mem::transmute::<[u64; MAX / 8], Options>(words.assume_init()))
    }
}

/// Copies bytes out of the packet.
#[inline(always)]
fn load<const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: a valid context and a buffer of the length we say, which the helper fills: with zeros if it fails.
    let (loaded, bytes) = unsafe {
        let loaded = bpf_skb_load_bytes(skb.cast(), at, bytes.as_mut_ptr().cast(), N as u32);
        (loaded, bytes.assume_init())
    };
    (loaded == 0).then_some(bytes)
}
