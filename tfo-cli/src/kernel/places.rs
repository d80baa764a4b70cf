//! Every network namespace of this host with its name, and doing something in each of them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Error, netns};
use crate::inspect::places::{Netns, Unseen};

/// The parent of all kernel threads, where /proc is that of the initial pid namespace.
const KTHREADD: u32 = 2;

/// A namespace that can be looked into.
#[derive(Debug)]
pub struct Place {
    /// Which.
    pub netns: Netns,
    handle: File,
    /// The namespace of this process: nobody needs a right to stay where they are.
    is_own: bool,
}

impl Place {
    /// Does something inside, on a thread of its own unless that is where we are.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        if self.is_own {
            action()
        } else {
            netns::inside(&self.handle, action)
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Places {
    /// By inode.
    pub places: Vec<Place>,
    /// Processes of which the kernel does not say where they are (no `CAP_SYS_PTRACE`).
    pub hidden: usize,
}

impl Places {
    /// Every namespace a process or a name holds on to.
    pub fn all() -> Self {
        let own = netns::own_inode();
        let (mut names, hidden) = names();
        let places = netns::all().into_iter().map(|(inode, handle)| Place {
            netns: Netns {
                inode,
                name: names.remove(&inode),
            },
            handle,
            is_own: inode == own,
        });
        Self {
            places: places.collect(),
            hidden,
        }
    }

    /// The one a user names: by a name under /run/netns, a path, its inode, or the id of a process in it.
    pub fn named(wanted: &str) -> Result<Self, Error> {
        let number = wanted.parse::<u32>().ok();
        let fail = |path: &Path, source| Error::Io {
            operation: "open network namespace",
            object: path.display().to_string(),
            source,
        };
        let mut found = Self::all();
        if let Some(inode) = netns::named_inode(wanted) {
            found.places.retain(|place| place.netns.inode == inode);
            if found.places.is_empty() {
                let none =
                    io::Error::other("no process and no name leads to a network namespace of this inode");
                return Err(fail(Path::new(wanted), none));
            }
            found.hidden = 0;
            return Ok(found);
        }
        let path = match number {
            Some(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            None if wanted.contains('/') => wanted.into(),
            None => Path::new(netns::NAMED[0]).join(wanted),
        };
        let handle = File::open(&path).map_err(|error| fail(&path, error))?;
        let inode =
            netns::inode(&path).ok_or_else(|| fail(&path, io::Error::other("not a network namespace")))?;
        let known = found.places.into_iter().find(|place| place.netns.inode == inode);
        Ok(Self {
            places: vec![Place {
                netns: known.map_or(Netns { inode, name: None }, |place| place.netns),
                handle,
                is_own: inode == netns::own_inode(),
            }],
            hidden: 0,
        })
    }

    /// Those of a `--netns`, or every one.
    pub fn wanted(netns: Option<&str>) -> Result<Self, Error> {
        netns.map_or_else(|| Ok(Self::all()), Self::named)
    }

    /// Does something in each; what fails is told in the second value and stops nothing.
    pub fn each<T: Send>(
        &self,
        action: impl Fn(&Place) -> io::Result<T> + Sync,
    ) -> (Vec<(Netns, T)>, Unseen) {
        let mut done = Vec::new();
        let mut unseen = Unseen {
            processes: self.hidden,
            ..Unseen::default()
        };
        for place in &self.places {
            match place.run(|| action(place)) {
                Ok(value) => done.push((place.netns.clone(), value)),
                Err(error) => unseen.failed.push((place.netns.clone(), error.to_string())),
            }
        }
        (done, unseen)
    }
}

/// Names by inode, best first: a name given by hand, the host's, a process. And how many processes hide theirs.
fn names() -> (BTreeMap<u32, String>, usize) {
    let mut names = BTreeMap::new();
    // Kernel threads never leave the first namespace; in a container process 1 is the container's.
    if let Some(inode) = netns::inode_of(KTHREADD).filter(|_| netns::sees_every_process()) {
        names.insert(inode, "host".to_owned());
    }
    for directory in netns::NAMED {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if let Some(inode) = netns::inode(&entry.path()) {
                names
                    .entry(inode)
                    .or_insert_with(|| entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    let mut hidden = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        match fs::metadata(entry.path().join("ns/net")) {
            Ok(found) => {
                if let Ok(inode) = u32::try_from(found.ino()) {
                    names
                        .entry(inode)
                        .or_insert_with(|| format!("{}({pid})", comm(pid)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
            // It has ended.
            Err(_) => {}
        }
    }
    (names, hidden)
}

/// Name of a process; empty when it has ended.
pub(super) fn comm(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned()
}
