//! A `sock_ops` context with its fields in one byte order and one address form.
//!
//! Every field is read on its own and volatile: merged loads (two halves of an address as one `u64`) are
//! refused by the verifier ("invalid bpf_context access off=28 size=8").

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock,
    helpers::generated::{
        bpf_get_socket_cookie, bpf_getsockopt, bpf_load_hdr_opt, bpf_sock_ops_cb_flags_set,
    },
    programs::SockOpsContext,
};
use tfo_common::{TfoOption, slots};

use crate::kern::Typed;

/// Linux's address family of IPv6.
pub const AF_INET6: u32 = 10;
/// `::ffff:0:0/96` as the third word of an IPv6 address in network order.
const V4_MAPPED_WORD: u32 = u32::from_be(0xffff);
/// `BPF_LOAD_HDR_OPT_TCP_SYN` (include/uapi/linux/bpf.h): search the SYN a SYN-ACK answers.
const LOAD_FROM_SYN: u64 = 1;
/// `SOL_TCP` (include/linux/socket.h) and its option `TCP_BPF_SYN_IP` (include/uapi/linux/bpf.h, since 5.10).
const SOL_TCP: i32 = 6;
const TCP_BPF_SYN_IP: i32 = 1006;
/// `-ENOMSG`: the header has no such option.
const NO_SUCH_OPTION: i64 = -42;

/// TCP header flags as in `skb_tcp_flags`.
pub mod tcp_flag {
    /// SYN.
    pub const SYN: u32 = 0x02;
    /// ACK.
    pub const ACK: u32 = 0x10;
}

/// An address in the form of `tfo_common`: network order, IPv4 in the first four bytes.
#[derive(Clone, Copy)]
pub struct Address {
    /// The bytes as four words, still in network order.
    pub words: [u32; 4],
}

impl Address {
    /// None.
    pub const ZERO: Self = Self { words: [0; 4] };

    /// Of two halves, as they lie in memory.
    #[inline(always)]
    pub fn of(first: u64, second: u64) -> Self {
        Self {
            words: [
                first as u32,
                (first >> 32) as u32,
                second as u32,
                (second >> 32) as u32,
            ],
        }
    }

    /// Whether it is an IPv6 address that stands for an IPv4 one (`::ffff:0:0/96`).
    #[inline(always)]
    pub fn is_mapped(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == V4_MAPPED_WORD
    }

    /// As bytes.
    #[inline(always)]
    pub fn bytes(self) -> [u8; 16] {
        // SAFETY: both are 16 bytes without padding. `to_ne_bytes` word by word becomes 16 single stores.
        unsafe { core::mem::transmute(self.words) }
    }

    /// Writes it to where a record keeps it. `bytes` would become a call of `memmove`, byte by byte.
    ///
    /// # Safety
    ///
    /// 16 writable bytes, aligned to 4.
    #[inline(always)]
    pub unsafe fn write_to(&self, place: *mut [u8; 16]) {
        let place: *mut u32 = place.cast();
        // SAFETY: as promised by the caller.
        unsafe {
            place.write(self.words[0]);
            place.add(1).write(self.words[1]);
            place.add(2).write(self.words[2]);
            place.add(3).write(self.words[3]);
        }
    }

    /// Only the bits of a mask.
    #[inline(always)]
    pub fn masked(self, mask: [u32; 4]) -> Self {
        let [a, b, c, d] = self.words;
        Self {
            words: [a & mask[0], b & mask[1], c & mask[2], d & mask[3]],
        }
    }
}

/// The TFO option found in a header.
#[derive(Clone, Copy)]
pub struct FoundOption {
    /// What it asks or says.
    pub option: TfoOption,
    /// 34 or 254; 0 for none.
    pub kind: u8,
}

/// A `sock_ops` call.
pub struct Ops {
    /// The raw context.
    pub ctx: SockOpsContext,
}

