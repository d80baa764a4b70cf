//! Loading the enforcement programs with pinned maps, and attaching them for good.

use std::{fs, os::fd::AsFd as _, path::Path};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::ProgramArray,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, ProgramFd, SchedClassifier, SockOps,
        links::FdLink,
    },
    util::nr_cpus,
};
use tfo_common::policy;

use super::{
    super::{Error as KernelError, cgroup::Cgroup, layout, object, programs, sys},
    Error,
    bpffs::Directory,
    pins, strip,
};

/// Creates and pins the maps, or takes those that are pinned, and loads the programs.
pub fn load(directory: &Directory) -> Result<Ebpf, Error> {
    let (layout, _) = layout::resolve()?;
    let btf = Btf::from_sys_fs().map_err(|error| KernelError::NoBtf {
        why: error.to_string(),
    })?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf));
    for name in policy::MAPS {
        loader.map_pin_path(name, directory.pin(name));
    }
    let cpus = nr_cpus().map_or(1, |cpus| u32::try_from(cpus).unwrap_or(u32::MAX));
    for (name, wanted) in policy::LRU_MAPS {
        loader.map_max_entries(name, lru_entries(wanted, cpus));
    }
    let mut ebpf = loader
        .load(object::Prepared::new(object::policy_bytes()?, &layout).bytes())
        .map_err(|error| KernelError::Load {
            why: programs::chain(&error),
        })?;
    load_programs(&mut ebpf, directory)?;
    Ok(ebpf)
}

/// Entries of an LRU map. A CPU takes free ones in blocks of 128 and keeps them (`bpf_common_lru_pop_free`,
/// `kernel/bpf/bpf_lru_list.c`): with fewer than that for each possible CPU, some would have none but their own newest.
/// Twice as many leave something to choose from.
fn lru_entries(wanted: u32, possible_cpus: u32) -> u32 {
    wanted.max(possible_cpus.saturating_mul(2 * 128))
}

/// Hands the programs to the kernel, so that what it refuses is known before anything is attached, and pins the
/// classifier where this kernel takes it.
fn load_programs(ebpf: &mut Ebpf, directory: &Directory) -> Result<(), Error> {
    let refused = |program| move |error| programs::refused("load", program, &error);
    let sock_ops: &mut SockOps = programs::find(ebpf, policy::PROG_SOCK_OPS)?;
    sock_ops.load().map_err(refused(policy::PROG_SOCK_OPS))?;
    let judge: &mut SockOps = programs::find(ebpf, policy::PROG_JUDGE)?;
    judge.load().map_err(refused(policy::PROG_JUDGE))?;
    let judge = judge.fd().and_then(|fd| Ok(fd.try_clone()?));
    let judge = judge.map_err(refused(policy::PROG_JUDGE))?;
    let tails = ebpf.map_mut(policy::TAILS).ok_or(KernelError::Load {
        why: format!("the object has no map {}", policy::TAILS),
    })?;
    // Before anything is attached: what jumps there does nothing while it is empty.
    ProgramArray::try_from(tails)
        .and_then(|mut tails| tails.set(0, &judge, 0))
        .map_err(|error| Error::map("fill", policy::TAILS.into(), &error))?;
    let egress: &mut CgroupSkb = programs::find(ebpf, policy::PROG_EGRESS)?;
    egress.load().map_err(refused(policy::PROG_EGRESS))?;
    let strip: &mut SchedClassifier = programs::find(ebpf, policy::PROG_STRIP)?;
    // A kernel whose verifier refuses it can still do everything else: only a `strip` rule is refused, when it is
    // to be attached.
    if strip.load().is_err() {
        return Ok(());
    }
    // A pin of an earlier build has its place taken in one step.
    directory.unpin(pins::NEXT)?;
    let next = directory.pin(pins::NEXT);
    strip
        .pin(&next)
        .map_err(|error| pin_failed(pins::PROG_STRIP, &error))?;
    let pin = directory.pin(pins::PROG_STRIP);
    fs::rename(&next, &pin).map_err(Error::io("pin", pin.display().to_string()))
}

/// Puts the programs of this build into the pinned links, with the pinned maps. Evidence first: what is denied after
/// that has its push.
pub fn replace(directory: &Directory) -> Result<(), Error> {
    let mut ebpf = load(directory)?;
    let sock_ops: &mut SockOps = programs::find(&mut ebpf, policy::PROG_SOCK_OPS)?;
    into_link(directory, pins::LINK_SOCK_OPS, sock_ops.fd())?;
    let egress: &mut CgroupSkb = programs::find(&mut ebpf, policy::PROG_EGRESS)?;
    into_link(directory, pins::LINK_EGRESS, egress.fd())?;
    strip::replace(directory)
}

fn into_link(
    directory: &Directory,
    pin: &str,
    program: Result<&ProgramFd, ProgramError>,
) -> Result<(), Error> {
    let program = program.map_err(|error| pin_failed(pin, &error))?;
    let link = sys::object_get(&directory.pin(pin)).map_err(Error::io("open", pin))?;
    sys::link_update(link.as_fd(), program.as_fd()).map_err(Error::io("replace the program of", pin))
}

/// Attaches `sock_ops` first (without it a denied socket may stall) and egress last. Cgroup links are always
/// "multi"; aya's other modes are refused by the kernel (EINVAL).
pub fn attach(ebpf: &mut Ebpf, directory: &Directory, cgroup: &Cgroup) -> Result<(), Error> {
    let refused = |program| move |error| programs::refused("attach", program, &error);
    let sock_ops: &mut SockOps = programs::find(ebpf, policy::PROG_SOCK_OPS)?;
    let id = sock_ops
        .attach(cgroup, CgroupAttachMode::Single)
        .map_err(refused(policy::PROG_SOCK_OPS))?;
    let link = sock_ops.take_link(id).map_err(refused(policy::PROG_SOCK_OPS))?;
    pin(FdLink::try_from(link), &directory.pin(pins::LINK_SOCK_OPS))?;

    let egress: &mut CgroupSkb = programs::find(ebpf, policy::PROG_EGRESS)?;
    let id = egress
        .attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)
        .map_err(refused(policy::PROG_EGRESS))?;
    let link = egress.take_link(id).map_err(refused(policy::PROG_EGRESS))?;
    pin(FdLink::try_from(link), &directory.pin(pins::LINK_EGRESS))
}

/// Pins a link.
pub fn pin(link: Result<FdLink, aya::programs::links::LinkError>, path: &Path) -> Result<(), Error> {
    let name = path.display().to_string();
    let link = link.map_err(|error| pin_failed(&name, &error))?;
    // The kernel's link lives on with the pin; our descriptor closes.
    link.pin(path)
        .map(drop)
        .map_err(|error| pin_failed(&name, &error))
}

/// Pinning failed.
pub fn pin_failed(name: &str, error: &dyn std::error::Error) -> Error {
    Error::Io {
        operation: "pin",
        object: name.to_owned(),
        source: std::io::Error::other(programs::chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cpu_is_left_without_elements() {
        for (wanted, cpus, entries) in [
            (65_536, 1, 65_536),
            (65_536, 256, 65_536),
            (65_536, 512, 131_072),
            (1_024, 2, 1_024),
            (1_024, 8, 2_048),
            (1_024, u32::MAX, u32::MAX),
        ] {
            assert_eq!(lru_entries(wanted, cpus), entries, "{wanted} on {cpus}");
        }
    }
}
