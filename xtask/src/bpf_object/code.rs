//! Instructions of a BPF program, and the blocks they form: what begins with the first is run to its end.
//!
//! Encoding: Documentation/bpf/standardization/instruction-set.rst. A slot is eight bytes: operation, registers, offset, number.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

/// An instruction, or the second half of one that loads 64 bits.
pub type Slot = [u8; 8];

/// `BPF_LD | BPF_IMM | BPF_DW`: two slots.
pub const LOAD_64: u8 = 0x18;
/// `BPF_JMP | BPF_JA`.
pub const JUMP: u8 = 0x05;
/// `BPF_JMP | BPF_CALL` and `BPF_EXIT`.
pub const CALL: u8 = 0x85;
/// See [`CALL`].
pub const EXIT: u8 = 0x95;

/// How a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In the one behind it.
    Falls,
    /// In the block that begins at this slot.
    Jumps(usize),
    /// There, or in the one behind it.
    Branches(usize),
    /// In the caller.
    Exits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub slots: Range<usize>,
    pub end: End,
}

/// The blocks of a program, in their order. What this does not know of is an error.
pub fn blocks(code: &[Slot]) -> Result<Vec<Block>> {
    let mut starts = BTreeSet::from([0]);
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(slot) = code.get(at) {
        let next = at + width(*slot);
        let end = end_of(*slot, at).with_context(|| format!("instruction {at}"))?;
        if end != End::Falls {
            starts.insert(next);
        }
        if let End::Jumps(to) | End::Branches(to) = end {
            starts.insert(to);
        }
        ends.push((next, end));
        at = next;
    }
    ensure!(at == code.len(), "the last instruction is half of one");
    starts.insert(at);
    let starts: Vec<usize> = starts.into_iter().collect();
    let block = |pair: &[usize]| {
        let index = ends.binary_search_by_key(&pair[1], |(next, _)| *next);
        let index = index.ok().context("a jump into the middle of an instruction")?;
        let (slots, end) = (pair[0]..pair[1], ends[index].1);
        Ok(Block { slots, end })
    };
    let blocks: Vec<Block> = starts.windows(2).map(block).collect::<Result<_>>()?;
    let falls_out = blocks
        .last()
        .is_some_and(|last| last.end != End::Exits && !matches!(last.end, End::Jumps(_)));
    ensure!(!falls_out, "the program runs out of its end");
    Ok(blocks)
}

/// Whether this calls one of our own functions (`BPF_PSEUDO_CALL`): from here, where no relocation says which.
pub const fn is_own_call(slot: Slot) -> bool {
    slot[0] == CALL && slot[1] >> 4 == 1
}

/// Slots of the instruction that begins with this one.
pub const fn width(slot: Slot) -> usize {
    if slot[0] == LOAD_64 { 2 } else { 1 }
}

fn end_of(slot: Slot, at: usize) -> Result<End> {
    let to = || {
        let distance = isize::from(i16::from_ne_bytes([slot[2], slot[3]]));
        (at + 1)
            .checked_add_signed(distance)
            .context("a jump to before the program")
    };
    Ok(match slot[0] {
        EXIT => End::Exits,
        JUMP => End::Jumps(to()?),
        CALL => End::Falls,
        operation if is_branch(operation) => End::Branches(to()?),
        operation if matches!(operation & 7, 5 | 6) => bail!("operation {operation:#x} is not known"),
        _ => End::Falls,
    })
}

/// `BPF_JEQ` to `BPF_JSLE` of 64 and of 32 bits.
pub const fn is_branch(operation: u8) -> bool {
    let (class, code) = (operation & 7, operation >> 4);
    matches!(class, 5 | 6) && matches!(code, 0x1..=0x7 | 0xa..=0xd)
}

/// The jump or branch that is `at` one slot, led to another.
pub fn aimed(slot: Slot, at: usize, to: usize) -> Result<Slot> {
    let distance = to.cast_signed() - at.cast_signed() - 1;
    let distance = i16::try_from(distance).context("a jump over more than 32,767 instructions")?;
    let [low, high] = distance.to_ne_bytes();
    let [operation, registers, _, _, a, b, c, d] = slot;
    Ok([operation, registers, low, high, a, b, c, d])
}

#[cfg(test)]
pub mod examples {
    use super::{EXIT, JUMP, Slot};

    /// An instruction with its registers, its offset and its number.
    pub fn slot(operation: u8, registers: u8, offset: i16, number: i8) -> Slot {
        let [low, high] = offset.to_ne_bytes();
        let [a, b, c, d] = i32::from(number).to_ne_bytes();
        [operation, registers, low, high, a, b, c, d]
    }

    /// `if r1 == 0 goto 3; r0 = 1; goto 4; (3) r0 = 2; (4) exit`, with a load of 64 bits before it.
    pub fn program() -> Vec<Slot> {
        vec![
            slot(0x18, 2, 0, 0),
            slot(0, 0, 0, 0),
            slot(0x15, 1, 2, 0),
            slot(0xb7, 0, 0, 1),
            slot(JUMP, 0, 1, 0),
            slot(0xb7, 0, 0, 2),
            slot(EXIT, 0, 0, 0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::examples::{program, slot};
    use super::*;

    #[test]
    fn finds_the_blocks() {
        let blocks = blocks(&program()).unwrap();
        let found: Vec<_> = blocks
            .iter()
            .map(|block| (block.slots.clone(), block.end))
            .collect();
        let want = [
            (0..3, End::Branches(5)),
            (3..5, End::Jumps(6)),
            (5..6, End::Falls),
            (6..7, End::Exits),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (code, why) in [
            (vec![slot(0x18, 2, 0, 0)], "half"),
            (vec![slot(0xb7, 0, 0, 1)], "runs out"),
            (vec![slot(JUMP, 0, -2, 0)], "before the program"),
            (vec![slot(0xe5, 0, 0, 0), slot(EXIT, 0, 0, 0)], "not known"),
            (
                vec![
                    slot(JUMP, 0, 1, 0),
                    slot(0x18, 2, 0, 0),
                    slot(0, 0, 0, 0),
                    slot(EXIT, 0, 0, 0),
                ],
                "middle",
            ),
        ] {
            let error = format!("{:#}", blocks(&code).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_jump_is_aimed_anew_and_not_too_far() {
        assert_eq!(aimed(slot(0x15, 1, 2, 7), 7, 5).unwrap(), slot(0x15, 1, -3, 7));
        assert!(aimed(slot(JUMP, 0, 0, 0), 0, 40_000).is_err());
    }
}
