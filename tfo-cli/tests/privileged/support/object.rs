//! A foreign BPF object, assembled without a compiler: one program, one map of counters and one relocation.

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

/// `struct bpf_map_def`.
fn map_definition(entries: u32) -> Vec<u8> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let fields = [BPF_MAP_TYPE_ARRAY, 4, 8, entries, 0, 0, 0];
    fields.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// The object. `kind`: name of the section, by which loaders know what the program is; `load_map`: number of the
/// instruction that loads the map's address; `entries`: how many counters.
pub fn with_counts(kind: &str, code: &[u8], load_map: usize, entries: u32) -> Result<Vec<u8>> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let program = section(&mut elf, kind, SectionKind::Text, code);
    let definition = map_definition(entries);
    let maps = section(&mut elf, "maps", SectionKind::Data, &definition);
    section(&mut elf, "license", SectionKind::Data, b"GPL\0");
    symbol(&mut elf, NAME, program, SymbolKind::Text, code.len());
    let counts = symbol(&mut elf, COUNTS, maps, SymbolKind::Data, definition.len());
    let relocation = Relocation {
        offset: 8 * load_map as u64,
        symbol: counts,
        addend: 0,
        flags: RelocationFlags::Elf {
            r_type: object::elf::R_BPF_64_64,
        },
    };
    elf.add_relocation(program, relocation)
        .context("foreign program: relocation")?;
    elf.write().context("foreign program: making the object")
}

fn section(elf: &mut Object<'_>, name: &str, kind: SectionKind, data: &[u8]) -> SectionId {
    let id = elf.add_section(Vec::new(), name.into(), kind);
    elf.append_section_data(id, data, 8);
    id
}

fn symbol(elf: &mut Object<'_>, name: &str, section: SectionId, kind: SymbolKind, size: usize) -> SymbolId {
    elf.add_symbol(Symbol {
        name: name.into(),
        value: 0,
        size: size as u64,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    })
}
