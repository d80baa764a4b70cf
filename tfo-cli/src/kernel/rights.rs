//! Are we allowed to? Asked before anything is loaded, so that the answer names what is missing; and given up, as far as
//! nothing needs it any more, once everything is attached.

use std::{fs, sync::LazyLock};

use caps::{CapSet, Capability, CapsHashSet};

use super::Error;
use crate::model::source::{Degradation, Keep};

/// What observing needs: BPF programs and maps; reading kernel memory from them; attaching `sock_ops` to a cgroup.
const OBSERVER: [Capability; 3] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
];

/// What everything else needs in addition: entering network namespaces.
const NEEDED: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_ADMIN,
];

/// What the thread that keeps rights may need after attaching. `CAP_BPF`: before 5.19 no map can be read without it, where
/// `kernel.unprivileged_bpf_disabled` is set (commit c8644cd0efe7).
pub(super) const KEEPER: [Capability; 4] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_BPF,
];

/// First kernel that reads maps without `CAP_BPF`.
const READS_FREELY: (u32, u32) = (5, 19);

/// Without `CAP_SYS_ADMIN`, and without `CAP_SYS_PTRACE`.
const WITHOUT: [(Capability, &str, &str); 2] = [
    (
        Capability::CAP_SYS_ADMIN,
        "other-namespaces",
        "counters of other network namespaces are not read, listeners in them are neither listed nor seen before their first \
            accepted connection, callback flags stay on sockets, and the cost of the programs is not measured (CAP_SYS_ADMIN)",
    ),
    (
        Capability::CAP_SYS_PTRACE,
        "other-processes",
        "network namespaces are found only by their names and by processes that have no more rights than this one \
            (CAP_SYS_PTRACE)",
    ),
];

/// Checks the effective capabilities: those for everything that enters namespaces.
pub fn check() -> Result<(), Error> {
    check_all(&NEEDED)
}

/// Checks those without which nothing can be observed; what is missing beyond them is degraded.
pub fn check_observer() -> Result<Vec<Degradation>, Error> {
    check_all(&OBSERVER)?;
    let status = status()?;
    let absent = WITHOUT
        .iter()
        .filter(|(one, ..)| !missing(&status, &[*one]).is_empty());
    Ok(absent
        .map(|(_, name, why)| Degradation {
            name,
            why: (*why).to_owned(),
        })
        .collect())
}

/// Gives up every capability of the calling thread, and of those it starts from now on, that nothing needs any more.
pub fn give_up(keep: Keep) -> Result<(), Error> {
    let mut kept = Vec::new();
    if !reads_freely(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()) {
        kept.push(Capability::CAP_BPF);
    }
    if keep.files {
        kept.push(Capability::CAP_DAC_OVERRIDE);
    }
    keep_only(&kept)
}

/// Gives up every capability of the calling thread but these.
pub(super) fn keep_only(kept: &[Capability]) -> Result<(), Error> {
    let give_up = || -> Result<(), caps::errors::CapsError> {
        let permitted = caps::read(None, CapSet::Permitted)?;
        let left: CapsHashSet = kept
            .iter()
            .copied()
            .filter(|one| permitted.contains(one))
            .collect();
        // What a program started from here would get goes first: it must be less than what is permitted.
        caps::clear(None, CapSet::Inheritable)?;
        caps::set(None, CapSet::Effective, &left)?;
        caps::set(None, CapSet::Permitted, &left)
    };
    give_up().map_err(|error| Error::Io {
        operation: "give up",
        object: "capabilities".into(),
        source: std::io::Error::other(error),
    })
}

/// Whether this kernel tells `sock_ops` programs its task with its type ([`tfo_common::flags::Config::typed_task`]).
pub fn has_typed_task() -> bool {
    const SINCE: (u32, u32) = (5, 15);
    release() >= Some(SINCE)
}

