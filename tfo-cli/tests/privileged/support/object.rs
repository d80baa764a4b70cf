//! A foreign BPF object, assembled without a compiler: one program, its maps and their relocations.

use anyhow::{Context, Result};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Relocation, RelocationFlags, SectionId, Symbol, SymbolId, SymbolSection},
};

/// Name of the program.
pub const NAME: &str = "foreign";
/// Name of the map: an array of `u64`.
pub const COUNTS: &str = "COUNTS";

/// One instruction: opcode, registers (source in the high four bits), offset, immediate.
pub fn instruction(opcode: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    [opcode, registers, o0, o1, i0, i1, i2, i3]
}

/// A map of the object.
pub struct MapOf<'a> {
    pub name: &'a str,
    /// `struct bpf_map_def`: type, bytes of a key and of a value, entries, flags.
    pub definition: [u32; 5],
    /// Numbers of the instructions that load its address.
    pub loads: &'a [usize],
}

/// The object with counters alone. `load_map`: number of the instruction that loads the map's address; `entries`: how many
/// counters.
pub fn with_counts(kind: &str, code: &[u8], load_map: usize, entries: u32) -> Result<Vec<u8>> {
    with_maps(kind, code, &[counts(entries, &[load_map])])
}

/// The counters.
pub fn counts(entries: u32, loads: &[usize]) -> MapOf<'_> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    MapOf {
        name: COUNTS,
        definition: [BPF_MAP_TYPE_ARRAY, 4, 8, entries, 0],
        loads,
    }
}

/// The object. `kind`: name of the section, by which loaders know what the program is.
pub fn with_maps(kind: &str, code: &[u8], all: &[MapOf<'_>]) -> Result<Vec<u8>> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let program = section(&mut elf, kind, SectionKind::Text, code);
    let maps = elf.add_section(Vec::new(), "maps".into(), SectionKind::Data);
    section(&mut elf, "license", SectionKind::Data, b"GPL\0");
    symbol(&mut elf, NAME, (program, 0), SymbolKind::Text, code.len());
    for map in all {
        // Two more members, an id and how it is pinned: neither.
        let fields = map.definition.into_iter().chain([0, 0]);
        let definition: Vec<u8> = fields.flat_map(u32::to_le_bytes).collect();
        let at = elf.append_section_data(maps, &definition, 4);
        let map_symbol = symbol(&mut elf, map.name, (maps, at), SymbolKind::Data, definition.len());
        for load in map.loads {
            let relocation = Relocation {
                offset: 8 * *load as u64,
                symbol: map_symbol,
                addend: 0,
                flags: RelocationFlags::Elf {
                    r_type: object::elf::R_BPF_64_64,
                },
            };
            elf.add_relocation(program, relocation)
                .context("foreign program: relocation")?;
        }
    }
    elf.write().context("foreign program: making the object")
}

fn section(elf: &mut Object<'_>, name: &str, kind: SectionKind, data: &[u8]) -> SectionId {
    let id = elf.add_section(Vec::new(), name.into(), kind);
    elf.append_section_data(id, data, 8);
    id
}

/// `place`: a section, and where in it.
fn symbol(
    elf: &mut Object<'_>,
    name: &str,
    (section, value): (SectionId, u64),
    kind: SymbolKind,
    size: usize,
) -> SymbolId {
    elf.add_symbol(Symbol {
        name: name.into(),
        value,
        size: size as u64,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    })
}
