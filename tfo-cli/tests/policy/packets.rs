//! Somebody else's programs that look at packets, made by hand: they count the SYNs to one port and drop what goes
//! to another.

use std::{fs::File, path::Path};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::Array,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, LinkOrder, SchedClassifier, TcAttachType,
        tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions},
    },
};

use crate::support::object::{self, COUNTS, NAME, instruction};

/// Index of the counter of SYNs; what else goes to the port is counted at 0.
const SYNS: u32 = 1;
/// Bytes of an Ethernet header, which classifiers see and cgroup programs do not.
const ETHERNET: i32 = 14;

/// What the programs look at.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Packets to this one are counted.
    pub counted: u16,
    /// Packets to this one are dropped.
    pub dropped: u16,
}

/// A foreign program while it is attached. Dropping it detaches it.
pub struct Watcher {
    ebpf: Ebpf,
}

impl Watcher {
    /// `cgroup_skb/egress`, by a link.
    pub fn on_cgroup(cgroup: &Path, ports: Ports) -> Result<Self> {
        let Self { mut ebpf } = Self::egress(ports)?;
        let program: &mut CgroupSkb = ebpf.program_mut(NAME).context("no program")?.try_into()?;
        let directory = File::open(cgroup).with_context(|| cgroup.display().to_string())?;
        program
            .attach(directory, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)
            .context("foreign egress program: attaching it")?;
        Ok(Self { ebpf })
    }

    /// The same, attached nowhere.
    pub fn egress(ports: Ports) -> Result<Self> {
        const PASS: i32 = 1;
        const DROP: i32 = 0;
        let elf = object::with_counts("cgroup_skb/egress", &code(0, ports, PASS, DROP), LOAD_MAP, 2)?;
        let mut ebpf = Ebpf::load(&elf).context("foreign egress program: reading it")?;
        let program: &mut CgroupSkb = ebpf.program_mut(NAME).context("no program")?.try_into()?;
        program.load().context("foreign egress program: loading it")?;
        Ok(Self { ebpf })
    }
}

impl Watcher {
    /// A classifier on the egress of an interface of the calling thread's namespace, by a TCX link behind those
    /// that are there.
    pub fn on_tcx(interface: &str, ports: Ports) -> Result<Self> {
        const NEXT: i32 = -1;
        let mut watcher = Self::classifier(ports, NEXT)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::last());
        watcher.attach(interface, order)?;
        Ok(watcher)
    }

    /// The same as a filter of the `clsact` queueing discipline, which goes with the interface.
    pub fn on_clsact(interface: &str, ports: Ports) -> Result<Self> {
        const OK: i32 = 0;
        let mut watcher = Self::classifier(ports, OK)?;
        let id = watcher.attach(interface, TcAttachOptions::Netlink(NlOptions::default()))?;
        // Dropped it would be removed from the interface with this number in whatever namespace we are then.
        std::mem::forget(watcher.program()?.take_link(id)?);
        Ok(watcher)
    }

    fn classifier(ports: Ports, pass: i32) -> Result<Self> {
        const SHOT: i32 = 2;
        let elf = object::with_counts("classifier", &code(ETHERNET, ports, pass, SHOT), LOAD_MAP, 2)?;
        let ebpf = Ebpf::load(&elf).context("foreign classifier: reading it")?;
        Ok(Self { ebpf })
    }

    fn attach(&mut self, interface: &str, how: TcAttachOptions) -> Result<SchedClassifierLinkId> {
        let program = self.program()?;
        program.load().context("foreign classifier: loading it")?;
        program
            .attach_with_options(interface, TcAttachType::Egress, how)
            .with_context(|| format!("foreign classifier: attaching it to {interface}"))
    }

    fn program(&mut self) -> Result<&mut SchedClassifier> {
        Ok(self.ebpf.program_mut(NAME).context("no program")?.try_into()?)
    }

    /// Its id in the kernel.
    pub fn id(&self) -> Result<u32> {
        let program = self.ebpf.program(NAME).context("no program")?;
        Ok(program.info()?.id())
    }

    /// The same of one that [`Watcher::egress`] made.
    pub fn egress_id(&self) -> Result<u32> {
        let program: &CgroupSkb = self.ebpf.program(NAME).context("no program")?.try_into()?;
        Ok(program.info()?.id())
    }

    /// SYNs it has counted.
    pub fn syns(&self) -> Result<u64> {
        let map = Array::<_, u64>::try_from(self.ebpf.map(COUNTS).context("no map")?)?;
        Ok(map.get(&SYNS, 0)?)
    }
}