macro_rules! field {
    ($self:ident.$field:ident) => {
        // SAFETY: the kernel passes a valid context; the verifier checks each access by itself.
        unsafe { core::ptr::read_volatile(&raw const (*$self.ctx.ops).$field) }
    };
}

impl Ops {
    /// Which callback this is (`BPF_SOCK_OPS_*`).
    #[inline(always)]
    pub fn op(&self) -> u32 {
        field!(self.op)
    }

    /// One of the callback's arguments.
    #[inline(always)]
    pub fn arg<const N: usize>(&self) -> u32 {
        // SAFETY: as in `field!`; `args` is the union's plain array.
        unsafe { core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_1.args[N]) }
    }

    /// Whether the context's socket is a full socket, not a request.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        field!(self.is_fullsock) != 0
    }

    /// The socket for helpers that take one; NULL for a request socket.
    #[inline(always)]
    pub fn sk(&self) -> *mut bpf_sock {
        // SAFETY: as in `field!`.
        unsafe { core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_2.sk) }
    }

    /// The socket as the verifier knows it from BTF; `None` for a request socket.
    #[inline(always)]
    pub fn tcp(&self) -> Option<Typed> {
        Typed::tcp_sock(self.sk())
    }

    /// State of the socket (include/net/tcp_states.h), which is about to change in a state callback.
    #[inline(always)]
    pub fn state(&self) -> u32 {
        field!(self.state)
    }

    /// Callback flags set on the socket.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        field!(self.bpf_sock_ops_cb_flags)
    }

    /// Replaces the callback flags; callers pass `flags()` with single bits changed.
    #[inline(always)]
    pub fn set_flags(&self, flags: u32) {
        // SAFETY: a valid context; the helper checks the bits and that the socket is a full one.
        unsafe { bpf_sock_ops_cb_flags_set(self.ctx.ops, flags as i32) };
    }

    /// TCP flags of the packet at hand.
    #[inline(always)]
    pub fn tcp_flags(&self) -> u32 {
        field!(self.skb_tcp_flags)
    }

    /// Length of the packet at hand: TCP header and payload, or the payload alone while a header is built.
    #[inline(always)]
    pub fn skb_len(&self) -> u32 {
        field!(self.skb_len)
    }

    /// Payload of a received packet: its length less its TCP header (data offset, RFC 9293 section 3.1).
    #[inline(always)]
    pub fn payload(&self) -> u32 {
        // SAFETY: as in `field!`; the pointer is only used after the bounds check the verifier demands.
        unsafe {
            let start =
                core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_3.skb_data).cast::<u8>();
            let end = core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_4.skb_data_end)
                .cast::<u8>();
            if start.add(20) > end {
                return 0;
            }
            let header = u32::from(*start.add(12) >> 4) * 4;
            self.skb_len().saturating_sub(header)
        }
    }

    /// Whether the header at hand has exactly the options that Linux puts into a SYN-ACK without TFO: maximum segment
    /// size, SACK permitted and timestamps, window scale. Then there is no need to search it.
    #[inline(always)]
    pub fn has_usual_options(&self) -> bool {
        // SAFETY: as in `field!`; the pointer is only used after the bounds check the verifier demands. The packet need
        // not be aligned, and `bpfel` is little-endian.
        unsafe {
            let start =
                core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_3.skb_data).cast::<u8>();
            let end = core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_4.skb_data_end)
                .cast::<u8>();
            if start.add(40) > end {
                return false;
            }
            let word = |at: usize| start.add(at).cast::<u32>().read_volatile();
            *start.add(12) >> 4 == 10
                && word(20) & 0xffff == u32::from_le_bytes([2, 4, 0, 0])
                && word(24) == u32::from_le_bytes([4, 2, 8, 10])
                && word(36) & 0x00ff_ffff == u32::from_le_bytes([1, 3, 3, 0])
        }
    }

    /// Whether the SYN at hand has a cookie in the option of kind 34 where Linux puts it: behind the usual options. Then
    /// there is no need to search.
    #[inline(always)]
    pub fn has_usual_cookie(&self) -> bool {
        // SAFETY: as in `has_usual_options`.
        unsafe {
            let start =
                core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_3.skb_data).cast::<u8>();
            let end = core::ptr::read_volatile(&raw const (*self.ctx.ops).__bindgen_anon_4.skb_data_end)
                .cast::<u8>();
            if start.add(44) > end {
                return false;
            }
            let word = |at: usize| start.add(at).cast::<u32>().read_volatile();
            let [kind, length, ..] = word(40).to_le_bytes();
            *start.add(12) >> 4 > 10
                && word(20) & 0xffff == u32::from_le_bytes([2, 4, 0, 0])
                && word(24) == u32::from_le_bytes([4, 2, 8, 10])
                && word(36) & 0x00ff_ffff == u32::from_le_bytes([1, 3, 3, 0])
                && kind == 34
                && matches!(length, 6 | 8 | 10 | 12 | 14 | 16 | 18)
        }
    }

    /// SYN (client) or SYN-ACK (server) retransmissions so far, while the handshake lasts.
    #[inline(always)]
    pub fn total_retrans(&self) -> u32 {
        field!(self.total_retrans)
    }

    /// Segments with payload received so far.
    #[inline(always)]
    pub fn data_segments_in(&self) -> u32 {
        field!(self.data_segs_in)
    }

    /// Bytes received in order so far; a FIN counts as one.
    #[inline(always)]
    pub fn bytes_received(&self) -> u64 {
        field!(self.bytes_received)
    }

    /// Segments sent so far.
    #[inline(always)]
    pub fn segments_out(&self) -> u32 {
        field!(self.segs_out)
    }

    /// Bytes acked, the SYN counted as one.
    #[inline(always)]
    pub fn bytes_acked(&self) -> u64 {
        field!(self.bytes_acked)
    }

    /// Bytes sent and not acked yet.
    #[inline(always)]
    pub fn unacked(&self) -> u32 {
        field!(self.snd_nxt).wrapping_sub(field!(self.snd_una))
    }

    /// The sequence number that is expected next: of a child made from a SYN, that behind the SYN.
    #[inline(always)]
    pub fn receive_next(&self) -> u32 {
        field!(self.rcv_nxt)
    }

    /// Smoothed RTT in us; 0 when there is no sample yet (the kernel stores it times 8).
    #[inline(always)]
    pub fn srtt_us(&self) -> u32 {
        field!(self.srtt_us) >> 3
    }

    /// 4 or 6: the family on the wire. A v4-mapped peer of an IPv6 socket is 4.
    #[inline(always)]
    pub fn family(&self) -> u8 {
        if field!(self.family) == AF_INET6 && !self.is_mapped() {
            6
        } else {
            4
        }
    }

    #[inline(always)]
    fn remote6(&self) -> [u32; 4] {
        // SAFETY: as in `field!`. Four reads: the whole array is refused ("dereference of modified ctx
        // ptr R8 off=32 disallowed").
        unsafe {
            let words = &raw const (*self.ctx.ops).remote_ip6;
            [
                core::ptr::read_volatile(&raw const (*words)[0]),
                core::ptr::read_volatile(&raw const (*words)[1]),
                core::ptr::read_volatile(&raw const (*words)[2]),
                core::ptr::read_volatile(&raw const (*words)[3]),
            ]
        }
    }

    #[inline(always)]
    fn local6(&self) -> [u32; 4] {
        // SAFETY: as in `remote6`.
        unsafe {
            let words = &raw const (*self.ctx.ops).local_ip6;
            [
                core::ptr::read_volatile(&raw const (*words)[0]),
                core::ptr::read_volatile(&raw const (*words)[1]),
                core::ptr::read_volatile(&raw const (*words)[2]),
                core::ptr::read_volatile(&raw const (*words)[3]),
            ]
        }
    }

    #[inline(always)]
    fn is_mapped(&self) -> bool {
        Address {
            words: self.remote6(),
        }
        .is_mapped()
    }

    /// Remote address.
    #[inline(always)]
    pub fn remote(&self, family: u8) -> Address {
        if family == 6 {
            return Address {
                words: self.remote6(),
            };
        }
        Address {
            words: [field!(self.remote_ip4), 0, 0, 0],
        }
    }

    /// Local address.
    #[inline(always)]
    pub fn local(&self, family: u8) -> Address {
        if family == 6 {
            return Address { words: self.local6() };
        }
        Address {
            words: [field!(self.local_ip4), 0, 0, 0],
        }
    }

    /// Remote port, host order (the context has it in network order, as the high half of a `u32`).
    #[inline(always)]
    pub fn remote_port(&self) -> u16 {
        u32::from_be(field!(self.remote_port)) as u16
    }

    /// Local port, host order.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        field!(self.local_port) as u16
    }

    /// Socket cookie: made for the request socket and inherited by its child.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: a valid context.
        unsafe { bpf_get_socket_cookie(self.ctx.as_ptr()) }
    }

    /// A number made of addresses and ports, for facts that must survive a change of socket cookie. Its
    /// top bit is set: socket cookies count up from zero and never collide with it.
    #[inline(always)]
    pub fn tuple(&self) -> u64 {
        let family = self.family();
        let remote = self.remote(family).words;
        let mut hash = u64::from(self.remote_port()) << 16 | u64::from(self.local_port());
        let mut word = 0;
        while word < 4 {
            hash = (hash ^ u64::from(remote[word]))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
            word += 1;
        }
        hash | 1 << 63
    }

    /// What a server's connection is counted by while facts of its SYN wait.
    #[inline(always)]
    pub fn request_kind(&self) -> usize {
        let family = self.family();
        let remote = self.remote(family).words;
        slots::request_kind(self.remote_port(), remote[0], remote[3])
    }

    /// Whether the SYN that the SYN-ACK at hand answers is as Linux sends it without TFO: with the usual options
    /// ([`are_usual_options`]) and nothing behind them. One copy of its headers out of the packet
    /// (`bpf_sock_ops_get_syn`, net/core/filter.c): to find the packet and read its header and length were four reads of
    /// kernel memory, 39 ns. `false` where there is no telling.
    #[inline(always)]
    pub fn is_answered_syn_usual(&self) -> bool {
        let mut headers = MaybeUninit::<[u32; 20]>::uninit();
        // SAFETY: a valid context and a buffer of the length we say; what is longer is cut off, and an error.
        let length = unsafe {
            bpf_getsockopt(
                self.ctx.as_ptr(),
                SOL_TCP,
                TCP_BPF_SYN_IP,
                headers.as_mut_ptr().cast(),
                size_of::<[u32; 20]>() as i32,
            )
        };
        let words: *const u32 = headers.as_ptr().cast();
        // SAFETY: within the buffer; `length` bytes of it have been written, and no word behind them is read.
        let word = |at: usize| unsafe { words.add(at).read() };
        match length {
            // IPv4 without options, its total length; and 40 bytes of TCP.
            V4_SYN => {
                word(0) as u8 == 0x45
                    && u16::from_be((word(0) >> 16) as u16) == V4_SYN as u16
                    && are_usual_options(&word, 5)
            }
            // IPv6 without extension headers (6 is TCP), and the length behind its header.
            V6_SYN => {
                word(1) & 0x00ff_ffff == u32::from_le_bytes([0, V6_SYN as u8 - 40, 6, 0])
                    && are_usual_options(&word, 10)
            }
            _ => false,
        }
    }

    /// The TFO option of the packet at hand: kind 34, or 254 with magic 0xF989.
    #[inline(always)]
    pub fn tfo_option(&self) -> Option<FoundOption> {
        self.find_option(0)
    }

    /// The TFO option of the SYN that the SYN-ACK at hand answers; `None` when that SYN is not at hand
    /// (a retransmitted SYN-ACK).
    #[inline(always)]
    pub fn tfo_option_of_syn(&self) -> Option<FoundOption> {
        self.find_option(LOAD_FROM_SYN)
    }

    #[inline(always)]
    fn find_option(&self, from: u64) -> Option<FoundOption> {
        let mut found = Buffer::uninit();
        search(&mut found, 34);
        match self.load_option(&mut found, from) {
            NO_SUCH_OPTION => {}
            error if error < 0 => return None,
            _ => {
                return Some(FoundOption {
                    option: decode(&found),
                    kind: 34,
                });
            }
        }
        search(&mut found, 254);
        match self.load_option(&mut found, from) {
            NO_SUCH_OPTION => Some(FoundOption {
                option: TfoOption::None,
                kind: 0,
            }),
            error if error < 0 => None,
            _ => Some(FoundOption {
                option: decode(&found),
                kind: 254,
            }),
        }
    }

    /// What the TFO option of this kind says in the packet at hand.
    #[inline(always)]
    pub fn tfo_option_of_kind(&self, kind: u8) -> TfoOption {
        let mut found = Buffer::uninit();
        search(&mut found, kind);
        if self.load_option(&mut found, 0) < 0 {
            TfoOption::None
        } else {
            decode(&found)
        }
    }

    #[inline(always)]
    fn load_option(&self, buffer: &mut Buffer, from: u64) -> i64 {
        // SAFETY: a valid context and a buffer of the length we say.
        unsafe { bpf_load_hdr_opt(self.ctx.ops, buffer.as_mut_ptr().cast(), 20, from) }
    }
}

