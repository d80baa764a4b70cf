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
const STATE_CB: u8 = 10;
const HDR_OPT_LEN_CB: u8 = 14;
const SK: u8 = 184;
/// What else goes into a record: ports, addresses, the smoothed round-trip time, and counts of segments.
const FIELDS: [u8; 14] = [64, 68, 24, 28, 20, 80, 136, 140, 144, 148, 152, 116, 72, 0];
const RTO: u8 = 1;
const RETRANS: u8 = 2;
const STATE: u8 = 4;
const WRITE: u8 = 64;
/// `bpf_sock_ops_cb_flags_set`.
const FLAGS_SET: u8 = 59;
/// `bpf_ktime_get_ns`.
const KTIME: u8 = 5;
/// `register = address`, in two instructions.
const ADDRESS: u8 = 0x18;

/// Registers: what a helper is given first and second, and two that it leaves alone.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const CONTEXT: u8 = 6;
const OPERATION: u8 = 7;
const PLACE: u8 = 8;
const RECORD: u8 = 9;

/// Bytes of all records: 65,536 of 128.
pub const RECORDS: u64 = 65_536 * 128;

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
    answering(asking_parts([Vec::new(), Vec::new(), Vec::new(), Vec::new()]))
}

/// As [`asking`], and it writes down what it sees of a connection, at the place of its socket: the times of the SYN, of its answer and
/// of the first byte, and fourteen words once the connection is there. Nobody reads them, and no end of a socket is looked at:
/// whoever keeps a record of each connection can cost no less. With the code come the places where it has the records' address.
pub fn recording() -> (Vec<u8>, Vec<u64>) {
    let full: Vec<_> = [clock(8)]
        .into_iter()
        .chain((0..FIELDS.len()).map(|index| {
            let [offset, ..] = (16 + 8 * index).to_le_bytes();
            vec![load(SECOND, FIELDS[index]), store(SECOND, offset)]
        }))
        .flatten()
        .collect();
    let parts = [clock(0), full.clone(), full, clock(16)].map(|part| [place(), part].concat());
    let code = answering(asking_parts(parts));
    let at = code.chunks(8).enumerate();
    let at = at.filter(|(_, instruction)| instruction[0] == ADDRESS);
    let places = at.map(|(index, _)| 8 * index as u64).collect();
    (code, places)
}

/// Of `sock_ops`: asks for the next change of the state of each connection that is made, and gives that back.
pub fn state() -> Vec<u8> {
    answering([(TCP_CONNECT_CB, ask(STATE)), (STATE_CB, ask(0))])
}

/// The parts of [`asking`], of which those for the SYN, its answer, the same of a server, and the first byte begin with these.
fn asking_parts(
    [syn, answer, child, first_byte]: [Vec<Instruction>; 4],
) -> impl IntoIterator<Item = (u8, Vec<Instruction>)> {
    let header = [
        // That of a SYN-ACK, which is a request's, or one that comes before any data.
        vec![load(SECOND, IS_FULLSOCK), unless_zero(SECOND, 2)],
        leave(1),
        vec![load(SECOND, DATA_SEGS_IN), unless_zero(SECOND, 2)],
        leave(1),
        first_byte,
        ask(RTO),
    ]
    .concat();
    [
        (TCP_LISTEN_CB, ask(WRITE)),
        (TCP_CONNECT_CB, [syn, ask(RTO | RETRANS)].concat()),
        (ACTIVE_ESTABLISHED_CB, [answer, ask(RTO | WRITE)].concat()),
        (PASSIVE_ESTABLISHED_CB, [child, ask(RTO | WRITE)].concat()),
        (HDR_OPT_LEN_CB, header),
    ]
}

/// A program that does one of these parts, whichever it is called for. Each part ends by itself.
fn answering(parts: impl IntoIterator<Item = (u8, Vec<Instruction>)>) -> Vec<u8> {
    let mut code = vec![copy(CONTEXT, FIRST), load(OPERATION, OP)];
    for (op, part) in parts {
        let [length, ..] = part.len().to_le_bytes();
        code.push(unless_equal(OPERATION, op, length));
        code.extend(part);
    }
    code.extend(leave(1));
    code.concat()
}

/// Where the record of the context's socket is. Sockets of one slab lie 2 KiB apart and more, so records of neighbours are neighbours.
fn place() -> Vec<Instruction> {
    vec![
        [0x79, CONTEXT << 4 | PLACE, SK, 0, 0, 0, 0, 0],
        // What a pointer is the verifier forgets when its sign is changed.
        [0x87, PLACE, 0, 0, 0, 0, 0, 0],
        [0x87, PLACE, 0, 0, 0, 0, 0, 0],
        [0x77, PLACE, 0, 0, 11, 0, 0, 0],
        [0x57, PLACE, 0, 0, 0xff, 0xff, 0, 0],
        [0x67, PLACE, 0, 0, 7, 0, 0, 0],
        [ADDRESS, RECORD, 0, 0, 0, 0, 0, 0],
        [0; 8],
        [0x0f, PLACE << 4 | RECORD, 0, 0, 0, 0, 0, 0],
    ]
}

/// `record[offset] = bpf_ktime_get_ns()`
fn clock(offset: u8) -> Vec<Instruction> {
    vec![[0x85, 0, 0, 0, KTIME, 0, 0, 0], store(0, offset)]
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

/// `record[offset] = register`, 64 bits.
const fn store(register: u8, offset: u8) -> Instruction {
    [0x7b, register << 4 | RECORD, offset, 0, 0, 0, 0, 0]
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
        for code in [asking(), recording().0, state()] {
            jumps_go_behind_an_end(&code);
        }
    }

    fn jumps_go_behind_an_end(code: &[u8]) {
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
