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

/// Whether this kernel has TCX. A kernel without it answers EINVAL (`bpf_prog_query`, kernel/bpf/syscall.c).
pub fn is_supported(interface: &str) -> bool {
    let answer = SchedClassifier::query_tcx(interface, TcAttachType::Egress);
    !matches!(
        answer,
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if io_error.raw_os_error() == Some(libc::EINVAL)
    )
}

/// Attaches the classifier to an interface of the calling thread's network namespace, and pins the link.
pub fn attach(directory: &Directory, interface: &str, pin: &Path) -> io::Result<()> {
    let mut program = program(directory)?;
    let id = program
        .attach_with_options(
            interface,
            TcAttachType::Egress,
            // First of all programs: one before ours that ends the chain (TCX_PASS) would keep packets from us, while ours
            // always passes them on.
            TcAttachOptions::TcxOrder(LinkOrder::first()),
        )
        .map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    let link = FdLink::try_from(link).map_err(refused)?;
    link.pin(pin).map(drop).map_err(refused)
}

/// Replaces the program of a pinned link by the pinned classifier; its place among the programs of others stays.
pub fn replace(directory: &Directory, pin: &Path) -> io::Result<()> {
    let program = program(directory)?;
    let link = sys::object_get(pin)?;
    sys::link_update(link.as_fd(), program.fd().map_err(refused)?.as_fd())
}
