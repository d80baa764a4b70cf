//! Compare-and-exchange, an instruction that kernels before 5.12 refuse wherever it stands, even where no path leads to it.
//!
//! Programs that use it have a switch, a constant in the place of which user space puts whether this kernel has it, as it puts
//! the positions of members ([`crate::layout`]): the verifier then takes out what it rules out. Where there is no exchange user
//! space makes an addition of each as well, which every kernel has, and which nothing can reach.

use crate::constant::{self, word};

/// The constant that stands for the switch in compiled programs: the operand of a 64-bit load of a constant
/// (`BPF_LD | BPF_IMM | BPF_DW`). No other constant has its upper half.
pub const PLACEHOLDER: u64 = 0x7f0_70f1 << 32;

/// `BPF_STX | BPF_ATOMIC | BPF_DW` (include/uapi/linux/bpf.h): an atomic operation on eight bytes.
const ATOMIC: u8 = 0xdb;
/// `BPF_CMPXCHG`, which such an instruction has as its operand. That of an addition is 0.
const COMPARE_EXCHANGE: u32 = 0xf1;

/// Puts whether this kernel has the exchange in the place of every switch in an object file, and where it has not, additions
/// in the place of the exchanges. Returns how many switches and exchanges there were.
pub fn fill_in(object: &mut [u8], has: bool) -> (usize, usize) {
    let (mut switches, mut exchanges) = (0, 0);
    let mut at = 0;
    while at + 8 <= object.len() {
        let rest = &mut object[at..];
        if constant::loaded(rest) == Some(PLACEHOLDER) {
            constant::put(rest, u32::from(has));
            switches += 1;
        } else if is_exchange(rest) {
            if !has {
                rest[4..8].fill(0);
            }
            exchanges += 1;
        }
        at += 8;
    }
    (switches, exchanges)
}

/// Whether these bytes begin with an exchange at a pointer, as `compare_exchange` of the programs has it.
fn is_exchange(bytes: &[u8]) -> bool {
    bytes[0] == ATOMIC && bytes[2..4] == [0, 0] && word(bytes, 4) == COMPARE_EXCHANGE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r1 = value ll`; `r0 = cmpxchg_64(r1 + 0, r0, r2)`; `lock *(u64 *)(r1 + 0) += r2`.
    fn code(value: u64) -> [u8; 32] {
        let mut code = [0; 32];
        code[..16].copy_from_slice(&constant::load(value));
        code[16..24].copy_from_slice(&[0xdb, 0x21, 0, 0, 0xf1, 0, 0, 0]);
        code[24..].copy_from_slice(&[0xdb, 0x21, 0, 0, 0, 0, 0, 0]);
        code
    }

    #[test]
    fn a_kernel_that_has_it_keeps_it() {
        let mut object = code(PLACEHOLDER);
        assert_eq!(fill_in(&mut object, true), (1, 1));
        assert_eq!(object, code(1));
    }

    #[test]
    fn a_kernel_that_has_not_is_shown_additions() {
        let mut object = code(PLACEHOLDER);
        assert_eq!(fill_in(&mut object, false), (1, 1));
        let mut want = code(0);
        want[20] = 0;
        assert_eq!(object, want);
        assert_eq!(fill_in(&mut object, false), (0, 0));
    }

    #[test]
    fn nothing_else_is_touched() {
        let mut object = code(PLACEHOLDER + (1 << 32));
        assert_eq!(fill_in(&mut object, true), (0, 1));
        assert_eq!(object, code(PLACEHOLDER + (1 << 32)));
        for length in 0..24 {
            let mut object = [0xdb; 24];
            assert_eq!(fill_in(&mut object[..length], false), (0, 0));
        }
    }
}
