//! The least any egress program costs: one that returns 1 and does nothing else, beside ours.

use std::fs;

use anyhow::{Context as _, Result};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use super::{Stage, bpftool};
use crate::bench::observer::scratch;
use crate::bench::temporary::TemporaryChange;
use crate::process;

/// `r0 = 1; exit`
const CODE: [u8; 16] = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The program, loaded and attached to the root of the cgroup hierarchy.
pub struct Floor {
    /// Its id.
    pub program: u64,
    /// Unlike a pinned link, a program attached like this stays when whoever attached it is killed.
    _attached: TemporaryChange,
}

impl Floor {
    pub fn attach(stage: &Stage) -> Result<Self> {
        let pin = stage.bpffs.join("tfo-bench-empty");
        let pin = pin.to_string_lossy();
        if fs::metadata(&*pin).is_err() {
            let file = scratch("empty.o")?;
            fs::write(&file, elf()?).with_context(|| format!("cannot write {}", file.display()))?;
            process::output(
                process::command("bpftool")
                    .args(["prog", "load"])
                    .arg(&file)
                    .args([&pin, "type", "cgroup/skb"]),
            )?;
        }
        let program = bpftool(&["prog", "show", "pinned", &pin])?["id"].as_u64();
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let root = cgroup_root(&mounts).context("cgroup v2 is not mounted")?;
        let attached = TemporaryChange::make(
            "bpftool cgroup attach \"$1\" egress pinned \"$2\" multi",
            "bpftool cgroup detach \"$1\" egress pinned \"$2\"",
            &[root, &pin],
        )?;
        Ok(Self {
            program: program.context("bpftool names no id")?,
            _attached: attached,
        })
    }
}

/// Mount point of cgroup2 in the text of `/proc/self/mounts`.
fn cgroup_root(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then_some(point)
    })
}

/// An object that libbpf reads: a section that says what kind of program it is, with one function.
fn elf() -> Result<Vec<u8>> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = elf.add_section(Vec::new(), b"cgroup_skb/egress".to_vec(), SectionKind::Text);
    elf.append_section_data(section, &CODE, 8);
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"GPL\0", 1);
    elf.add_symbol(Symbol {
        name: b"empty".to_vec(),
        value: 0,
        size: CODE.len() as u64,
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
    fn the_object_is_one() {
        assert!(elf().unwrap().starts_with(b"\x7fELF"));
    }
}
