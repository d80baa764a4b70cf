//! The classifier as a filter of the clsact queueing discipline, for kernels before TCX.
//!
//! A filter belongs to its interface and outlives us without a link; what remembers it is a second pin of the
//! program, made before the filter and removed after it. So a command that was killed in between leaves a pin whose
//! filter is missing, which the next one puts right. The filter is told from those of others by a priority of its
//! own and the id of the program as handle.
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

/// Attaches it. In the namespace of the calling thread, like everything here.
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
        // The error of attaching says more than one of this would.
        let _ = detach(directory, pin);
        let _ = fs::remove_file(directory.pin(&pin.name()));
    }
    attached
}

/// Makes a discipline that goes with us, unless somebody else is faster. Whoever the one before belonged to.
fn add_discipline(directory: &Directory, pin: &mut Pin) -> io::Result<()> {
    note_owner(directory, pin, true)?;
    match tc::add_clsact(pin.index) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => note_owner(directory, pin, false),
        done => done,
    }
}

/// Says in the pin's name whether the discipline is ours.
fn note_owner(directory: &Directory, pin: &mut Pin, own: bool) -> io::Result<()> {
    let how = How::Clsact { own };
    if pin.how == how {
        return Ok(());
    }
    let before = directory.pin(&pin.name());
    pin.how = how;
    fs::rename(before, directory.pin(&pin.name()))
}

/// Makes sure of the filter: also where a command was killed before it had made it, or where somebody has removed
/// the discipline.
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

/// Puts the pinned program in the place of the one that a pin remembers. For a moment both are there, which changes
/// nothing: the second finds no option. A command killed in that moment leaves the old filter until its interface goes.
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

/// Removes the filter, and the discipline if it was ours and nobody uses it by now.
pub fn detach(directory: &Directory, pin: Pin) -> io::Result<()> {
    let program = SchedClassifier::from_pin(directory.pin(&pin.name())).map_err(refused)?;
    let filter = ours(program.info().map_err(refused)?.id());
    if tc::discipline(pin.index)? != Discipline::Clsact {
        // Somebody has removed it, and our filter with it.
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

/// Whether there is a clsact discipline, or room for one.
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
