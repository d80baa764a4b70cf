//! The classifier as a filter of the clsact queueing discipline, for kernels before TCX.
//!
//! A filter belongs to its interface and outlives the process without a link. A second pin of the program records it: the
//! pin is made before the filter and removed after it. A command that is killed in between leaves a pin without a filter,
//! which the next command repairs. Priority and handle, which is the id of the program, tell the filter from those of
//! others.
//!
//! In direct-action mode the program's -1 (`TC_ACT_UNSPEC`) hands the packet to the next filter.

use std::{fs, io, mem};

use aya::programs::{
    SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions},
};
use nix::net::if_::if_indextoname;

use super::{
    super::{
        super::{
            netns::Id,
            tc::{self, Discipline},
        },
        bpffs::Directory,
    },
    How, Pin, program, refused, repin,
};

/// Priority of our filter: early, because one that ends the chain (`TC_ACT_OK`) would keep packets from us, and yet one
/// that nobody picks by chance. `tcf_auto_prio` (`net/sched/cls_api.c`) begins at 49152 and counts down.
const PRIORITY: u16 = 34;

/// Attaches the filter to an interface. Like all functions of this file, it works in the network namespace of the
/// calling thread.
pub fn attach(directory: &Directory, interface: &str, netns: Id, index: u32) -> io::Result<()> {
    let own = !has_discipline(index)?;
    let mut pin = Pin {
        how: How::Clsact { own },
        netns,
        index,
    };
    program(directory)?
        .pin(directory.pin(&pin.name()))
        .map_err(refused)?;
    let attached = ensure(directory, interface, &mut pin);
    if attached.is_err() {
        // The error of attaching says more than one of cleaning up would.
        let _ = detach(directory, pin);
        let _ = fs::remove_file(directory.pin(&pin.name()));
    }
    attached
}

/// Adds the clsact discipline and notes that it is ours, to be removed with the filter; unless another program adds one
/// at the same time.
fn add_discipline(directory: &Directory, pin: &mut Pin) -> io::Result<()> {
    note_owner(directory, pin, true)?;
    match tc::add_clsact(pin.index) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => note_owner(directory, pin, false),
        done => done,
    }
}

/// Notes in the name of the pin whether the discipline is ours.
fn note_owner(directory: &Directory, pin: &mut Pin, own: bool) -> io::Result<()> {
    let how = How::Clsact { own };
    if pin.how == how {
        return Ok(());
    }
    let before = directory.pin(&pin.name());
    pin.how = how;
    fs::rename(before, directory.pin(&pin.name()))
}

/// Makes the filter if it is missing: because a command was killed before it made it, or because another program has
/// removed the filter or the discipline.
pub fn ensure(directory: &Directory, interface: &str, pin: &mut Pin) -> io::Result<()> {
    let mut program = SchedClassifier::from_pin(directory.pin(&pin.name())).map_err(refused)?;
    let handle = program.info().map_err(refused)?.id();
    if !has_discipline(pin.index)? {
        add_discipline(directory, pin)?;
    } else if tc::egress_filters(pin.index)?.contains(&ours(handle)) {
        return Ok(());
    }
    let options = NlOptions {
        priority: PRIORITY,
        handle: handle.into(),
        classid: None,
    };
    let id = program
        .attach_with_options(interface, TcAttachType::Egress, TcAttachOptions::Netlink(options))
        .map_err(refused)?;
    // aya would detach it when this is dropped.
    mem::forget(program.take_link(id).map_err(refused)?);
    Ok(())
}

/// Replaces the filter that a pin records by one with the pinned classifier. For a moment there are both filters, which
/// makes no difference: the second finds no option. A command that is killed in that moment leaves the old filter until
/// the interface is gone.
pub fn replace(directory: &Directory, mut pin: Pin) -> io::Result<()> {
    let before = SchedClassifier::from_pin(directory.pin(&pin.name())).map_err(refused)?;
    let before = ours(before.info().map_err(refused)?.id());
    repin(directory, &pin.name())?;
    let name = if_indextoname(pin.index)?;
    ensure(directory, &name.to_string_lossy(), &mut pin)?;
    if tc::egress_filters(pin.index)?.contains(&before) {
        tc::delete_egress_filter(pin.index, before)?;
    }
    Ok(())
}

/// Removes the filter, and the discipline if it is ours and has no other filter.
pub fn detach(directory: &Directory, pin: Pin) -> io::Result<()> {
    let program = SchedClassifier::from_pin(directory.pin(&pin.name())).map_err(refused)?;
    let filter = ours(program.info().map_err(refused)?.id());
    if tc::discipline(pin.index)? != Discipline::Clsact {
        // Another program has removed the discipline, and our filter with it.
        return Ok(());
    }
    if tc::egress_filters(pin.index)?.contains(&filter) {
        tc::delete_egress_filter(pin.index, filter)?;
    }
    if pin.how == (How::Clsact { own: true }) && !tc::has_filters(pin.index)? {
        tc::delete_clsact(pin.index)?;
    }
    Ok(())
}

/// Whether there is a clsact discipline; the error says that another kind is in its place.
fn has_discipline(index: u32) -> io::Result<bool> {
    match tc::discipline(index)? {
        Discipline::None => Ok(false),
        Discipline::Clsact => Ok(true),
        Discipline::Other(kind) => Err(io::Error::other(format!(
            "it has the queueing discipline {kind}, which has no place for packets that leave"
        ))),
    }
}

fn ours(handle: u32) -> tc::Filter {
    tc::Filter {
        priority: PRIORITY,
        handle,
    }
}