/// Length of the headers of a SYN with the usual options, by IPv4 and by IPv6.
const V4_SYN: i64 = 60;
const V6_SYN: i64 = 80;

/// Whether a TCP header that begins with this word has exactly the options that Linux puts into a SYN or a SYN-ACK without
/// TFO: maximum segment size, SACK permitted and timestamps, window scale.
#[inline(always)]
fn are_usual_options(word: &impl Fn(usize) -> u32, tcp: usize) -> bool {
    word(tcp + 3) as u8 >> 4 == 10
        && word(tcp + 5) & 0xffff == u32::from_le_bytes([2, 4, 0, 0])
        && word(tcp + 6) == u32::from_le_bytes([4, 2, 8, 10])
        && word(tcp + 9) & 0x00ff_ffff == u32::from_le_bytes([1, 3, 3, 0])
}

/// Where an option is searched into: five words.
type Buffer = MaybeUninit<[u32; 5]>;

/// Writes down what to search for: the kind, or kind, length and magic of the experimental form. Word by word and in
/// place: an array of zeros becomes a call of `memset`, a loop that stores one byte at a time.
#[inline(always)]
fn search(buffer: &mut Buffer, kind: u8) {
    let first = if kind == 254 {
        u32::from_le_bytes([254, 4, 0xf9, 0x89])
    } else {
        u32::from(kind)
    };
    let words: *mut u32 = buffer.as_mut_ptr().cast();
    // SAFETY: five words.
    unsafe {
        words.write_volatile(first);
        words.add(1).write_volatile(0);
        words.add(2).write_volatile(0);
        words.add(3).write_volatile(0);
        words.add(4).write_volatile(0);
    }
}

/// What an option says. `tcp_parse_fastopen_option` (net/ipv4/tcp_input.c) takes an empty one for a request
/// and 4..=16 even bytes for a cookie; others it ignores, and so do we.
#[inline(always)]
fn decode(buffer: &Buffer) -> TfoOption {
    // SAFETY: `search` has written it, and the helper maybe over it.
    let first = unsafe { buffer.as_ptr().cast::<u32>().read() };
    let [kind, length, ..] = first.to_le_bytes();
    let header = if kind == 254 { 4 } else { 2 };
    match length.wrapping_sub(header) {
        0 => TfoOption::Request,
        length @ 4..=16 if length & 1 == 0 => TfoOption::Cookie,
        _ => TfoOption::None,
    }
}
