//! Programs that are nice to have, and what is said where the kernel refuses them.

use std::{os::fd::OwnedFd, path::Path, sync::Arc};

use aya::Ebpf;
use tfo_common::{
    layout::Feature,
    listener::Primed,
    maps::{PROG_GIVE_BACK, PROG_PRIME, PROG_RELEASE},
};

use super::{iterate::Pass, policy::GiveBack, programs};
use crate::model::source::Degradation;

/// Name and effect of the degradation when listeners cannot be primed.
pub const PRIMING: &str = "listener-priming";
pub const WITHOUT_PRIMING: &str = "on listeners that existed before the tool only accepted TFO connections are seen; \
    others are counted as lost (unprimed-listener)";

/// An iterator program that is nice to have.
pub fn iter(
    ebpf: &mut Ebpf,
    verified: &programs::Verified,
    name: &'static str,
    degradations: &mut Vec<Degradation>,
) -> Option<OwnedFd> {
    match programs::iter(ebpf, verified, name) {
        Ok(fd) => Some(fd),
        Err(error) => {
            let (name, without) = match name {
                PROG_PRIME => (PRIMING, WITHOUT_PRIMING),
                PROG_RELEASE => (
                    "flag-release",
                    "callback flags stay on sockets after the tool ends; without programs they do nothing",
                ),
                _ => ("listener-list", "listeners are not listed"),
            };
            degradations.push(Degradation {
                name,
                why: format!("{without} ({error})"),
            });
            None
        }
    }
}

/// The program that a policy may keep for us.
pub fn give_back(
    ebpf: &mut Ebpf,
    verified: &programs::Verified,
    bpffs: &Path,
    degradations: &mut Vec<Degradation>,
) -> Option<Arc<GiveBack>> {
    let program = programs::give_back(ebpf, verified).and_then(|program| {
        GiveBack::new(program, bpffs.to_path_buf())
            .map_err(|error| programs::refused("describe", PROG_GIVE_BACK, &error))
    });
    match program {
        Ok(program) => Some(Arc::new(program)),
        Err(error) => {
            degradations.push(Degradation {
                name: Feature::LeftFlags.name(),
                why: format!("{} ({error})", Feature::LeftFlags.describe()),
            });
            None
        }
    }
}

/// What priming could not do, if anything.
pub fn priming_degradation(pass: &Pass) -> Option<Degradation> {
    let refused = pass
        .listeners
        .iter()
        .filter(|record| record.primed == Primed::Refused as u8)
        .count();
    if refused == 0 && pass.failed.is_empty() {
        return None;
    }
    let failed = pass
        .failed
        .first()
        .map(|(inode, error)| format!(", netns {inode}: {error}"))
        .unwrap_or_default();
    Some(Degradation {
        name: PRIMING,
        why: format!(
            "{WITHOUT_PRIMING} (kernel refused {refused} of {} listeners; needs Linux 6.12{failed})",
            pass.listeners.len()
        ),
    })
}
