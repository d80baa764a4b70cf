//! The classifier as a TCX link (Linux 6.6), which keeps its place among those of others.

use std::{io, os::fd::AsFd as _, path::Path};

use aya::{
    programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, links::FdLink, tc::TcAttachOptions},
    sys::SyscallError,
};

use super::{
    super::{super::sys, bpffs::Directory},
    program, refused,
};

/// Whether this kernel has TCX. One without answers EINVAL (`bpf_prog_query`, kernel/bpf/syscall.c).
pub fn is_there(interface: &str) -> bool {
    let answer = SchedClassifier::query_tcx(interface, TcAttachType::Egress);
    !matches!(
        answer,
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if io_error.raw_os_error() == Some(libc::EINVAL)
    )
}

/// Attaches it and pins the link. In the namespace of the calling thread.
pub fn attach(directory: &Directory, interface: &str, pin: &Path) -> io::Result<()> {
    let mut program = program(directory)?;
    let id = program
        .attach_with_options(
            interface,
            TcAttachType::Egress,
            // Before all others: one that ends the chain (TCX_PASS) would keep packets from us, and we always pass them
            // on.
            TcAttachOptions::TcxOrder(LinkOrder::first()),
        )
        .map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    let link = FdLink::try_from(link).map_err(refused)?;
    link.pin(pin).map(drop).map_err(refused)
}

/// Puts the pinned program into a pinned link. Its place among those of others stays.
pub fn replace(directory: &Directory, pin: &Path) -> io::Result<()> {
    let program = program(directory)?;
    let link = sys::object_get(pin)?;
    sys::link_update(link.as_fd(), program.fd().map_err(refused)?.as_fd())
}
