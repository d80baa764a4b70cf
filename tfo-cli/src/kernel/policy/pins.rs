//! Names of the pins.

use super::{super::sys, Error, bpffs::Directory};
use std::os::fd::AsFd as _;

/// Link of the `sock_ops` program.
pub const LINK_SOCK_OPS: &str = "link-sockops";
/// Link of the egress program: the set is in force while it exists.
pub const LINK_EGRESS: &str = "link-egress";
/// The classifier.
pub const PROG_STRIP: &str = "prog-strip";
/// Where the classifier is attached, and how that was asked for.
pub const TCX: &str = "tcx-";

/// Whether a name is one of ours: nothing else is ever removed.
pub fn is_ours(name: &str) -> bool {
    [LINK_SOCK_OPS, LINK_EGRESS, PROG_STRIP].contains(&name)
        || name.starts_with(TCX)
        || tfo_common::policy::MAPS.contains(&name)
}

/// Detaches a pinned link at once and removes its pin. Removing the pin alone would leave it to a kernel
/// worker, and the program might run for a while after the command has ended.
pub fn detach(directory: &Directory, name: &str) -> Result<(), Error> {
    if let Ok(link) = sys::object_get(&directory.pin(name)) {
        // Fails where the interface or cgroup is gone: then nothing is attached either.
        let _ = sys::link_detach(link.as_fd());
    }
    directory.unpin(name)
}
