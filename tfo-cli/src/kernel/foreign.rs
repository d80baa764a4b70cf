//! Is a `sock_ops` program of somebody else loaded? Then callback flags may be theirs.

use aya::programs::loaded_programs;
use tfo_common::{
    maps::{PROG_GIVE_BACK, PROG_SOCK_OPS, Part},
    policy::{self, Tail},
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

/// The observer or the policy, each with the programs it jumps to. The policy sets flags on clients only, and never on a
/// listener.
fn is_ours(name: &[u8]) -> bool {
    let is = |ours: &str| name == ours.as_bytes();
    let parts = Part::ALL.iter().map(|part| part.program());
    let tails = Tail::ALL.iter().map(|tail| tail.name());
    let mut all = parts
        .chain(tails)
        .chain([PROG_SOCK_OPS, PROG_GIVE_BACK, policy::PROG_SOCK_OPS]);
    all.any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_ours_is_known_by_its_name() {
        for ours in [
            "tfo_sock_ops",
            "tfo_rare",
            "tfo_give_back",
            "tfo_pol_sockops",
            "tfo_pol_judge",
            "tfo_pol_connect",
        ] {
            assert!(is_ours(ours.as_bytes()), "{ours}");
        }
        for theirs in ["tfo_pol_judge2", "tfo", "foreign", ""] {
            assert!(!is_ours(theirs.as_bytes()), "{theirs}");
        }
    }
}
