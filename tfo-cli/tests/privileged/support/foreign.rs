//! A foreign `sock_ops` program: it counts its calls by operation and has callback flags of its own.

use std::{fs::File, path::Path};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::Array,
    programs::{CgroupAttachMode, SockOps},
};

use super::object::{self, COUNTS, NAME, instruction};

/// Operations (include/uapi/linux/bpf.h); the map has room for [`OPERATIONS`].
pub const PASSIVE_ESTABLISHED: u32 = 5;
pub const STATE: u32 = 10;
pub const PARSE_HDR_OPT: u32 = 13;
pub const HDR_OPT_LEN: u32 = 14;
pub const WRITE_HDR_OPT: u32 = 15;
const OPERATIONS: u32 = 32;

/// The program while it is attached. Dropping it detaches it.
pub struct Foreign {
    ebpf: Ebpf,
}

impl Foreign {
    /// Attaches it to a cgroup.
    pub fn attach(cgroup: &Path) -> Result<Self> {
        Self::load(&code(), LOAD_MAP)?.attached(cgroup)
    }

    /// Loads a program of these instructions, the one at `load_map` with the address of the counters, and attaches it
    /// nowhere.
    pub fn load(code: &[u8], load_map: usize) -> Result<Self> {
        let elf = object::with_counts("sockops", code, load_map, OPERATIONS)?;
        let mut ebpf = Ebpf::load(&elf).context("foreign program: reading it")?;
        let program: &mut SockOps = ebpf.program_mut(NAME).context("no program")?.try_into()?;
        program.load().context("foreign program: loading it")?;
        Ok(Self { ebpf })
    }

    /// Attaches it by a link.
    pub fn attached(mut self, cgroup: &Path) -> Result<Self> {
        let program: &mut SockOps = self.ebpf.program_mut(NAME).context("no program")?.try_into()?;
        let directory = File::open(cgroup).with_context(|| format!("{}: opening it", cgroup.display()))?;
        program
            .attach(directory, CgroupAttachMode::Single)
            .context("foreign program: attaching it")?;
        Ok(self)
    }

    /// Its id in the kernel.
    pub fn id(&self) -> Result<u32> {
        let program: &SockOps = self.ebpf.program(NAME).context("no program")?.try_into()?;
        Ok(program.info()?.id())
    }

    /// How often it was called, by operation.
    pub fn calls(&self) -> Result<Calls> {
        let map = Array::<_, u64>::try_from(self.ebpf.map(COUNTS).context("no map")?)?;
        let counts = (0..OPERATIONS).map(|operation| Ok(map.get(&operation, 0)?));
        Ok(Calls(counts.collect::<Result<_>>()?))
    }
}

/// Calls by operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls(Vec<u64>);

impl Calls {
    /// Calls of one operation.
    pub fn of(&self, operation: u32) -> u64 {
        self.0.get(operation as usize).copied().unwrap_or(0)
    }

    /// Calls since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&earlier.0)
                .map(|(now, before)| now - before)
                .collect(),
        )
    }

    /// The same without the operations that come by callback flags of others.
    pub fn without_header_options(&self) -> Self {
        let mut calls = self.clone();
        for operation in [PARSE_HDR_OPT, HDR_OPT_LEN, WRITE_HDR_OPT] {
            calls.0[operation as usize] = 0;
        }
        calls
    }
}

/// Place of the instruction that loads the map's address.
pub const LOAD_MAP: usize = 13;

/// ```text
/// if op is TCP_CONNECT or PASSIVE_ESTABLISHED: flags |= STATE_CB    (its own flag, OR-ed in as it should be)
/// calls[op] += 1
/// return 1
/// ```
pub fn code() -> Vec<u8> {
    [
        instruction(0xbf, 0x16, 0, 0),  //  0: r6 = r1
        instruction(0x61, 0x62, 0, 0),  //  1: r2 = ctx->op
        instruction(0x15, 0x02, 1, 3),  //  2: if r2 == TCP_CONNECT goto 4
        instruction(0x55, 0x02, 4, 5),  //  3: if r2 != PASSIVE_ESTABLISHED goto 8
        instruction(0x61, 0x62, 84, 0), //  4: r2 = ctx->bpf_sock_ops_cb_flags
        instruction(0x47, 0x02, 0, 4),  //  5: r2 |= BPF_SOCK_OPS_STATE_CB_FLAG
        instruction(0xbf, 0x61, 0, 0),  //  6: r1 = r6
        instruction(0x85, 0x00, 0, 59), //  7: call bpf_sock_ops_cb_flags_set
        instruction(0x61, 0x62, 0, 0),  //  8: r2 = ctx->op
        instruction(0x63, 0x2a, -4, 0), //  9: *(u32 *)(r10 - 4) = r2
        instruction(0xbf, 0xa2, 0, 0),  // 10: r2 = r10
        instruction(0x07, 0x02, 0, -4), // 11: r2 -= 4
        instruction(0xb7, 0x07, 0, 1),  // 12: r7 = 1
        instruction(0x18, 0x01, 0, 0),  // 13: r1 = COUNTS (two slots)
        instruction(0x00, 0x00, 0, 0),  //
        instruction(0x85, 0x00, 0, 1),  // 15: call bpf_map_lookup_elem
        instruction(0x15, 0x00, 1, 0),  // 16: if r0 == 0 goto 18
        instruction(0xdb, 0x70, 0, 0),  // 17: lock *(u64 *)r0 += r7
        instruction(0xb7, 0x00, 0, 1),  // 18: r0 = 1
        instruction(0x95, 0x00, 0, 0),  // 19: exit
    ]
    .concat()
}
