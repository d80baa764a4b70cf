//! Which `sock_ops` programs are loaded beside this observer's? Callback flags may be theirs, and they may take ours.

use aya::programs::loaded_programs;
use tfo_common::{
    maps::{PROG_GIVE_BACK, PROG_SOCK_OPS, Part},
    policy::{self, Tail},
};

/// `BPF_PROG_TYPE_SOCK_OPS` (include/uapi/linux/bpf.h).
const SOCK_OPS: u32 = 13;

/// The `sock_ops` programs that are loaded beside those of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// Some are not this tool's.
    pub foreign: bool,
    /// Some are another observer's: flags that it has set first are taken back for it when it is killed.
    pub observers: bool,
}

impl Others {
    /// What is assumed where the kernel does not tell: then nothing is taken away that may be another's.
    pub const UNKNOWN: Self = Self {
        foreign: true,
        observers: true,
    };

    /// Those that are loaded now.
    pub fn loaded() -> Self {
        let programs: Result<Vec<_>, _> = loaded_programs().collect();
        let Ok(programs) = programs else {
            return Self::UNKNOWN;
        };
        let sock_ops = programs
            .iter()
            .filter(|program| program.program_type() as u32 == SOCK_OPS);
        Self::among(sock_ops.map(aya::programs::ProgramInfo::name))
    }

    /// Those among the `sock_ops` programs with these names, of which one observer is this one.
    fn among<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut foreign, mut observers) = (false, 0);
        for name in names {
            foreign |= !is_ours(name);
            observers += u32::from(name == PROG_SOCK_OPS.as_bytes());
        }
        Self {
            foreign,
            observers: observers > 1,
        }
    }
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
    fn another_observer_is_none_of_ours_to_forget() {
        let among = |names: &[&'static str]| {
            let others = Others::among(names.iter().map(|name| name.as_bytes()));
            (others.foreign, others.observers)
        };
        assert_eq!(
            among(&["tfo_sock_ops", "tfo_rare", "tfo_pol_sockops"]),
            (false, false)
        );
        assert_eq!(among(&["tfo_sock_ops", "tfo_sock_ops"]), (false, true));
        assert_eq!(among(&["tfo_sock_ops", "theirs"]), (true, false));
    }

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
