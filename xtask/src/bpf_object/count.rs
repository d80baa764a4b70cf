//! Programs that count how often each of their blocks is run, for [`super::profile`]. They do what they did before, and are slower.

use anyhow::Result;

use super::code::{Block, CALL, EXIT, End, JUMP, LOAD_64, Slot, is_branch, width};
use super::place::{Placed, Placing};

/// Has each block add one to its counter, of which the first is at `first`. The program, and of each block the index of its
/// counter; `None` for one in which no two registers are free.
pub fn counted(code: &[Slot], blocks: &[Block], first: usize) -> Result<(Placed, Vec<Option<usize>>)> {
    let mut placing = Placing::default();
    let mut counters = Vec::with_capacity(blocks.len());
    let mut next = first;
    for (block, live) in blocks.iter().zip(live(code, blocks)) {
        placing.begin(block);
        let mut free = (0..10_u8).filter(|register| live >> register & 1 == 0);
        let counter = match (free.next(), free.next()) {
            (Some(address), Some(number)) => {
                let [a, b, c, d] = i32::try_from(next * size_of::<u64>())?.to_ne_bytes();
                placing.add_load([[LOAD_64, address, 0, 0, a, b, c, d], [0; 8]]);
                // number = *(u64 *)(address); number += 1; *(u64 *)(address) = number
                placing.add([0x79, address << 4 | number, 0, 0, 0, 0, 0, 0]);
                placing.add([0x07, number, 0, 0, 1, 0, 0, 0]);
                placing.add([0x7b, number << 4 | address, 0, 0, 0, 0, 0, 0]);
                next += 1;
                Some(next - 1)
            }
            _ => None,
        };
        counters.push(counter);
        placing.copy(code, block);
    }
    Ok((placing.end()?, counters))
}

/// Which registers each block, or what comes after it, reads before it writes them: one bit each.
fn live(code: &[Slot], blocks: &[Block]) -> Vec<u16> {
    let index_of = |slot: usize| blocks.binary_search_by_key(&slot, |block| block.slots.start).ok();
    let mut live = vec![0_u16; blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (index, block) in blocks.iter().enumerate().rev() {
            let at = |to: usize| index_of(to).map_or(0, |index| live[index]);
            let behind = live.get(index + 1).copied().unwrap_or(0);
            let mut now = match block.end {
                End::Falls => behind,
                End::Jumps(to) => at(to),
                End::Branches(to) => behind | at(to),
                End::Exits => 0,
            };
            for slot in instructions(code, block).into_iter().rev() {
                let (reads, writes) = registers(slot);
                now = now & !writes | reads;
            }
            changed |= now != live[index];
            live[index] = now;
        }
    }
    live
}

/// The instructions of a block, without second halves.
fn instructions(code: &[Slot], block: &Block) -> Vec<Slot> {
    let mut found = Vec::new();
    let mut at = block.slots.start;
    while at < block.slots.end {
        found.push(code[at]);
        at += width(code[at]);
    }
    found
}

/// Which registers an instruction reads and which it writes. One that is both read and written counts as read; where it is not
/// known better, as read and not written.
fn registers(slot: Slot) -> (u16, u16) {
    let operation = slot[0];
    let (to, from) = (1_u16 << (slot[1] & 15), 1_u16 << (slot[1] >> 4));
    let is_register = operation & 8 != 0;
    match operation & 7 {
        _ if operation == LOAD_64 => (0, to),
        _ if operation == JUMP => (0, 0),
        _ if operation == EXIT => (1, 0),
        // Arguments are r1 to r5, which are gone behind it, as is r0.
        _ if operation == CALL => (0b11_1110, 0b11_1111),
        _ if is_branch(operation) => (to | if is_register { from } else { 0 }, 0),
        // Arithmetic; 0xb0 is a move.
        4 | 7 if operation & 0xf0 == 0xb0 => (if is_register { from } else { 0 }, to),
        4 | 7 => (to | if is_register { from } else { 0 }, to),
        1 => (from, to),
        2 => (to, 0),
        // A store, or an atomic operation, which may compare with r0.
        _ => (to | from | 1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::code::{
        blocks,
        examples::{program, slot},
    };
    use super::*;

    #[test]
    fn registers_that_are_read_later_are_left_alone() {
        let code = program();
        let blocks = blocks(&code).unwrap();
        assert_eq!(live(&code, &blocks), [0b10, 0, 0, 1]);
    }

    #[test]
    fn what_follows_a_loop_is_live_in_it() {
        // r6 is read at the end, r7 only in the loop.
        let code = [
            slot(0x07, 7, 0, -1),
            slot(0x55, 7, -2, 0),
            slot(0xbf, 0x60, 0, 0),
            slot(EXIT, 0, 0, 0),
        ];
        let blocks = blocks(&code).unwrap();
        assert_eq!(live(&code, &blocks), [1 << 6 | 1 << 7, 1 << 6]);
    }

    #[test]
    fn each_block_counts_in_a_place_of_its_own_and_jumps_arrive_before_the_count() {
        let code = program();
        let (placed, counters) = counted(&code, &blocks(&code).unwrap(), 5).unwrap();
        assert_eq!(counters, [Some(5), Some(6), Some(7), Some(8)]);
        assert_eq!(placed.code.len(), code.len() + 4 * 5);
        assert_eq!(placed.loads, [0, 8, 15, 21]);
        // r0 and r2 in the first block, which reads r1; the counter at five times eight.
        assert_eq!(placed.code[0], slot(LOAD_64, 0, 0, 40));
        // The branch, and behind it the count of the block it leads to.
        assert_eq!(placed.code[7], slot(0x15, 1, 7, 0));
        assert_eq!(placed.from[15..20], [None; 5]);
        // In the last one r0 is the result.
        assert_eq!(placed.code[21][1], 1);
    }
}
