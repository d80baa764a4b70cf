//! Running an `iter/tcp` program once in every network namespace, and reading what it wrote.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd},
};

use tfo_common::listener::{DeferredRecord, Listed, ListenerRecord};

use super::{listeners, netns, sys};

/// What one pass over the sockets of all namespaces gave.
#[derive(Debug, Default)]
pub struct Pass {
    /// Records of listeners.
    pub listeners: Vec<ListenerRecord>,
    /// Records of connects that wait for their first write.
    pub deferred: Vec<DeferredRecord>,
    /// Namespaces that were visited: inode, and `net.ipv4.tcp_fastopen` where it could be read.
    pub namespaces: Vec<(u32, Option<u32>)>,
    /// Namespaces that could not be, and why.
    pub failed: Vec<(u32, io::Error)>,
}

/// Runs an iterator program in every network namespace.
pub fn everywhere(program: BorrowedFd<'_>) -> io::Result<Pass> {
    let link = sys::link_iter(program)?;
    let mut pass = Pass::default();
    let own = netns::own_inode();
    for (inode, namespace) in netns::all() {
        let look = || Ok((once(link.as_fd())?, listeners::settings().tcp_fastopen));
        // Nobody needs a right to stay where they are.
        let host_facts = if inode == own {
            look()
        } else {
            netns::inside(&namespace, look)
        };
        match host_facts {
            Ok((bytes, sysctl)) => {
                pass.namespaces.push((inode, sysctl));
                if !pass.take(&bytes) {
                    let odd = io::Error::new(io::ErrorKind::InvalidData, "a record of unknown kind or size");
                    pass.failed.push((inode, odd));
                }
            }
            Err(error) => pass.failed.push((inode, error)),
        }
    }
    Ok(pass)
}

/// Runs it in the namespace of this thread: reading the descriptor to its end drives the program.
fn once(link: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut file = File::from(sys::iter_create(link)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Pass {
    /// Sorts records by their first byte; false where one cannot be read: what follows is lost then.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(kind) = bytes.first() {
            // SAFETY: both records are made of integers only.
            let rest = unsafe {
                if *kind == Listed::Listener as u8 {
                    front(bytes, &mut self.listeners)
                } else if *kind == Listed::Deferred as u8 {
                    front(bytes, &mut self.deferred)
                } else {
                    None
                }
            };
            let Some(rest) = rest else { return false };
            bytes = rest;
        }
        true
    }
}

/// Takes a value off the front of these bytes.
///
/// # Safety
///
/// `T` is made of integers only.
unsafe fn front<'a, T: Copy>(bytes: &'a [u8], into: &mut Vec<T>) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: the caller's promise; the length fits.
    into.push(unsafe { sys::value(first) }?);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::programs::bytes_of;

    #[test]
    fn records_of_both_kinds_are_told_apart() {
        let listener = ListenerRecord {
            kind: Listed::Listener as u8,
            local_port: 443,
            ..ListenerRecord::default()
        };
        let deferred = DeferredRecord {
            kind: Listed::Deferred as u8,
            port: 25,
            ..DeferredRecord::default()
        };
        let bytes = [bytes_of(&deferred), bytes_of(&listener), bytes_of(&deferred)].concat();
        let mut pass = Pass::default();
        assert!(pass.take(&bytes));
        assert_eq!(pass.listeners, [listener]);
        assert_eq!(pass.deferred, [deferred; 2]);
        for odd in [&bytes[..bytes.len() - 1], &[0][..], &[77; 100]] {
            assert!(!Pass::default().take(odd), "{odd:?}");
        }
    }
}
