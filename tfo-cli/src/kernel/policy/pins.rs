//! Names of the pins, and the end of a pinned link.

use super::{super::sys, Error, bpffs::Directory};
use std::os::fd::AsFd as _;

/// Link of the `sock_ops` program.
pub const LINK_SOCK_OPS: &str = "link-sockops";
/// Link of the egress program: the policy is in force while this pin exists.
pub const LINK_EGRESS: &str = "link-egress";
/// The classifier that strips the option; missing where the kernel refuses it.
pub const PROG_STRIP: &str = "prog-strip";
/// A pin that is about to take the place of another one by being renamed.
pub const NEXT: &str = "next";
/// Where the classifier is attached, and where it is to be (see `strip::pin`).
pub const TCX: &str = "tcx-";
/// See [`TCX`].
pub const CLSACT: &str = "clsact-";
/// See [`TCX`].
pub const EVERY: &str = "every-";

/// Whether a name is one of ours: nothing else is ever removed.
pub fn is_ours(name: &str) -> bool {
    [LINK_SOCK_OPS, LINK_EGRESS, PROG_STRIP, NEXT].contains(&name)
        || [TCX, CLSACT, EVERY].iter().any(|kind| name.starts_with(kind))
        || tfo_common::policy::maps().any(|map| map == name)
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
