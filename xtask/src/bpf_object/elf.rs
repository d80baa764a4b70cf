//! The object file as far as moving instructions concerns it: sections, programs, relocations, and which line of source each
//! instruction comes from (`.BTF.ext`).
//!
//! ELF-64 in this machine's byte order; `.BTF.ext`: Documentation/bpf/btf.rst.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context as _, Result, ensure};

use super::code::{Slot, is_own_call};
use super::place::Placed;

const SLOT: usize = size_of::<Slot>();
/// Lengths of the structures in the file.
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const RELOCATION: usize = 16;
/// `SHT_*`, `SHF_EXECINSTR`, `STT_FUNC` and `R_BPF_64_64`.
const PROGBITS: u32 = 1;
const NOBITS: u32 = 8;
const REL: u32 = 9;
const EXECUTABLE: u64 = 4;
const FUNCTION: u8 = 2;
const R_BPF_64_64: u64 = 1;
/// Where functions lie that programs share. Nothing moves in there.
const SHARED: &str = ".text";

/// A file that is read at places it names itself.
struct Bytes(Vec<u8>);

impl Bytes {
    fn slice(&self, at: usize, length: usize) -> Result<&[u8]> {
        let end = at.checked_add(length).context("a place beyond everything")?;
        self.0
            .get(at..end)
            .with_context(|| format!("the file ends before byte {end}"))
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        Ok(self.slice(at, N)?.try_into()?)
    }

    fn u16(&self, at: usize) -> Result<usize> {
        Ok(u16::from_ne_bytes(self.array(at)?).into())
    }

    fn u32(&self, at: usize) -> Result<u32> {
        Ok(u32::from_ne_bytes(self.array(at)?))
    }

    fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from_ne_bytes(self.array(at)?))
    }

    fn place(&self, at: usize) -> Result<usize> {
        Ok(self.u64(at)?.try_into()?)
    }

    fn text(&self, at: usize) -> Result<&str> {
        let rest = self.0.get(at..).context("a name beyond the file")?;
        let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(std::str::from_utf8(text)?)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let end = at.checked_add(bytes.len()).context("a place beyond everything")?;
        let to = self.0.get_mut(at..end).context("a place beyond the file")?;
        to.copy_from_slice(bytes);
        Ok(())
    }
}

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    at: usize,
    length: usize,
    /// Of relocations, the section that they are for.
    info: usize,
}

/// A program.
#[derive(Debug)]
pub struct Program {
    pub name: String,
    section: usize,
    /// Where its symbol lies in the file.
    symbol: usize,
    /// Slots within its section.
    slots: Range<usize>,
}

/// Where an instruction comes from: line and column.
pub type Line = (u32, u32);

/// An object file.
pub struct Object {
    bytes: Bytes,
    sections: Vec<Section>,
    programs: Vec<Program>,
}

