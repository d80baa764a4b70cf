//! The least that programs cost: some that return at once or only ask for callbacks, attached where ours would be, at another time
//! than ours.

mod code;

use std::any::Any;
use std::fs::{self, File};

use anyhow::{Context as _, Result, bail};
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, SockOps};
use aya::{Btf, Ebpf};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};

use super::slices::Switched;

/// Where an empty program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `sock_ops` on the root of the cgroup hierarchy: asks for no callback, so it gets what every program gets.
    SockOps,
    /// The same, but it asks for the callbacks that the observer asks for, and does nothing with them ([`code::asking`]).
    SockOpsAsking,
    /// The same, and it writes down what it sees of each connection ([`code::recording`]).
    SockOpsRecording,
    /// `sock_ops` that asks for the next change of a connection's state, and gives that back ([`code::state`]).
    SockOpsState,
    /// The tracepoint where sockets end.
    Destroy,
    /// The tracepoint where a socket has an error.
    Error,
    /// `cgroup_skb/egress` on the root: every packet that leaves.
    Egress,
}

impl Hook {
    /// Section that says what kind of program it is, and its name among the pins.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::SockOps | Self::SockOpsAsking | Self::SockOpsRecording | Self::SockOpsState => {
                ("sockops", "bench_sock_ops")
            }
            Self::Destroy => ("tp_btf/tcp_destroy_sock", "bench_destroy"),
            Self::Error => ("tp_btf/inet_sk_error_report", "bench_error"),
            Self::Egress => ("cgroup_skb/egress", "bench_egress"),
        }
    }
}

/// Empty programs, loaded until this is dropped or its process ends.
pub struct Empty {
    /// Their ids, in the order of the hooks.
    pub programs: Vec<u64>,
    loaded: Vec<Loaded>,
}

impl Empty {
    /// Attaches one to each hook.
    pub fn attach(hooks: &[Hook]) -> Result<Self> {
        let mut empty = Self::load(hooks)?;
        empty.set(true)?;
        Ok(empty)
    }

    /// Loads one for each hook.
    pub fn load(hooks: &[Hook]) -> Result<Self> {
        let loaded = hooks
            .iter()
            .map(|hook| Loaded::of(*hook).with_context(|| format!("an empty program for {hook:?}")));
        let loaded = loaded.collect::<Result<Vec<_>>>()?;
        let programs = loaded.iter().map(Loaded::id).collect::<Result<_>>()?;
        Ok(Self { programs, loaded })
    }
}

impl Switched for Empty {
    fn set(&mut self, on: bool) -> Result<()> {
        for one in &mut self.loaded {
            one.set(on)
                .with_context(|| format!("an empty program at {:?}", one.hook))?;
        }
        Ok(())
    }
}

/// One of them.
struct Loaded {
    hook: Hook,
    ebpf: Ebpf,
    /// The link it is attached by, whichever kind that is: dropping it detaches.
    link: Option<Box<dyn Any>>,
}

impl Loaded {
    fn of(hook: Hook) -> Result<Self> {
        let (section, name) = hook.names();
        let mut ebpf = Ebpf::load(&elf(hook)?).context("load its object")?;
        match ebpf.program_mut(name).context("the object has no program")? {
            Program::SockOps(program) => program.load()?,
            Program::CgroupSkb(program) => program.load()?,
            Program::BtfTracePoint(program) => {
                let (_, tracepoint) = section.split_once('/').context("no tracepoint")?;
                program.load(tracepoint, &Btf::from_sys_fs()?)?;
            }
            _ => bail!("a program of another kind"),
        }
        Ok(Self {
            hook,
            ebpf,
            link: None,
        })
    }

    fn id(&self) -> Result<u64> {
        let program = self.ebpf.program(self.hook.names().1);
        Ok(program.context("the object has no program")?.info()?.id().into())
    }

    fn set(&mut self, on: bool) -> Result<()> {
        if on != self.link.is_some() {
            self.link = on.then(|| self.attached()).transpose()?;
        }
        Ok(())
    }

    fn attached(&mut self) -> Result<Box<dyn Any>> {
        let program = self.ebpf.program_mut(self.hook.names().1);
        let mode = CgroupAttachMode::Single;
        Ok(match program.context("the object has no program")? {
            Program::SockOps(program) => {
                let link = program.attach(root()?, mode)?;
                Box::new(program.take_link(link)?)
            }
            Program::CgroupSkb(program) => {
                let link = program.attach(root()?, CgroupSkbAttachType::Egress, mode)?;
                Box::new(program.take_link(link)?)
            }
            Program::BtfTracePoint(program) => {
                let link = program.attach()?;
                Box::new(program.take_link(link)?)
            }
            _ => bail!("a program of another kind"),
        })
    }
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
            let mut ebpf = Ebpf::load(&object("sockops", IDLE, &code::idle(length.into()), &[])?)?;
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

/// The object file of the program of a hook.
fn elf(hook: Hook) -> Result<Vec<u8>> {
    let (code, records_at) = match hook {
        Hook::SockOpsAsking => (code::asking(), Vec::new()),
        Hook::SockOpsState => (code::state(), Vec::new()),
        Hook::SockOpsRecording => code::recording(),
        // 1 lets things pass; of a tracepoint only 0 is taken.
        Hook::Destroy | Hook::Error => (code::returning(0), Vec::new()),
        Hook::SockOps | Hook::Egress => (code::returning(1), Vec::new()),
    };
    let (section, name) = hook.names();
    object(section, name, &code, &records_at)
}

/// An object file of one program, which has the address of the records at these places of its code.
fn object(section: &str, name: &str, code: &[u8], records_at: &[u64]) -> Result<Vec<u8>> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = elf.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    elf.append_section_data(section, code, 8);
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"GPL\0", 1);
    let symbol = |name: &[u8], size: u64, kind: SymbolKind, section: SectionId| Symbol {
        name: name.to_vec(),
        value: 0,
        size,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    };
    elf.add_symbol(symbol(
        name.as_bytes(),
        code.len() as u64,
        SymbolKind::Text,
        section,
    ));
    if !records_at.is_empty() {
        let records = elf.add_section(Vec::new(), b".bss".to_vec(), SectionKind::UninitializedData);
        elf.append_section_bss(records, code::RECORDS, 8);
        let records = elf.add_symbol(symbol(b"records", code::RECORDS, SymbolKind::Data, records));
        for offset in records_at {
            let relocation = Relocation {
                offset: *offset,
                symbol: records,
                addend: 0,
                flags: RelocationFlags::Elf {
                    r_type: object::elf::R_BPF_64_64,
                },
            };
            elf.add_relocation(section, relocation)
                .context("cannot make the object of an empty program")?;
        }
    }
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
        for hook in [
            Hook::SockOps,
            Hook::SockOpsAsking,
            Hook::SockOpsRecording,
            Hook::SockOpsState,
            Hook::Destroy,
            Hook::Error,
            Hook::Egress,
        ] {
            assert!(elf(hook).unwrap().starts_with(b"\x7fELF"));
        }
    }
}
