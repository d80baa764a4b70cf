//! Network namespaces of this host, and doing something inside one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
};

use super::sys;

/// Where `ip netns` and container runtimes keep namespaces without a process.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// The namespace of the calling process.
const OWN: &str = "/proc/self/ns/net";

/// Inode of the namespace this process is in; 0 where /proc does not tell.
pub fn own_inode() -> u32 {
    inode(Path::new(OWN)).unwrap_or(0)
}

/// Every network namespace that a process or a name holds on to, by inode, opened.
pub fn all() -> BTreeMap<u32, File> {
    let mut found = BTreeMap::new();
    for path in candidates() {
        let Some(inode) = inode(&path) else { continue };
        if let std::collections::btree_map::Entry::Vacant(slot) = found.entry(inode)
            && let Ok(file) = File::open(&path)
        {
            slot.insert(file);
        }
    }
    found
}

/// Paths that may be namespaces, our own first.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let list = |directory: &str| fs::read_dir(directory).into_iter().flatten().flatten();
    let named = NAMED.into_iter().flat_map(list).map(|entry| entry.path());
    let processes = list("/proc")
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .map(|entry| entry.path().join("ns/net"));
    std::iter::once(PathBuf::from(OWN)).chain(named).chain(processes)
}

fn inode(path: &Path) -> Option<u32> {
    fs::metadata(path)
        .ok()
        .and_then(|found| u32::try_from(found.ino()).ok())
}

/// Runs something inside a namespace, on a thread of its own that ends with it: the caller's namespace
/// never changes.
pub fn inside<T: Send>(namespace: &File, action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                sys::enter_netns(namespace.as_fd())?;
                action()
            })
            .join()
            .unwrap_or_else(|_| {
                Err(io::Error::other(
                    "the thread inside the network namespace panicked",
                ))
            })
    })
}