impl Object {
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let bytes = Bytes(bytes);
        let (table, count, names) = (bytes.place(40)?, bytes.u16(60)?, bytes.u16(62)?);
        let names = bytes.place(table + names * SECTION + 24)?;
        let section = |index: usize| -> Result<Section> {
            let at = table + index * SECTION;
            let section = Section {
                name: bytes.text(names + bytes.u32(at)? as usize)?.to_owned(),
                kind: bytes.u32(at + 4)?,
                flags: bytes.u64(at + 8)?,
                at: bytes.place(at + 24)?,
                length: bytes.place(at + 32)?,
                info: bytes.u32(at + 44)? as usize,
            };
            if section.kind != NOBITS {
                bytes.slice(section.at, section.length)?;
            }
            Ok(section)
        };
        let sections: Vec<Section> = (0..count).map(section).collect::<Result<_>>()?;
        let mut object = Self {
            bytes,
            sections,
            programs: Vec::new(),
        };
        object.programs = object.find_programs()?;
        Ok(object)
    }

    fn section(&self, name: &str) -> Result<&Section> {
        let section = self.sections.iter().find(|section| section.name == name);
        section.with_context(|| format!("no section {name}"))
    }

    /// Where in the file each symbol lies, and its name.
    fn symbols(&self) -> Result<Vec<(usize, &str)>> {
        let (symbols, strings) = (self.section(".symtab")?, self.section(".strtab")?.at);
        let places = (symbols.at..symbols.at + symbols.length).step_by(SYMBOL);
        places
            .map(|at| Ok((at, self.bytes.text(strings + self.bytes.u32(at)? as usize)?)))
            .collect()
    }

    fn find_programs(&self) -> Result<Vec<Program>> {
        let mut programs = Vec::new();
        for (symbol, name) in self.symbols()? {
            let section = self.bytes.u16(symbol + 6)?;
            let is_function = self.bytes.array::<1>(symbol + 4)?[0] & 15 == FUNCTION;
            let is_program = self.sections.get(section).is_some_and(Section::is_of_programs);
            if is_function && is_program {
                let start = self.bytes.place(symbol + 8)? / SLOT;
                programs.push(Program {
                    name: name.to_owned(),
                    section,
                    symbol,
                    slots: start..start + self.bytes.place(symbol + 16)? / SLOT,
                });
            }
        }
        programs.sort_by_key(|program| (program.section, program.slots.start));
        Ok(programs)
    }

    /// Programs, in the order in which they lie in their sections.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    pub fn code(&self, program: &Program) -> Result<Vec<Slot>> {
        let start = self.sections[program.section].at + program.slots.start * SLOT;
        let bytes = self.bytes.slice(start, program.slots.len() * SLOT)?;
        let code: Vec<Slot> = bytes
            .chunks_exact(SLOT)
            .map(|slot| slot.try_into().unwrap_or_default())
            .collect();
        let relocated = self.relocations(program.section)?;
        let is_from_here = |(index, slot): (usize, &Slot)| {
            is_own_call(*slot) && !relocated.contains_key(&(program.slots.start + index))
        };
        ensure!(
            !code.iter().enumerate().any(is_from_here),
            "{} calls a function of its own section",
            program.name
        );
        Ok(code)
    }

    /// The relocations of a section: slot, and where in the file it says so.
    fn relocations(&self, section: usize) -> Result<HashMap<usize, usize>> {
        let mut found = HashMap::new();
        for table in self.sections.iter().filter(|table| table.is_for(section)) {
            for at in (table.at..table.at + table.length).step_by(RELOCATION) {
                found.insert(self.bytes.place(at)? / SLOT, at);
            }
        }
        Ok(found)
    }

    /// The line of each slot of a program; `None` before the first that has one.
    pub fn lines(&self, program: &Program) -> Result<Vec<Option<Line>>> {
        let mut lines = vec![None; program.slots.len()];
        for at in self.records(Info::Lines, program.section)? {
            let slot = self.bytes.u32(at)? as usize / SLOT;
            if let Some(index) = slot.checked_sub(program.slots.start)
                && let Some(line) = lines.get_mut(index)
            {
                let packed = self.bytes.u32(at + 12)?;
                *line = Some((packed >> 10, packed & 1023));
            }
        }
        let mut last = None;
        for line in &mut lines {
            last = line.or(last);
            *line = last;
        }
        Ok(lines)
    }

    /// Where in the file the records of one kind about a section lie.
    fn records(&self, info: Info, section: usize) -> Result<Vec<usize>> {
        let (extra, types) = (self.section(".BTF.ext")?.at, self.section(".BTF")?.at);
        let strings = types + self.bytes.u32(types + 4)? as usize + self.bytes.u32(types + 16)? as usize;
        let header = self.bytes.u32(extra + 4)? as usize;
        if header >= 32 {
            ensure!(
                self.bytes.u32(extra + 28)? <= 4,
                "CO-RE relocations, which would have to move as well"
            );
        }
        let field = extra + 8 + info as usize * 8;
        let mut at = extra + header + self.bytes.u32(field)? as usize;
        let end = at + self.bytes.u32(field + 4)? as usize;
        let length = self.bytes.u32(at)? as usize;
        at += 4;
        let mut records = Vec::new();
        while at < end {
            let name = self.bytes.text(strings + self.bytes.u32(at)? as usize)?;
            let count = self.bytes.u32(at + 4)? as usize;
            at += 8;
            if name == self.sections[section].name {
                records.extend((0..count).map(|index| at + index * length));
            }
            at += count * length;
        }
        Ok(records)
    }

    /// The number of the symbol with this name, as relocations have it.
    fn symbol(&self, name: &str) -> Result<u64> {
        let number = self.symbols()?.iter().position(|(_, known)| *known == name);
        Ok(number.with_context(|| format!("no symbol {name}"))? as u64)
    }

    /// The file with other code in the place of every program's, in their order, of which loads of an address are to load that of
    /// `symbol`. What debuggers read would no longer be true and is left out.
    pub fn with(mut self, placed: &[Placed], symbol: &str) -> Result<Vec<u8>> {
        ensure!(placed.len() == self.programs.len(), "no code for a program");
        let mut sections: HashMap<usize, Moved> = HashMap::new();
        for (program, placed) in self.programs.iter().zip(placed) {
            let moved = sections.entry(program.section).or_default();
            let base = moved.content.len() / SLOT;
            moved.content.extend(placed.code.iter().flatten());
            moved.starts.insert(program.slots.start, base);
            for (now, from) in placed.from.iter().enumerate() {
                if let Some(from) = from {
                    moved.slots.insert(program.slots.start + from, base + now);
                }
            }
            moved.loads.extend(placed.loads.iter().map(|slot| base + slot));
            let number = |slots: usize| ((slots * SLOT) as u64).to_ne_bytes();
            self.bytes.put(program.symbol + 8, &number(base))?;
            self.bytes.put(program.symbol + 16, &number(placed.code.len()))?;
        }
        let mut contents = HashMap::new();
        for (section, moved) in sections {
            self.follow(section, &moved)?;
            if !moved.loads.is_empty() {
                let table = self.sections.iter().position(|table| table.is_for(section));
                let table = table.context("a section without relocations")?;
                contents.insert(table, self.relocated(table, &moved.loads, symbol)?);
            }
            contents.insert(section, moved.content);
        }
        self.write(&contents)
    }

    /// A table of relocations with those of more loads of a symbol's address.
    fn relocated(&self, table: usize, loads: &[usize], symbol: &str) -> Result<Vec<u8>> {
        let what = self.symbol(symbol)? << 32 | R_BPF_64_64;
        let table = &self.sections[table];
        let mut content = self.bytes.slice(table.at, table.length)?.to_vec();
        for slot in loads {
            content.extend(((slot * SLOT) as u64).to_ne_bytes());
            content.extend(what.to_ne_bytes());
        }
        Ok(content)
    }

    /// Has relocations and records follow the slots they are about.
    fn follow(&mut self, section: usize, moved: &Moved) -> Result<()> {
        for (slot, at) in self.relocations(section)? {
            let now = (moved.slot(slot)? * SLOT) as u64;
            self.bytes.put(at, &now.to_ne_bytes())?;
        }
        for info in [Info::Functions, Info::Lines] {
            let mut records = Vec::new();
            let places = self.records(info, section)?;
            for at in &places {
                let slot = self.bytes.u32(*at)? as usize / SLOT;
                // A program's first instruction has to have one, be it new ("missing bpf_line_info for func#0").
                let start = moved.starts.get(&slot).copied();
                let slot = start.map_or_else(|| moved.slot(slot), Ok)?;
                let rest = self.bytes.slice(at + 4, info.length() - 4)?.to_vec();
                records.push((u32::try_from(slot * SLOT)?, rest));
            }
            // The kernel wants them in this order (`check_btf_line`, kernel/bpf/verifier.c).
            records.sort_unstable();
            for (at, (offset, rest)) in places.iter().zip(records) {
                self.bytes.put(*at, &offset.to_ne_bytes())?;
                self.bytes.put(at + 4, &rest)?;
            }
        }
        Ok(())
    }

    /// Writes headers and sections anew, these with other contents.
    fn write(&self, contents: &HashMap<usize, Vec<u8>>) -> Result<Vec<u8>> {
        let mut table = self
            .bytes
            .slice(self.bytes.place(40)?, self.sections.len() * SECTION)?
            .to_vec();
        let mut file = self.bytes.slice(0, 64)?.to_vec();
        for (index, section) in self.sections.iter().enumerate() {
            file.resize(file.len().next_multiple_of(16), 0);
            let header = &mut table[index * SECTION..(index + 1) * SECTION];
            let mut length = section.length;
            if section.is_for_debuggers() {
                // `SHT_NULL`: nothing is there.
                header[4..8].fill(0);
                length = 0;
            } else if let Some(content) = contents.get(&index) {
                file.extend_from_slice(content);
                length = content.len();
            } else if section.kind != NOBITS {
                file.extend_from_slice(self.bytes.slice(section.at, section.length)?);
            }
            let start = file.len() - if section.kind == NOBITS { 0 } else { length };
            header[24..32].copy_from_slice(&(start as u64).to_ne_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_ne_bytes());
        }
        file.resize(file.len().next_multiple_of(16), 0);
        let start = (file.len() as u64).to_ne_bytes();
        file.extend(table);
        file[40..48].copy_from_slice(&start);
        Ok(file)
    }
}

