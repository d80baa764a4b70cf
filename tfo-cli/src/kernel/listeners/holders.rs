//! Which processes have a socket open: the links in /proc/PID/fd.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use crate::inspect::listeners::{Holder, Listener};

/// Fills in who holds the sockets. Of processes /proc hides (no `CAP_SYS_PTRACE`) nothing is known.
pub fn with_holders(listeners: &mut [Listener]) {
    let mut by_inode: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, listener) in listeners.iter().enumerate() {
        by_inode.entry(listener.inode).or_default().push(at);
    }
    let inodes: BTreeSet<u64> = by_inode.keys().copied().collect();
    for (inode, holder) in holders(&inodes) {
        for at in by_inode.get(&inode).into_iter().flatten() {
            listeners[*at].holders.push(holder.clone());
        }
    }
    for listener in listeners {
        listener.holders.sort_by_key(|holder| (holder.pid, holder.fd));
    }
}

/// Who holds sockets of these inodes. Reads the links of every process once; of none where nothing is asked for.
pub fn holders(inodes: &BTreeSet<u64>) -> Vec<(u64, Holder)> {
    let mut found = Vec::new();
    if inodes.is_empty() {
        return found;
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let mut comm = None;
        for entry in fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let inode = socket(&entry.path()).filter(|inode| inodes.contains(inode));
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let (Some(inode), Some(fd)) = (inode, number) else {
                continue;
            };
            let comm = comm.get_or_insert_with(|| super::super::places::comm(pid));
            found.push((
                inode,
                Holder {
                    pid,
                    comm: comm.clone(),
                    fd,
                },
            ));
        }
    }
    found
}

/// Inode of the socket behind a link.
fn socket(link: &Path) -> Option<u64> {
    let target = fs::read_link(link).ok()?;
    inode(target.to_str()?)
}

/// `socket:[4711]`.
fn inode(target: &str) -> Option<u64> {
    let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_have_an_inode() {
        assert_eq!(inode("socket:[4711]"), Some(4711));
        for other in [
            "pipe:[4711]",
            "/tmp/socket:[4711]",
            "socket:[",
            "socket:[]",
            "socket:[-1]",
            "socket:[1] (deleted)",
        ] {
            assert_eq!(inode(other), None, "{other}");
        }
    }
}