/// Place of the instruction that loads the map's address.
const LOAD_MAP: usize = 23;

/// ```text
/// load the first 14 bytes behind the IP header
/// port is the dropped one: return drop
/// port is the counted one: counts[flags are SYN and not ACK] += 1
/// return pass
/// ```
fn code(link_header: i32, ports: Ports, pass: i32, drop: i32) -> Vec<u8> {
    let (counted, dropped) = (wire(ports.counted), wire(ports.dropped));
    [
        instruction(0xbf, 0x16, 0, 0),                //  0: r6 = r1
        instruction(0x61, 0x61, 16, 0),               //  1: r1 = ctx->protocol
        instruction(0xb7, 0x02, 0, link_header + 20), //  2: r2 = behind an IPv4 header
        instruction(0x15, 0x01, 2, 0x0008),           //  3: if r1 == ETH_P_IP goto 6
        instruction(0xb7, 0x02, 0, link_header + 40), //  4: r2 = behind an IPv6 header
        instruction(0x55, 0x01, 23, 0xdd86),          //  5: if r1 != ETH_P_IPV6 goto 29
        instruction(0xbf, 0x61, 0, 0),                //  6: r1 = r6
        instruction(0xbf, 0xa3, 0, 0),                //  7: r3 = r10
        instruction(0x07, 0x03, 0, -16),              //  8: r3 -= 16
        instruction(0xb7, 0x04, 0, 14),               //  9: r4 = 14
        instruction(0x85, 0x00, 0, 26),               // 10: call bpf_skb_load_bytes
        instruction(0x55, 0x00, 17, 0),               // 11: if r0 != 0 goto 29
        instruction(0x69, 0xa1, -14, 0),              // 12: r1 = destination port
        instruction(0x15, 0x01, 17, dropped),         // 13: if r1 == dropped goto 31
        instruction(0x55, 0x01, 14, counted),         // 14: if r1 != counted goto 29
        instruction(0x71, 0xa1, -3, 0),               // 15: r1 = flags
        instruction(0xb7, 0x02, 0, 1),                // 16: r2 = 1
        instruction(0x57, 0x01, 0, 0x12),             // 17: r1 &= SYN | ACK
        instruction(0x15, 0x01, 1, 0x02),             // 18: if r1 == SYN goto 20
        instruction(0xb7, 0x02, 0, 0),                // 19: r2 = 0
        instruction(0x63, 0x2a, -20, 0),              // 20: *(u32 *)(r10 - 20) = r2
        instruction(0xbf, 0xa2, 0, 0),                // 21: r2 = r10
        instruction(0x07, 0x02, 0, -20),              // 22: r2 -= 20
        instruction(0x18, 0x01, 0, 0),                // 23: r1 = COUNTS (two slots)
        instruction(0x00, 0x00, 0, 0),                //
        instruction(0x85, 0x00, 0, 1),                // 25: call bpf_map_lookup_elem
        instruction(0x15, 0x00, 2, 0),                // 26: if r0 == 0 goto 29
        instruction(0xb7, 0x01, 0, 1),                // 27: r1 = 1
        instruction(0xdb, 0x10, 0, 0),                // 28: lock *(u64 *)r0 += r1
        instruction(0xb7, 0x00, 0, pass),             // 29: r0 = pass
        instruction(0x95, 0x00, 0, 0),                // 30: exit
        instruction(0xb7, 0x00, 0, drop),             // 31: r0 = drop
        instruction(0x95, 0x00, 0, 0),                // 32: exit
    ]
    .concat()
}

/// A port as two bytes of a packet are read.
fn wire(port: u16) -> i32 {
    i32::from(port.to_be())
}
