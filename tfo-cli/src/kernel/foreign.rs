//! Is a `sock_ops` program of somebody else loaded? Then callback flags may be theirs.

use aya::programs::loaded_programs;
use tfo_common::{
    maps::{PROG_SOCK_OPS, Part},
    policy,
};

/// `BPF_PROG_TYPE_SOCK_OPS` (include/uapi/linux/bpf.h).
const SOCK_OPS: u32 = 13;

/// Whether any loaded `sock_ops` program is not this tool's. When the kernel does not tell, assume so: then
/// nothing is taken away that may be another's.
pub fn sock_ops_loaded() -> bool {
    for program in loaded_programs() {
        let Ok(program) = program else { return true };
        if program.program_type() as u32 == SOCK_OPS && !is_ours(program.name()) {
            return true;
        }
    }
    false
}

/// The observer with its parts, or the policy: that one sets flags on clients only, and never on a listener.
fn is_ours(name: &[u8]) -> bool {
    let is = |ours: &str| name == ours.as_bytes();
    is(PROG_SOCK_OPS) || is(policy::PROG_SOCK_OPS) || Part::ALL.iter().any(|part| is(part.program()))
}