/// Whether what a CPU does with a packet is never interrupted by what it does with another one. It may be with `PREEMPT_RT`, which
/// the kernel's version names.
pub fn softirqs_take_turns() -> bool {
    let version = fs::read_to_string("/proc/sys/kernel/version");
    // Where it cannot be read, they may not.
    version.is_ok_and(|version| !is_realtime(&version))
}

fn is_realtime(version: &str) -> bool {
    version.split_whitespace().any(|word| word == "PREEMPT_RT")
}

/// Whether programs may exchange ([`tfo_common::exchange`]) and give back by a store what they have taken so, as they do with
/// blocks of records ([`tfo_common::records`]): their verifier has to know the instruction, and this machine has to keep stores
/// in order. If not, rings take all records, and places for flows are taken and given back by additions.
pub fn has_exchange() -> bool {
    const SINCE: (u32, u32) = (5, 12);
    // Asked once for each program.
    static HAS: LazyLock<bool> = LazyLock::new(|| cfg!(target_arch = "x86_64") && release() >= Some(SINCE));
    *HAS
}

fn release() -> Option<(u32, u32)> {
    version(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|one: char| !one.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

/// Whether a kernel of this release reads maps without `CAP_BPF`.
fn reads_freely(release: &str) -> bool {
    version(release) >= Some(READS_FREELY)
}

fn check_all(needed: &[Capability]) -> Result<(), Error> {
    let missing = missing(&status()?, needed);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Rights {
            missing: missing.join(", "),
        })
    }
}

fn status() -> Result<String, Error> {
    fs::read_to_string("/proc/thread-self/status").map_err(|source| Error::Io {
        operation: "read",
        object: "/proc/thread-self/status".into(),
        source,
    })
}

/// Whether /proc shows what namespaces every process is in (`CAP_SYS_PTRACE`).
pub fn sees_into_processes() -> bool {
    status().is_ok_and(|status| missing(&status, &[Capability::CAP_SYS_PTRACE]).is_empty())
}

/// Effective capabilities, as bits; none where /proc does not tell.
pub fn capabilities() -> u64 {
    status().map_or(0, |status| effective(&status))
}

/// Names of the capabilities that `/proc/self/status` does not show as effective.
fn missing(status: &str, needed: &[Capability]) -> Vec<String> {
    let effective = effective(status);
    needed
        .iter()
        .filter(|one| effective >> one.index() & 1 == 0)
        .map(ToString::to_string)
        .collect()
}

fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let missing = |status| missing(status, &NEEDED);
        assert!(missing("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(missing("CapEff:\t0000000000000000\n").len(), 4);
        assert_eq!(missing("CapEff:\t000001ffffffefff\n"), ["CAP_NET_ADMIN"]);
        assert_eq!(missing("CapEff:\tnonsense\n").len(), 4);
        assert_eq!(missing("").len(), 4);
    }

    #[test]
    fn a_realtime_kernel_says_so() {
        assert!(is_realtime("#1 SMP PREEMPT_RT Debian 6.12.57-1 (2025-11-05)"));
        assert!(!is_realtime(
            "#1 SMP PREEMPT_DYNAMIC Debian 6.12.57-1 (2025-11-05)"
        ));
        assert!(!is_realtime(""));
    }

    #[test]
    fn maps_are_read_freely_from_5_19_on() {
        for (release, freely) in [
            ("5.10.0-46-cloud-amd64", false),
            ("5.18.19", false),
            ("5.19.0-rc1", true),
            ("6.1", true),
            ("10.0.1", true),
            ("", false),
            ("next", false),
        ] {
            assert_eq!(reads_freely(release), freely, "{release}");
        }
    }

    /// On a thread of its own, which may give up what it likes.
    #[test]
    fn what_is_given_up_is_gone() {
        let thread = std::thread::spawn(|| {
            let before = capabilities();
            keep_only(&[Capability::CAP_BPF]).expect("nobody needs a right to give one up");
            (before, capabilities())
        });
        let (before, after) = thread.join().expect("it ends");
        assert_eq!(after, before & 1 << Capability::CAP_BPF.index());
    }
}
