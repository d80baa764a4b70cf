//! A small reader of BTF, the kernel's description of its own types: answers where a structure keeps a
//! member, bit-fields included.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h. Input is untrusted: every offset is
//! checked, nesting and indirection are bounded, and a malformed section is an error, never a panic.

use tfo_common::layout::FieldLoc;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// How deep anonymous members and chains of modifiers are followed.
const MAX_DEPTH: u32 = 16;
/// Members that are looked at for one name. `task_struct` has 300; a structure that contains itself twice would have as many
/// as the depth allows, 2^16, and one with more of them would never be through.
const MAX_LOOKS: u32 = 65_536;

/// `BTF_KIND_*`.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Why a BTF section cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// Shorter than its header says.
    #[error("truncated at byte {0}")]
    Truncated(usize),
    /// Not BTF, or of the other byte order.
    #[error("not BTF of this host's byte order (magic {0:#06x})")]
    Magic(u16),
    /// A kind this reader does not know: the types behind it cannot be found.
    #[error("unknown type kind {0}")]
    Kind(u32),
}

/// An indexed BTF section.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of every type in `types`; type ids start at 1.
    offsets: Vec<u32>,
}

/// The fixed part of a type.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    info: u32,
    /// Size in bytes, or the type referred to (`size_or_type` in btf.h).
    operand: u32,
    /// Where its members begin in the type section.
    body: usize,
}

impl Type {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn members(self) -> usize {
        (self.info & 0xffff) as usize
    }

    fn has_bit_fields(self) -> bool {
        self.info >> 31 == 1
    }
}

/// One member found: its type and place.
struct Found {
    type_id: u32,
    /// From the start of the outer structure, in bits.
    bits: u64,
    /// Width of a bit-field; 0 for an ordinary member.
    width: u8,
}

