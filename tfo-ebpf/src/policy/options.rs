//! TCP options of a SYN: where the TFO option is, and the same options without it.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

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
/// that is only handed to a helper it does not care about.
#[inline(always)]
pub fn find(skb: *mut __sk_buff, start: u32, len: u32) -> Option<Found> {
    let mut found = Found { at: 0, len: 0 };
    let mut at = 0u32;
    let mut step = 0;
    while step < STEPS {
        step += 1;
        if at >= len {
            break;
        }
        let mut head = [0u8; 4];
        // The last option may be shorter than four bytes: then the header ends there too.
        let take = if len - at >= 4 { 4 } else { 1 };
        // SAFETY: a valid context and a buffer at least as long as we say.
        let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), start + at, head.as_mut_ptr().cast(), take) };
        if loaded != 0 || head[0] == END {
            break;
        }
        if head[0] == NOP {
            at += 1;
            continue;
        }
        if take == 1 {
            // SAFETY: as above.
            let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), start + at, head.as_mut_ptr().cast(), 2) };
            if loaded != 0 {
                break;
            }
        }
        let size = u32::from(head[1]);
        if size < 2 || at + size > len {
            break;
        }
        if head[0] == AUTHENTICATION {
            return None;
        }
        if head[0] == FAST_OPEN || head[0] == EXPERIMENT && size >= 4 && [head[2], head[3]] == MAGIC {
            found = Found { at, len: size };
        }
        at += size;
    }
    Some(found)
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
