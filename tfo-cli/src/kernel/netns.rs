//! Network namespaces of this host, and doing something inside one.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{rights, sys};

/// Where `ip netns` and container runtimes keep namespaces without a process.
pub(super) const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// The namespace of the calling process.
const OWN: &str = "/proc/self/ns/net";

/// Process ids end here (`PID_MAX_LIMIT`, include/linux/threads.h); inodes of namespaces begin far above.
const LAST_PID: u32 = 4_194_304;

/// The inode by which a user names a namespace; `None` where the text is something else, the id of a process, for one.
pub fn named_inode(wanted: &str) -> Option<u32> {
    wanted.parse().ok().filter(|number| *number > LAST_PID)
}

/// Inode of the namespace this process is in; 0 where /proc does not tell.
pub fn own_inode() -> u32 {
    inode(Path::new(OWN)).unwrap_or(0)
}

/// Inode of the namespace a process is in.
pub fn inode_of(process: u32) -> Option<u32> {
    inode(Path::new(&format!("/proc/{process}/ns/net")))
}

/// What tells a namespace from every other, also from one that gets its inode when it is gone: they are given out
/// again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Inode, by which people know it.
    pub inode: u32,
    /// The kernel's own number.
    pub cookie: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netns {}", self.inode)
    }
}

/// Identity of an open namespace.
pub fn id(namespace: &File) -> io::Result<Id> {
    let inode = namespace.metadata()?.ino();
    Ok(Id {
        inode: u32::try_from(inode).map_err(|_| io::Error::other("not a network namespace"))?,
        cookie: inside(namespace, sys::netns_cookie)?,
    })
}

/// Every network namespace that a process, a thread or a name holds on to, by inode, opened.
pub fn all() -> BTreeMap<u32, File> {
    let mut known = NamespacePaths::default();
    known.scan(Depth::Threads);
    let inodes: Vec<u32> = known.paths.keys().copied().collect();
    inodes
        .into_iter()
        .filter_map(|inode| Some((inode, known.open(inode)?)))
        .collect()
}

/// Those of these namespaces that still exist, opened; the others are gone for good. An error where that cannot be
/// told: taking a living one for gone would undo what was set up in it.
pub fn living(wanted: &[Id]) -> io::Result<BTreeMap<Id, File>> {
    let mut living = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(living);
    }
    let mut paths: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    // Unlike elsewhere a directory that cannot be read is an error here.
    fs::read_dir("/proc")?;
    for path in candidates(Depth::Threads) {
        if let Some(inode) = inode(&path).filter(|inode| wanted.iter().any(|id| id.inode == *inode)) {
            paths.entry(inode).or_default().push(path);
        }
    }
    for (inode, paths) in paths {
        // Processes end all the time; the last error counts when no path works and one is still there.
        let mut failed = None;
        for path in paths {
            match File::open(&path).and_then(|file| Ok((id(&file)?, file))) {
                Ok((id, file)) if id.inode == inode => {
                    if wanted.contains(&id) {
                        living.insert(id, file);
                    }
                    failed = None;
                    break;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
    }
    // Without CAP_SYS_PTRACE those of processes with more rights are hidden.
    if living.len() < wanted.len() && !(sees_every_process() && rights::sees_into_processes()) {
        return Err(io::Error::other(
            "not every process of this host can be seen (CAP_SYS_PTRACE, the host's pid namespace)",
        ));
    }
    Ok(living)
}

/// Whether /proc is that of the initial pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
pub(super) fn sees_every_process() -> bool {
    const INITIAL: u64 = 0xefff_fffc;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|found| found.ino() == INITIAL)
}

/// How closely to look for namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Where processes are: their first threads.
    Processes,
    /// Where any thread is: some programs give each of theirs a namespace of its own. Costs several times as much.
    Threads,
}

/// Where each namespace can be opened. Paths, not descriptors: an open descriptor would keep a namespace, and
/// the interfaces in it, alive after its last process has gone.
#[derive(Debug, Default)]
pub struct NamespacePaths {
    paths: BTreeMap<u32, PathBuf>,
}

impl NamespacePaths {
    /// Looks through /proc and the places of named namespaces.
    pub fn scan(&mut self, depth: Depth) {
        self.paths.clear();
        let nsfs = file_system();
        for path in candidates(depth) {
            if let Some(inode) = inode_on(&path, nsfs) {
                self.paths.entry(inode).or_insert(path);
            }
        }
    }

    /// Inodes found by the latest scan.
    pub fn inodes(&self) -> impl Iterator<Item = u32> {
        self.paths.keys().copied()
    }

    /// Opens a namespace, if its path still leads to it.
    pub fn open(&self, inode: u32) -> Option<File> {
        let file = File::open(self.paths.get(&inode)?).ok()?;
        (file.metadata().ok()?.ino() == u64::from(inode)).then_some(file)
    }
}

/// Paths that may be namespaces: our own first, names, processes, and threads last.
fn candidates(depth: Depth) -> impl Iterator<Item = PathBuf> {
    let named = NAMED
        .into_iter()
        .flat_map(|directory| entries(Path::new(directory)));
    let own = std::iter::once(PathBuf::from(OWN));
    let first = numbered(Path::new("/proc")).map(|process| process.join("ns/net"));
    let threads = (depth == Depth::Threads).then(|| {
        let processes = numbered(Path::new("/proc"));
        let threads = processes.flat_map(|process| {
            let first = process.file_name().map(ToOwned::to_owned);
            numbered(&process.join("task")).filter(move |thread| thread.file_name() != first.as_deref())
        });
        threads.map(|thread| thread.join("ns/net"))
    });
    own.chain(named).chain(first).chain(threads.into_iter().flatten())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Entries that are called by a number: processes, or threads of one.
fn numbered(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    entries(directory).filter(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.iter().all(u8::is_ascii_digit)
    })
}

/// Inode of the namespace behind a path. A name whose namespace is not mounted (yet, or any more) is an
/// ordinary file, on another file system than namespaces are.
pub(super) fn inode(path: &Path) -> Option<u32> {
    inode_on(path, file_system())
}

fn inode_on(path: &Path, nsfs: Option<u64>) -> Option<u32> {
    let found = fs::metadata(path).ok()?;
    u32::try_from(found.ino())
        .ok()
        .filter(|_| Some(found.dev()) == nsfs)
}

/// The file system of namespaces.
fn file_system() -> Option<u64> {
    Some(fs::metadata(OWN).ok()?.dev())
}

/// Runs something inside a namespace, on a thread of its own that ends with it: the caller's namespace
/// never changes.
pub fn inside<T: Send>(namespace: &File, action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
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
