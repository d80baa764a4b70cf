//! Running an `iter/tcp` program once in every network namespace.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd},
};

use tfo_common::listener::ListenerRecord;

use super::{netns, sys};

/// What one pass over the sockets of all namespaces gave.
#[derive(Debug, Default)]
pub struct Pass {
    /// Records the program wrote.
    pub listeners: Vec<ListenerRecord>,
    /// Namespaces that were visited.
    pub namespaces: usize,
    /// Namespaces that could not be, and why.
    pub failed: Vec<(u32, io::Error)>,
}

/// Runs an iterator program in every network namespace.
pub fn everywhere(program: BorrowedFd<'_>) -> io::Result<Pass> {
    let link = sys::link_iter(program)?;
    let mut pass = Pass::default();
    for (inode, namespace) in netns::all() {
        match netns::inside(&namespace, || once(link.as_fd())) {
            Ok(listeners) => {
                pass.namespaces += 1;
                pass.listeners.extend(listeners);
            }
            Err(error) => pass.failed.push((inode, error)),
        }
    }
    Ok(pass)
}

/// Runs it in the namespace of this thread: reading the descriptor to its end drives the program.
fn once(link: BorrowedFd<'_>) -> io::Result<Vec<ListenerRecord>> {
    let mut file = File::from(sys::iter_create(link)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let records = bytes.chunks_exact(size_of::<ListenerRecord>());
    // SAFETY: `ListenerRecord` is made of integers only.
    Ok(records.filter_map(|chunk| unsafe { sys::value(chunk) }).collect())
}
