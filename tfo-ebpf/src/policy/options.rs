//! TCP options of a SYN: where the TFO option is, and the same options without it.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

use crate::forget::forget;

/// The longest options a header can have (data offset 15).
pub const MAX: usize = 40;
/// Options looked at, NOPs included. Linux writes twelve at most (`tcp_options_write`). With more the verifier
/// could tell from their number alone that the end is reached, and would keep every length apart from then on.
const STEPS: u32 = 16;
/// Option kinds (IANA tcp-parameters).
const END: u8 = 0;
const NOP: u8 = 1;
const AUTHENTICATION: u8 = 29;
const FAST_OPEN: u8 = 34;
const EXPERIMENT: u8 = 254;
/// Magic of the experimental TFO option (RFC 7413 section 4.1.1 and `TCPOPT_FASTOPEN_MAGIC`).
const MAGIC: [u8; 2] = [0xf9, 0x89];

/// Options, zero-padded.
pub type Options = [u8; MAX];

/// Where the TFO option lies within the options.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// First byte.
    pub at: u32,
    /// Length; 0 when there is none.
    pub len: u32,
}

/// The TFO option among the `len` bytes of options at `start` of a packet. `None` where a signature covers the
/// options (TCP-AO, RFC 5925): nothing may be changed then.
///
/// Each option's head is fetched by a helper. With an index into a copy on the stack the verifier would have to
/// follow every combination of option lengths ("BPF program is too large. Processed 1000001 insn"); an offset
/// that is only handed to a helper it does not care about. For the same reason every kind takes the same way
/// through the loop, and what was found is not known to be nothing at first.
#[inline(always)]
pub fn find(skb: *mut __sk_buff, start: u32, len: u32) -> Option<Found> {
    // SAFETY: a valid context.
    let noise = u64::from(unsafe { (*skb).len });
    // The copy needs the length to be exact, and each comparison in the loop would leave it another range: a twin.
    let len = forget(len.into(), noise) as u32;
    let mut found = forget(0, noise);
    let mut signed = 0u32;
    let mut at = forget(0, noise) as u32;
    let mut step = 0;
    while step < STEPS && at < len {
        step += 1;
        let Some(head) = head(skb, start + at) else { break };
        let [kind, length, magic @ ..] = head;
        if kind == END {
            break;
        }
        let size = if kind == NOP { 1 } else { u32::from(length) };
        if size == 0 || at + size > len {
            break;
        }
        signed |= u32::from(kind == AUTHENTICATION);
        if kind == FAST_OPEN || kind == EXPERIMENT && size >= 4 && magic == MAGIC {
            found = u64::from(at) << 32 | u64::from(size);
        }
        at += size;
    }
    (signed == 0).then_some(Found {
        at: (found >> 32) as u32,
        len: found as u32,
    })
}

/// Kind, length and the next two bytes of an option. Where the packet ends before, which it does only behind an option
/// of two bytes or a NOP, zeros stand for what is missing.
#[inline(always)]
fn head(skb: *mut __sk_buff, at: u32) -> Option<[u8; 4]> {
    let mut head = MaybeUninit::<[u8; 4]>::uninit();
    let start = head.as_mut_ptr().cast();
    // SAFETY: a valid context and a buffer of four bytes, which the helper fills, with zeros where it fails.
    unsafe {
        if bpf_skb_load_bytes(skb.cast(), at, start, 4) != 0
            && bpf_skb_load_bytes(skb.cast(), at, start, 2) != 0
        {
            return None;
        }
        Some(head.assume_init())
    }
}

/// Writes NOPs over it.
///
/// Without a branch per byte: each would have the verifier remember on which side of the option it is.
#[inline(always)]
pub fn blank(options: &mut Options, found: Found) {
    let covered = ((1u64 << (found.len & 63)) - 1) << (found.at & 63);
    let mut index = 0;
    while index < MAX {
        let mask = 0u8.wrapping_sub((covered >> index & 1) as u8);
        options[index] ^= (options[index] ^ NOP) & mask;
        index += 1;
    }
}
