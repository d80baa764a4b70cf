//! The least that programs cost: some that return at once or only ask for callbacks, attached where ours would be, at another time
//! than ours.

mod code;

use std::fs::{self, File};

use anyhow::{Context as _, Result};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, SockOps};
use aya::{Btf, Ebpf};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// Where an empty program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `sock_ops` on the root of the cgroup hierarchy: asks for no callback, so it gets what every program gets.
    SockOps,
    /// The same, but it asks for the callbacks that the observer asks for, and does nothing with them ([`code::asking`]).
    SockOpsAsking,
    /// The tracepoint where sockets end.
    Destroy,
    /// `cgroup_skb/egress` on the root: every packet that leaves.
    Egress,
}

impl Hook {
    /// Section that says what kind of program it is, and its name among the pins.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::SockOps | Self::SockOpsAsking => ("sockops", "bench_sock_ops"),
            Self::Destroy => ("tp_btf/tcp_destroy_sock", "bench_destroy"),
            Self::Egress => ("cgroup_skb/egress", "bench_egress"),
        }
    }
}

/// Empty programs, loaded and attached until this is dropped or its process ends.
pub struct Empty {
    /// Their ids, in the order of the hooks.
    pub programs: Vec<u64>,
    _loaded: Vec<Ebpf>,
}

impl Empty {
    /// Attaches one to each hook.
    pub fn attach(hooks: &[Hook]) -> Result<Self> {
        let mut programs = Vec::new();
        let mut loaded = Vec::new();
        for hook in hooks {
            let (id, ebpf) = attach(*hook).with_context(|| format!("an empty program at {hook:?}"))?;
            programs.push(id);
            loaded.push(ebpf);
        }
        Ok(Self {
            programs,
            _loaded: loaded,
        })
    }
}

fn attach(hook: Hook) -> Result<(u64, Ebpf)> {
    let (section, name) = hook.names();
    let mut ebpf = Ebpf::load(&elf(section, hook)?).context("load it")?;
    let program = ebpf.program_mut(name).context("the object has no program")?;
    match hook {
        Hook::SockOps | Hook::SockOpsAsking => {
            let program: &mut SockOps = program.try_into()?;
            program.load()?;
            program.attach(root()?, CgroupAttachMode::Single)?;
        }
        Hook::Egress => {
            let program: &mut CgroupSkb = program.try_into()?;
            program.load()?;
            program.attach(root()?, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
        }
        Hook::Destroy => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load("tcp_destroy_sock", &Btf::from_sys_fs()?)?;
            program.attach()?;
        }
    }
    let id = ebpf
        .program(name)
        .context("the object has no program")?
        .info()?
        .id();
    Ok((id.into(), ebpf))
}

/// Programs that nobody calls, until this is dropped. What is loaded meanwhile has its instructions elsewhere: the kernel puts them
/// into the first gap that is long enough, which is the same one each time, and where they lie is worth as much as what they do.
pub struct Idle {
    _loaded: Vec<Ebpf>,
}

impl Idle {
    /// Loads some, others for each of these numbers.
    pub fn load(number: u64) -> Result<Self> {
        let loaded = lengths(number).into_iter().map(|length| {
            let mut ebpf = Ebpf::load(&object("sockops", IDLE, &code::idle(length.into()))?)?;
            let program: &mut SockOps = ebpf
                .program_mut(IDLE)
                .context("the object has no program")?
                .try_into()?;
            program.load()?;
            Ok(ebpf)
        });
        let loaded: Result<Vec<_>> = loaded.collect();
        Ok(Self {
            _loaded: loaded.context("a program that nobody calls")?,
        })
    }
}

/// Name of a program that nobody calls.
const IDLE: &str = "bench_idle";

/// Instructions of such a program, at most: 4 KB of machine code.
const LONGEST: u64 = 800;

/// Instructions of each, by chance.
fn lengths(number: u64) -> Vec<u16> {
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mut state = number;
    let mut chance = |most: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % most
    };
    let programs = 1 + chance(5);
    (0..programs)
        .map(|_| u16::try_from(chance(LONGEST)).unwrap_or(u16::MAX))
        .collect()
}

/// Root of the cgroup hierarchy.
pub fn root() -> Result<File> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let root = cgroup_root(&mounts).context("cgroup v2 is not mounted")?;
    File::open(root).with_context(|| format!("cannot open {root}"))
}

/// Mount point of cgroup2 in the text of `/proc/self/mounts`.
fn cgroup_root(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then_some(point)
    })
}

/// An object file: a section that says what kind of program it is, with one function.
fn elf(section: &str, hook: Hook) -> Result<Vec<u8>> {
    let code = match hook {
        Hook::SockOpsAsking => code::asking(),
        // 1 lets things pass; of a tracepoint only 0 is taken.
        Hook::Destroy => code::returning(0),
        Hook::SockOps | Hook::Egress => code::returning(1),
    };
    object(section, hook.names().1, &code)
}

/// An object file of one program.
fn object(section: &str, name: &str, code: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = elf.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    elf.append_section_data(section, code, 8);
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"GPL\0", 1);
    elf.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    elf.write().context("cannot make the object of an empty program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_wherever_it_is_mounted() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup_root(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup_root("proc /proc proc rw 0 0\n\n"), None);
    }

    #[test]
    fn idle_programs_differ_by_their_number() {
        let all: Vec<_> = (0..50).map(lengths).collect();
        for (number, one) in all.iter().enumerate() {
            assert!(
                (1..=5).contains(&one.len()) && one.iter().all(|length| u64::from(*length) < LONGEST),
                "{one:?}"
            );
            assert!(!all[..number].contains(one), "{number}");
        }
    }

    #[test]
    fn the_objects_are_some() {
        for hook in [Hook::SockOps, Hook::SockOpsAsking, Hook::Destroy, Hook::Egress] {
            assert!(elf(hook.names().0, hook).unwrap().starts_with(b"\x7fELF"));
        }
    }
}
