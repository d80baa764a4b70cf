//! Loads the enforcement programs with pinned maps, and attaches them so that they stay when the process ends.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::ProgramArray,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, ProgramFd, SchedClassifier, SockOps,
        links::FdLink,
    },
};
use tfo_common::{
    direct::Direct,
    layout::{FieldLoc, Layout},
    policy::{self, Tail},
};

use super::{
    super::{
        Error as KernelError,
        cgroup::Cgroup,
        direct::{self, Arrays},
        layout,
        neighbours::Hook,
        object, programs, sys,
    },
    Error,
    bpffs::Directory,
    pins, strip,
};

/// Creates and pins the maps, or opens those that are pinned, and loads the programs. Tells as well where this kernel has what they
/// read.
pub fn load(directory: &Directory) -> Result<(Ebpf, Layout), Error> {
    let (layout, _) = layout::resolve()?;
    let btf = Btf::from_sys_fs().map_err(|error| KernelError::NoBtf {
        why: error.to_string(),
    })?;
    let arrays = policy::DIRECT.iter().map(|array| open_array(directory, array));
    let arrays = Arrays(arrays.collect::<Result<_, _>>()?);
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf));
    for name in policy::maps() {
        loader.map_pin_path(name, directory.pin(name));
    }
    for (name, least) in policy::LRU_MAPS {
        loader.map_max_entries(name, sys::lru_entries(least)?);
    }
    let mut ebpf = loader
        .load(object::Prepared::new(object::policy_bytes()?, &layout, &arrays.made()).bytes())
        .map_err(|error| KernelError::Load {
            why: programs::chain(&error),
        })?;
    load_programs(&mut ebpf, directory)?;
    Ok((ebpf, layout))
}

/// Opens a pinned array that programs have the address of, or makes and pins it.
fn open_array(directory: &Directory, array: &Direct) -> Result<(OwnedFd, u32), Error> {
    let pin = directory.pin(array.name);
    if let Ok(there) = sys::object_get(&pin) {
        return Ok((there, array.entries));
    }
    let (made, entries) = direct::make(array).map_err(Error::io("make the map", array.name))?;
    sys::object_pin(made.as_fd(), &pin).map_err(Error::io("pin", array.name))?;
    Ok((made, entries))
}

/// Whether the programs can find a socket's guard when its handshake has ended: the cgroups above its own are pointers (from 6.1 on),
/// and its own is one without marks.
pub fn find_guards_later(layout: &Layout) -> bool {
    let chain = [
        layout.sk_cgroup,
        layout.cgroup_level,
        layout.cgroup_ancestors,
        layout.cgroup_kn,
        layout.kn_id,
    ];
    chain.into_iter().all(FieldLoc::is_present) && layout.sk_cgroup.bit == 0
}

/// Loads the programs into the kernel, so that a refusal is known before anything is attached, and pins the classifier
/// if this kernel accepts it.
fn load_programs(ebpf: &mut Ebpf, directory: &Directory) -> Result<(), Error> {
    let refused = |program| move |error| programs::refused("load", program, &error);
    let sock_ops: &mut SockOps = programs::find(ebpf, policy::PROG_SOCK_OPS)?;
    sock_ops.load().map_err(refused(policy::PROG_SOCK_OPS))?;
    for tail in Tail::ALL {
        let program: &mut SockOps = programs::find(ebpf, tail.name())?;
        program.load().map_err(refused(tail.name()))?;
        let program = program.fd().and_then(|fd| Ok(fd.try_clone()?));
        let program = program.map_err(refused(tail.name()))?;
        let tails = ebpf.map_mut(policy::TAILS).ok_or(KernelError::Load {
            why: format!("the object has no map {}", policy::TAILS),
        })?;
        // Before anything is attached: a tail call into an empty place would do nothing.
        ProgramArray::try_from(tails)
            .and_then(|mut tails| tails.set(tail as u32, &program, 0))
            .map_err(|error| Error::map("fill", policy::TAILS.into(), &error))?;
    }
    let egress: &mut CgroupSkb = programs::find(ebpf, policy::PROG_EGRESS)?;
    egress.load().map_err(refused(policy::PROG_EGRESS))?;
    let strip: &mut SchedClassifier = programs::find(ebpf, policy::PROG_STRIP)?;
    // A kernel whose verifier refuses the classifier can do everything else. A rule with `strip` then fails when the
    // classifier is to be attached.
    if strip.load().is_err() {
        return Ok(());
    }
    // Renaming replaces the pin of an earlier build in one step.
    directory.unpin(pins::NEXT)?;
    let next = directory.pin(pins::NEXT);
    strip
        .pin(&next)
        .map_err(|error| pin_failed(pins::PROG_STRIP, &error))?;
    let pin = directory.pin(pins::PROG_STRIP);
    fs::rename(&next, &pin).map_err(Error::io("pin", pin.display().to_string()))
}