impl Section {
    fn is_of_programs(&self) -> bool {
        self.kind == PROGBITS && self.flags & EXECUTABLE != 0 && self.name != SHARED
    }

    fn is_for(&self, section: usize) -> bool {
        self.kind == REL && self.info == section
    }

    fn is_for_debuggers(&self) -> bool {
        [".debug_", ".rel.debug_"]
            .iter()
            .any(|prefix| self.name.starts_with(prefix))
    }
}

/// A section of programs that have moved.
#[derive(Default)]
struct Moved {
    content: Vec<u8>,
    /// Where each slot is now.
    slots: HashMap<usize, usize>,
    /// Where each program begins now, by where it began.
    starts: HashMap<usize, usize>,
    /// Slots that load an address and have no relocation yet.
    loads: Vec<usize>,
}

impl Moved {
    fn slot(&self, before: usize) -> Result<usize> {
        let now = self.slots.get(&before).copied();
        now.context("something is about a slot of no program")
    }
}

/// Which records of `.BTF.ext`, by where its header says where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Info {
    Functions = 0,
    Lines = 1,
}

impl Info {
    /// Bytes of a record that are known here: `struct bpf_func_info` and `bpf_line_info`.
    const fn length(self) -> usize {
        match self {
            Self::Functions => 8,
            Self::Lines => 16,
        }
    }
}

#[cfg(test)]
mod tests;
