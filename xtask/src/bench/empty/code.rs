//! Instructions of the programs that do nothing, and of one that only asks for callbacks.

/// One instruction, as the kernel takes it (Documentation/bpf/standardization/instruction-set.rst).
type Instruction = [u8; 8];

// Of `struct bpf_sock_ops` (include/uapi/linux/bpf.h): where its fields are, and what they say.
const OP: u8 = 0;
const IS_FULLSOCK: u8 = 72;
const DATA_SEGS_IN: u8 = 144;
const TCP_CONNECT_CB: u8 = 3;
const ACTIVE_ESTABLISHED_CB: u8 = 4;
const PASSIVE_ESTABLISHED_CB: u8 = 5;
const TCP_LISTEN_CB: u8 = 11;
const HDR_OPT_LEN_CB: u8 = 14;
const RTO: u8 = 1;
const RETRANS: u8 = 2;
const WRITE: u8 = 64;
/// `bpf_sock_ops_cb_flags_set`.
const FLAGS_SET: u8 = 59;

/// Registers: what a helper is given first and second, and two that it leaves alone.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const CONTEXT: u8 = 6;
const OPERATION: u8 = 7;

/// `return result`.
pub fn returning(result: u8) -> Vec<u8> {
    leave(result).concat()
}

/// As many instructions that do nothing, and `return 1`.
pub fn idle(instructions: usize) -> Vec<u8> {
    [vec![set(0, 1); instructions], leave(1)].concat().concat()
}

/// Of `sock_ops`: asks for the callbacks that the observer asks for where a connection has Fast Open, and does nothing with them.
/// These are the SYN-ACKs of listeners, a client's timer and repeated SYNs, and the headers of both ends until data has
/// come in. It has no map and looks at no socket: whoever watches by these callbacks can cost no less. Of plain connections
/// it asks for more than the observer does.
pub fn asking() -> Vec<u8> {
    let header = [
        // That of a SYN-ACK, which is a request's, or one that comes before any data.
        vec![load(SECOND, IS_FULLSOCK), unless_zero(SECOND, 2)],
        leave(1),
        vec![load(SECOND, DATA_SEGS_IN), unless_zero(SECOND, 2)],
        leave(1),
        ask(RTO),
    ]
    .concat();
    let parts = [
        (TCP_LISTEN_CB, ask(WRITE)),
        (TCP_CONNECT_CB, ask(RTO | RETRANS)),
        (ACTIVE_ESTABLISHED_CB, ask(RTO | WRITE)),
        (PASSIVE_ESTABLISHED_CB, ask(RTO | WRITE)),
        (HDR_OPT_LEN_CB, header),
    ];
    let mut code = vec![copy(CONTEXT, FIRST), load(OPERATION, OP)];
    for (op, part) in parts {
        let [length, ..] = part.len().to_le_bytes();
        code.push(unless_equal(OPERATION, op, length));
        code.extend(part);
    }
    code.extend(leave(1));
    code.concat()
}

/// `bpf_sock_ops_cb_flags_set(context, flags); return 1`.
fn ask(flags: u8) -> Vec<Instruction> {
    let mut code = vec![
        copy(FIRST, CONTEXT),
        set(SECOND, flags),
        [0x85, 0, 0, 0, FLAGS_SET, 0, 0, 0],
    ];
    code.extend(leave(1));
    code
}

fn leave(result: u8) -> Vec<Instruction> {
    vec![set(0, result), [0x95, 0, 0, 0, 0, 0, 0, 0]]
}

/// `register = number`.
const fn set(register: u8, number: u8) -> Instruction {
    [0xb7, register, 0, 0, number, 0, 0, 0]
}

/// `to = from`.
const fn copy(to: u8, from: u8) -> Instruction {
    [0xbf, from << 4 | to, 0, 0, 0, 0, 0, 0]
}

/// `register = *(u32 *)(context + field)`.
const fn load(register: u8, field: u8) -> Instruction {
    [0x61, CONTEXT << 4 | register, field, 0, 0, 0, 0, 0]
}

/// `if register != 0`, leaves so many instructions out.
const fn unless_zero(register: u8, count: u8) -> Instruction {
    unless_equal(register, 0, count)
}

/// `if register != number`, leaves so many instructions out.
const fn unless_equal(register: u8, number: u8, count: u8) -> Instruction {
    [0x55, register, count, 0, number, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_goes_behind_an_end() {
        let code = asking();
        assert_eq!(code.len() % 8, 0);
        let instructions: Vec<_> = code.chunks(8).collect();
        for (at, instruction) in instructions.iter().enumerate() {
            if instruction[0] == 0x55 {
                let target = at + 1 + usize::from(instruction[2]);
                assert!(target < instructions.len());
                // What is left out is left by its own end.
                assert_eq!(instructions[target - 1][0], 0x95);
            }
        }
        assert_eq!(instructions[instructions.len() - 1][0], 0x95);
    }
}