/// Replaces the programs of the pinned links by those of this build, which use the pinned maps. `sock_ops` first, so that
/// sockets which the new egress program denies are pushed.
pub fn replace(directory: &Directory) -> Result<(), Error> {
    let (mut ebpf, _) = load(directory)?;
    let sock_ops: &mut SockOps = programs::find(&mut ebpf, policy::PROG_SOCK_OPS)?;
    replace_program(directory, pins::LINK_SOCK_OPS, sock_ops.fd())?;
    let egress: &mut CgroupSkb = programs::find(&mut ebpf, policy::PROG_EGRESS)?;
    replace_program(directory, pins::LINK_EGRESS, egress.fd())?;
    strip::replace(directory)
}

/// Replaces the program of a pinned link.
fn replace_program(
    directory: &Directory,
    pin: &str,
    program: Result<&ProgramFd, ProgramError>,
) -> Result<(), Error> {
    let program = program.map_err(|error| pin_failed(pin, &error))?;
    let link = sys::object_get(&directory.pin(pin)).map_err(Error::io("open", pin))?;
    sys::link_update(link.as_fd(), program.as_fd()).map_err(Error::io("replace the program of", pin))
}

/// Attaches `sock_ops` first, without which a denied socket may stall, and egress last. The mode is `Single` because
/// the kernel refuses flags for links (EINVAL): a cgroup link always lets other programs be attached beside it.
pub fn attach(ebpf: &mut Ebpf, directory: &Directory, cgroup: &Cgroup) -> Result<(), Error> {
    let refused = |program| move |error| programs::refused("attach", program, &error);
    let sock_ops: &mut SockOps = programs::find(ebpf, policy::PROG_SOCK_OPS)?;
    let id = sock_ops
        .attach(cgroup, CgroupAttachMode::Single)
        .map_err(|error| programs::not_attached(policy::PROG_SOCK_OPS, &error, cgroup, Hook::SockOps))?;
    let link = sock_ops.take_link(id).map_err(refused(policy::PROG_SOCK_OPS))?;
    pin(FdLink::try_from(link), &directory.pin(pins::LINK_SOCK_OPS))?;

    let egress: &mut CgroupSkb = programs::find(ebpf, policy::PROG_EGRESS)?;
    let id = egress
        .attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)
        .map_err(|error| programs::not_attached(policy::PROG_EGRESS, &error, cgroup, Hook::Egress))?;
    let link = egress.take_link(id).map_err(refused(policy::PROG_EGRESS))?;
    pin(FdLink::try_from(link), &directory.pin(pins::LINK_EGRESS))
}

/// Pins a link.
pub fn pin(link: Result<FdLink, aya::programs::links::LinkError>, path: &Path) -> Result<(), Error> {
    let name = path.display().to_string();
    let link = link.map_err(|error| pin_failed(&name, &error))?;
    // The pin keeps the link; our file descriptor is closed.
    link.pin(path)
        .map(drop)
        .map_err(|error| pin_failed(&name, &error))
}

/// The error for a pin that could not be made.
pub fn pin_failed(name: &str, error: &dyn std::error::Error) -> Error {
    Error::Io {
        operation: "pin",
        object: name.to_owned(),
        source: std::io::Error::other(programs::chain(error)),
    }
}
