//! A foreign `sock_ops` program that writes a TCP option of its own into every segment, as load balancers and MPTCP-like
//! experiments do; it counts what goes wrong with that.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::support::{
    foreign::{Calls, Foreign},
    object::instruction,
};

/// Counted beside the operations: no room was found for the option, it could not be written, a socket was closed without
/// the flag that asks for it.
const NOT_RESERVED: u32 = 29;
const NOT_WRITTEN: u32 = 30;
/// See [`NOT_RESERVED`].
pub const FLAG_GONE: u32 = 31;
/// Operation that writes an option (include/uapi/linux/bpf.h).
pub const WRITE_HDR_OPT: u32 = 15;

/// Attaches it by a link.
pub fn attach(cgroup: &Path) -> Result<Foreign> {
    Foreign::load(&code(), LOAD_MAP)?.attached(cgroup)
}

/// Whether it lost nothing of what it does.
pub fn check(calls: &Calls) -> Result<()> {
    let [room, written, flag] = [NOT_RESERVED, NOT_WRITTEN, FLAG_GONE].map(|index| calls.of(index));
    ensure!(
        room == 0 && written == 0 && flag == 0 && calls.of(WRITE_HDR_OPT) > 0,
        "no room {room}, not written {written}, flag gone {flag}, written {}",
        calls.of(WRITE_HDR_OPT)
    );
    Ok(())
}

/// Place of the instruction that loads the map's address.
const LOAD_MAP: usize = 40;

/// ```text
/// TCP_CONNECT, TCP_LISTEN: flags |= WRITE_HDR_OPT_CB | STATE_CB
/// HDR_OPT_LEN:             reserve 4 bytes, or op = NOT_RESERVED
/// WRITE_HDR_OPT:           store option 253 with 2 bytes, or op = NOT_WRITTEN
/// STATE to CLOSE:          op = FLAG_GONE unless flags & WRITE_HDR_OPT_CB
/// calls[op] += 1
/// return 1
/// ```
fn code() -> Vec<u8> {
    [
        instruction(0xbf, 0x16, 0, 0),            //  0: r6 = r1
        instruction(0x61, 0x67, 0, 0),            //  1: r7 = ctx->op
        instruction(0x15, 0x07, 5, 3),            //  2: if r7 == TCP_CONNECT goto 8
        instruction(0x15, 0x07, 4, 11),           //  3: if r7 == TCP_LISTEN goto 8
        instruction(0x15, 0x07, 8, 14),           //  4: if r7 == HDR_OPT_LEN goto 13
        instruction(0x15, 0x07, 14, 15),          //  5: if r7 == WRITE_HDR_OPT goto 20
        instruction(0x15, 0x07, 23, 10),          //  6: if r7 == STATE goto 30
        instruction(0x05, 0x00, 28, 0),           //  7: goto 36
        instruction(0x61, 0x62, 84, 0),           //  8: r2 = ctx->bpf_sock_ops_cb_flags
        instruction(0x47, 0x02, 0, 0x44),         //  9: r2 |= WRITE_HDR_OPT_CB_FLAG | STATE_CB_FLAG
        instruction(0xbf, 0x61, 0, 0),            // 10: r1 = r6
        instruction(0x85, 0x00, 0, 59),           // 11: call bpf_sock_ops_cb_flags_set
        instruction(0x05, 0x00, 23, 0),           // 12: goto 36
        instruction(0xbf, 0x61, 0, 0),            // 13: r1 = r6
        instruction(0xb7, 0x02, 0, 4),            // 14: r2 = 4
        instruction(0xb7, 0x03, 0, 0),            // 15: r3 = 0
        instruction(0x85, 0x00, 0, 144),          // 16: call bpf_reserve_hdr_opt
        instruction(0x15, 0x00, 18, 0),           // 17: if r0 == 0 goto 36
        instruction(0xb7, 0x07, 0, 29),           // 18: r7 = NOT_RESERVED
        instruction(0x05, 0x00, 16, 0),           // 19: goto 36
        instruction(0x62, 0x0a, -8, 0x0201_04fd), // 20: *(u32 *)(r10 - 8) = 253, 4, 1, 2
        instruction(0xbf, 0x61, 0, 0),            // 21: r1 = r6
        instruction(0xbf, 0xa2, 0, 0),            // 22: r2 = r10
        instruction(0x07, 0x02, 0, -8),           // 23: r2 -= 8
        instruction(0xb7, 0x03, 0, 4),            // 24: r3 = 4
        instruction(0xb7, 0x04, 0, 0),            // 25: r4 = 0
        instruction(0x85, 0x00, 0, 143),          // 26: call bpf_store_hdr_opt
        instruction(0x15, 0x00, 8, 0),            // 27: if r0 == 0 goto 36
        instruction(0xb7, 0x07, 0, 30),           // 28: r7 = NOT_WRITTEN
        instruction(0x05, 0x00, 6, 0),            // 29: goto 36
        instruction(0x61, 0x61, 8, 0),            // 30: r1 = ctx->args[1]
        instruction(0x55, 0x01, 4, 7),            // 31: if r1 != CLOSE goto 36
        instruction(0x61, 0x61, 84, 0),           // 32: r1 = ctx->bpf_sock_ops_cb_flags
        instruction(0x57, 0x01, 0, 0x40),         // 33: r1 &= WRITE_HDR_OPT_CB_FLAG
        instruction(0x55, 0x01, 1, 0),            // 34: if r1 != 0 goto 36
        instruction(0xb7, 0x07, 0, 31),           // 35: r7 = FLAG_GONE
        instruction(0x63, 0x7a, -4, 0),           // 36: *(u32 *)(r10 - 4) = r7
        instruction(0xbf, 0xa2, 0, 0),            // 37: r2 = r10
        instruction(0x07, 0x02, 0, -4),           // 38: r2 -= 4
        instruction(0xb7, 0x08, 0, 1),            // 39: r8 = 1
        instruction(0x18, 0x01, 0, 0),            // 40: r1 = COUNTS (two slots)
        instruction(0x00, 0x00, 0, 0),            //
        instruction(0x85, 0x00, 0, 1),            // 42: call bpf_map_lookup_elem
        instruction(0x15, 0x00, 1, 0),            // 43: if r0 == 0 goto 45
        instruction(0xdb, 0x80, 0, 0),            // 44: lock *(u64 *)r0 += r8
        instruction(0xb7, 0x00, 0, 1),            // 45: r0 = 1
        instruction(0x95, 0x00, 0, 0),            // 46: exit
    ]
    .concat()
}