impl<'a> Btf<'a> {
    /// Indexes a section.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let magic = u16_at(data, 0)?;
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let header = u32_at(data, 4)? as usize;
        let types = section(data, header, u32_at(data, 8)?, u32_at(data, 12)?)?;
        let strings = section(data, header, u32_at(data, 16)?, u32_at(data, 20)?)?;
        let mut offsets = Vec::new();
        let mut at = 0;
        while at < types.len() {
            offsets.push(u32::try_from(at).map_err(|_| BtfError::Truncated(at))?);
            let found = type_at(types, at)?;
            at = found.body + body_len(found)?;
        }
        Ok(Self {
            types,
            strings,
            offsets,
        })
    }

    /// Where `container` (a struct or union) keeps the member at the dotted `path`; `None` when this kernel
    /// has no such member. Members of anonymous structs and unions count as the outer one's.
    pub fn member(&self, container: &str, path: &str) -> Option<FieldLoc> {
        let mut type_id = self.struct_named(container)?;
        let mut bits = 0;
        let mut width = 0;
        for part in path.split('.') {
            let outer = self.strip(type_id)?;
            let mut looks = MAX_LOOKS;
            let found = self.find(outer, part, MAX_DEPTH, &mut looks)?;
            bits += found.bits;
            width = found.width;
            type_id = found.type_id;
        }
        if width == 0 {
            let size = self.size(type_id).unwrap_or(0);
            let bytes = u32::try_from(bits / 8).ok()?;
            return Some(FieldLoc {
                byte: bytes,
                bit: 0,
                width: size.saturating_mul(8).min(255) as u8,
                pad: 0,
            });
        }
        let bit = (bits % 8) as u8;
        // A bit-field over a byte boundary is none of those we read; better absent than wrong.
        if u16::from(bit) + u16::from(width) > 8 {
            return None;
        }
        Some(FieldLoc {
            byte: u32::try_from(bits / 8).ok()?,
            bit,
            width,
            pad: 0,
        })
    }

    /// Whether there is a type of any kind with this name.
    pub fn has_type(&self, name: &str) -> bool {
        self.ids().any(|(_, found)| self.is_named(found, name))
    }

    /// Size of a struct or union in bytes; `None` when this kernel has none of that name.
    pub fn size_of(&self, name: &str) -> Option<u32> {
        u32::try_from(self.size(self.struct_named(name)?)?).ok()
    }

    /// Value of an enumerator, of whatever enumeration; `None` when this kernel has none of that name.
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        let mut enums = self.ids().filter(|(_, found)| found.kind() == kind::ENUM);
        enums.find_map(|(_, found)| {
            (0..found.members()).find_map(|index| {
                let at = found.body + index * 8;
                let is_it = self.string(u32_at(self.types, at).ok()?)? == name.as_bytes();
                is_it.then(|| u32_at(self.types, at + 4).ok())?
            })
        })
    }

    fn ids(&self) -> impl Iterator<Item = (u32, Type)> + '_ {
        (1u32..)
            .zip(&self.offsets)
            .filter_map(|(id, at)| Some((id, type_at(self.types, *at as usize).ok()?)))
    }

    fn struct_named(&self, name: &str) -> Option<u32> {
        self.ids()
            .find(|(_, found)| {
                matches!(found.kind(), kind::STRUCT | kind::UNION)
                    && found.members() > 0
                    && self.is_named(*found, name)
            })
            .map(|(id, _)| id)
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.offsets.get(id.checked_sub(1)? as usize)?;
        type_at(self.types, at as usize).ok()
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.operand;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn find(&self, outer: Type, name: &str, depth: u32, looks: &mut u32) -> Option<Found> {
        if depth == 0 || name.is_empty() || !matches!(outer.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..outer.members()).find_map(|index| {
            *looks = looks.checked_sub(1)?;
            let at = outer.body + index * 12;
            let member_name = u32_at(self.types, at).ok()?;
            let type_id = u32_at(self.types, at + 4).ok()?;
            let offset = u32_at(self.types, at + 8).ok()?;
            let (bits, width) = if outer.has_bit_fields() {
                (u64::from(offset & 0x00ff_ffff), (offset >> 24) as u8)
            } else {
                (u64::from(offset), 0)
            };
            if self.string(member_name)? == name.as_bytes() {
                return Some(Found { type_id, bits, width });
            }
            if !self.string(member_name)?.is_empty() {
                return None;
            }
            let inner = self.find(self.strip(type_id)?, name, depth - 1, looks)?;
            Some(Found {
                bits: bits + inner.bits,
                ..inner
            })
        })
    }

    /// Size of a type in bytes, where it has one.
    fn size(&self, id: u32) -> Option<u64> {
        self.size_within(id, MAX_DEPTH)
    }

    fn size_within(&self, id: u32, depth: u32) -> Option<u64> {
        let found = self.strip(id)?;
        match found.kind() {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Some(u64::from(found.operand))
            }
            kind::PTR => Some(8),
            kind::ARRAY if depth > 0 => {
                let element = u32_at(self.types, found.body).ok()?;
                let count = u32_at(self.types, found.body + 8).ok()?;
                self.size_within(element, depth - 1)?
                    .checked_mul(u64::from(count))
            }
            _ => None,
        }
    }

    fn is_named(&self, found: Type, name: &str) -> bool {
        self.string(found.name) == Some(name.as_bytes())
    }

    /// The zero-terminated string at an offset.
    fn string(&self, at: u32) -> Option<&'a [u8]> {
        let tail = self.strings.get(at as usize..)?;
        let end = tail.iter().position(|byte| *byte == 0)?;
        tail.get(..end)
    }
}

fn section(data: &[u8], header: usize, at: u32, len: u32) -> Result<&[u8], BtfError> {
    let start = header.saturating_add(at as usize);
    data.get(start..start.saturating_add(len as usize))
        .ok_or(BtfError::Truncated(start))
}

fn type_at(types: &[u8], at: usize) -> Result<Type, BtfError> {
    Ok(Type {
        name: u32_at(types, at)?,
        info: u32_at(types, at + 4)?,
        operand: u32_at(types, at + 8)?,
        body: at + 12,
    })
}

/// Bytes that follow the fixed part.
fn body_len(found: Type) -> Result<usize, BtfError> {
    let count = found.members();
    Ok(match found.kind() {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
        kind::ENUM | kind::FUNC_PROTO => count * 8,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        other => return Err(BtfError::Kind(other)),
    })
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, BtfError> {
    let bytes = data
        .get(at..at.saturating_add(2))
        .ok_or(BtfError::Truncated(at))?;
    Ok(u16::from_ne_bytes([bytes[0], bytes[1]]))
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data
        .get(at..at.saturating_add(4))
        .ok_or(BtfError::Truncated(at))?;
    Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests;
