//! System calls that neither `std`, `nix` nor aya offers, and short forms of some that they do. Each turns a failure into
//! `io::Error`.

use std::{
    ffi::CString,
    fs::TryLockError,
    io,
    net::{Ipv4Addr, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    getsockopt_impl,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sockopt_impl,
    sys::{
        resource::{RLIM_INFINITY, Resource, setrlimit},
        socket::getsockopt,
        time::TimeValLike as _,
    },
    time::{ClockId, clock_gettime},
};

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
/// `BPF_MAP_TYPE_ARRAY` (`enum bpf_map_type`).
const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_OBJ_NAME_LEN`.
const NAME_LEN: usize = 16;
/// `BPF_TRACE_ITER`.
const TRACE_ITER: u32 = 28;

/// Attributes of `BPF_LINK_CREATE` for an iterator.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    pad: u32,
}

/// Attributes of `BPF_ITER_CREATE`.
#[repr(C)]
#[derive(Default)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// Attributes of `BPF_MAP_LOOKUP_BATCH`: `from` and `to` are `in_batch` and `out_batch`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// bpf(2) with the attributes in `attr`.
fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a live `repr(C)` value of the size we say; the kernel reads and writes only within
    // it and within the buffers that its callers below keep alive.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(result).unwrap_or(i32::MAX))
    }
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Takes ownership of a descriptor a system call has just returned.
fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us a moment ago; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Attributes of `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; NAME_LEN],
    map_ifindex: u32,
}

/// Makes an array of one entry with so many bytes, which may be mapped into memory or not. Of its name the first 15 bytes are kept.
pub fn array_create(name: &str, bytes: usize, is_mapped: bool) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(bytes).map_err(io::Error::other)?,
        max_entries: 1,
        map_flags: if is_mapped { MMAPABLE } else { 0 },
        ..MapCreate::default()
    };
    // The last byte stays 0.
    let room = &mut attr.map_name[..NAME_LEN - 1];
    room.iter_mut()
        .zip(name.bytes())
        .for_each(|(place, byte)| *place = byte);
    let made = match bpf(BPF_MAP_CREATE, &mut attr) {
        // Kernels before 5.11 count maps as locked memory; aya lifts the limit as well where it makes maps.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
                .map_err(|_| error)
                .and_then(|()| bpf(BPF_MAP_CREATE, &mut attr))
        }
        made => made,
    };
    made.map(own)
}

/// Links an iterator program: nothing runs until [`iter_create`] and a read.
pub fn link_iter(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: fd_number(program),
        attach_type: TRACE_ITER,
        ..LinkCreate::default()
    };
    bpf(BPF_LINK_CREATE, &mut attr).map(own)
}

/// Opens an iterator over the network namespace of the calling thread.
pub fn iter_create(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = IterCreate {
        link_fd: fd_number(link),
        flags: 0,
    };
    bpf(BPF_ITER_CREATE, &mut attr).map(own)
}

/// Attributes of `BPF_MAP_DELETE_ELEM`.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads an entry of a map. Key and value must be as long as the map's.
pub fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = Element {
        map_fd: fd_number(map),
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..Element::default()
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop)
}

/// Removes an entry of a map. The key must be as long as the map's keys.
pub fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr = Element {
        map_fd: fd_number(map),
        key: key.as_ptr() as u64,
        ..Element::default()
    };
    bpf(BPF_MAP_DELETE_ELEM, &mut attr).map(drop)
}

/// Attributes of `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    /// `query_flags`: 0 asks for what is attached here itself.
    effective: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// What is attached to a cgroup at one hook, by itself and not by those above it.
#[derive(Debug)]
pub struct Attached {
    /// Ids of the programs, at most 64.
    pub programs: Vec<u32>,
    /// `BPF_F_ALLOW_*`; none of them: exclusively.
    pub flags: u32,
}

/// Asks for it. Needs `CAP_NET_ADMIN`.
pub fn attached_programs(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Attached> {
    let mut programs = [0u32; 64];
    let mut attr = Query {
        target_fd: fd_number(cgroup),
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        prog_cnt: 64,
        ..Query::default()
    };
    bpf(BPF_PROG_QUERY, &mut attr)?;
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0).min(programs.len());
    Ok(Attached {
        programs: programs[..count].to_vec(),
        flags: attr.attach_flags,
    })
}

/// Attributes of `BPF_OBJ_GET` and `BPF_OBJ_PIN`.
#[repr(C)]
#[derive(Default)]
struct ObjectGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Opens a pinned object.
pub fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectGet {
        pathname: path.as_ptr() as u64,
        ..ObjectGet::default()
    };
    bpf(BPF_OBJ_GET, &mut attr).map(own)
}

/// Pins an object.
pub fn object_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectGet {
        pathname: path.as_ptr() as u64,
        bpf_fd: fd_number(object),
        ..ObjectGet::default()
    };
    bpf(BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Attributes of `BPF_LINK_UPDATE`.
#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Puts another program of the same kind into a link: each packet and callback meets the old one or the new one.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link_fd: fd_number(link),
        new_prog_fd: fd_number(program),
        ..LinkUpdate::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches a link at once, whoever else holds it.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = fd_number(link);
    bpf(BPF_LINK_DETACH, &mut attr).map(drop)
}

/// Entries of a hash map, fetched many at a time: keys and values as they lie in memory.
#[derive(Debug, Default)]
pub struct Entries {
    /// `count` keys.
    pub keys: Vec<u8>,
    /// `count` values.
    pub values: Vec<u8>,
    /// How many.
    pub count: usize,
}

/// `ENOTSUPP` (include/linux/errno.h), which is not for user space but gets there.
const NOT_SUPPORTED: i32 = 524;

/// The same with two system calls for each entry.
fn each_entry_singly(
    map: BorrowedFd<'_>,
    (key_len, value_len): (usize, usize),
    capacity: usize,
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    let mut count = 0;
    let mut key: Option<Vec<u8>> = None;
    let mut value = vec![0; value_len];
    // A key that is removed meanwhile has the walk begin again.
    while count <= capacity.saturating_mul(2) {
        let mut next = vec![0; key_len];
        let mut attr = Element {
            map_fd: fd_number(map),
            key: key.as_ref().map_or(0, |key| key.as_ptr() as u64),
            value: next.as_mut_ptr() as u64,
            ..Element::default()
        };
        match bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
        match map_lookup(map, &next, &mut value) {
            Ok(()) => {
                each(&next, &value);
                count += 1;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        key = Some(next);
    }
    Ok(())
}

/// Reads every entry of a hash map or a trie, and calls `each` with keys and values, which stay in the processor's cache
/// meanwhile: some hundred at a time. Entries that come or go meanwhile may be missing or not, those of a trie may be
/// there twice; no entry of an LRU map counts as used because of it (`__htab_map_lookup_batch`, kernel/bpf/hashtab.c).
///
/// # Errors
/// What the kernel says to a map that cannot be read so.
pub fn each_entry(
    map: BorrowedFd<'_>,
    (key_len, value_len): (usize, usize),
    capacity: usize,
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    /// Entries asked for at once, at first (most tables are nearly empty) and later on.
    const STEPS: (usize, usize) = (32, 256);
    let mut step = STEPS.0;
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut count = 0;
    // A hash map writes the number of a bucket, a trie a whole key (`generic_map_lookup_batch`).
    let mut position = vec![0u64; key_len.div_ceil(size_of::<u64>()).max(1)];
    let mut started = false;
    while count <= capacity.saturating_mul(2) {
        keys.resize(step * key_len, 0);
        values.resize(step * value_len, 0);
        let here = position.as_mut_ptr() as u64;
        let mut attr = Batch {
            from: if started { here } else { 0 },
            to: here,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(step).unwrap_or(u32::MAX),
            map_fd: fd_number(map),
            ..Batch::default()
        };
        let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut attr);
        let code = result.as_ref().err().and_then(io::Error::raw_os_error);
        if matches!(code, None | Some(libc::ENOENT)) {
            let got = (attr.count as usize).min(step);
            count += got;
            let read = keys.chunks_exact(key_len).zip(values.chunks_exact(value_len));
            read.take(got).for_each(|(key, value)| each(key, value));
        }
        match code {
            None => {
                started = true;
                step = step.max(STEPS.1.min(step * 2));
            }
            // The end of the map.
            Some(libc::ENOENT) => return Ok(()),
            // One hash bucket holds more.
            Some(libc::ENOSPC) => step *= 2,
            // Tries have it since Linux 5.17 or so, and say so with the kernel's own ENOTSUPP.
            Some(NOT_SUPPORTED | libc::EINVAL) if !started => {
                return each_entry_singly(map, (key_len, value_len), capacity, each);
            }
            Some(_) => return Err(result.err().unwrap_or_else(io::Error::last_os_error)),
        }
    }
    Ok(())
}

/// Every entry, kept: [`each_entry`].
pub fn map_entries(
    map: BorrowedFd<'_>,
    key_len: usize,
    value_len: usize,
    capacity: usize,
) -> io::Result<Entries> {
    let mut all = Entries::default();
    each_entry(map, (key_len, value_len), capacity, &mut |key, value| {
        all.keys.extend_from_slice(key);
        all.values.extend_from_slice(value);
        all.count += 1;
    })?;
    Ok(all)
}

/// Whether a lock was got; false when somebody else has it.
pub fn is_locked(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

// Unlike its inode the cookie of a network namespace is never given to another one (Linux 5.14; `net_gen_cookie`,
// net/core/net_namespace.c).
sockopt_impl!(NetnsCookie, GetOnly, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, u64);

/// Cookie of the calling thread's network namespace; 0 before Linux 5.14, where namespaces have none and only their inodes
/// tell them apart.
pub fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    match getsockopt(&socket, NetnsCookie) {
        Err(Errno::ENOPROTOOPT) => Ok(0),
        other => Ok(other?),
    }
}

/// `FILEID_KERNFS` (include/linux/exportfs.h): the handle is the 64-bit number of a kernfs node.
const FILEID_KERNFS: libc::c_int = 0xfe;

/// A handle of a kernfs node: `struct file_handle` with its bytes.
#[repr(C)]
struct KernfsHandle {
    handle_bytes: libc::c_uint,
    handle_type: libc::c_int,
    id: [u8; 8],
}

/// Opens a kernfs directory by its number, on the file system that `mount` lies in (`kernfs_fh_to_dentry`,
/// fs/kernfs/mount.c). Needs `CAP_DAC_READ_SEARCH`.
pub fn open_kernfs(mount: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    let mut handle = KernfsHandle {
        handle_bytes: 8,
        handle_type: FILEID_KERNFS,
        id: id.to_ne_bytes(),
    };
    // SAFETY: `handle` is a whole `struct file_handle` that says how many bytes follow it; the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            std::ptr::from_mut(&mut handle),
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    match i32::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(own(fd)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until one of these descriptors is readable, at most for `timeout`. A signal ends the wait early.
pub fn wait_readable<const N: usize>(fds: &[impl AsFd; N], timeout: Duration) -> io::Result<()> {
    let mut entries = fds
        .each_ref()
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
    // Whole milliseconds, and not before the time: whoever calls again until it has come would do so again and again.
    let timeout = timeout.saturating_add(Duration::from_nanos(999_999));
    match poll(
        &mut entries,
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives freed memory back to the system: reading BTF, or decoding a recording, takes 20 MiB for a moment, and
/// nothing later needs it.
pub fn trim_memory() {
    // SAFETY: no arguments that could be wrong.
    unsafe { libc::malloc_trim(0) };
}

/// Reads a clock, ns. The clocks we ask for always exist.
fn clock_ns(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.num_nanoseconds())
}

/// `CLOCK_MONOTONIC`, ns: the clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC).unsigned_abs()
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, ns.
pub fn wall_offset_ns() -> i64 {
    clock_ns(ClockId::CLOCK_REALTIME) - clock_ns(ClockId::CLOCK_MONOTONIC)
}

/// Copies a plain value out of raw bytes; `None` unless the length is exactly right.
///
/// # Safety
///
/// Every bit pattern must be a valid `T`.
pub unsafe fn value<T: Copy>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked, alignment does not matter, and the caller vouches for the bits.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// Length of the kernel's tick, us: what its coarse clocks resolve (`LOW_RES_NSEC`, `include/linux/hrtimer_defs.h`).
pub fn tick_us() -> u32 {
    let mut resolution = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid clock and a structure of ours to write to.
    let failed = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) } != 0;
    // Every Linux has this clock; without it nothing is subtracted from a time to first byte.
    if failed {
        0
    } else {
        u32::try_from(resolution.tv_nsec / 1_000).unwrap_or(0)
    }
}

/// Overrides the size of LRU maps, to see what full ones do.
const LRU_ENTRIES: &str = "TFO_LRU_ENTRIES";

/// Entries of an LRU map on this host, where `wanted` are asked for ([`tfo_common::limits::lru_entries`]).
pub fn lru_entries(wanted: u32) -> Result<u32, super::Error> {
    let asked = std::env::var(LRU_ENTRIES)
        .ok()
        .and_then(|value| value.parse().ok());
    match asked {
        Some(entries) => Ok(entries),
        None => Ok(tfo_common::limits::lru_entries(wanted, possible_cpus()?)),
    }
}

/// The highest number that a CPU of this machine may ever have; the greatest there is where the kernel does not say.
pub fn highest_cpu() -> u32 {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible");
    possible.ok().and_then(|list| last_of(&list)).unwrap_or(u32::MAX)
}

/// The last number of a list like `0-3,8-11`.
fn last_of(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// CPUs this machine may ever have: what per-CPU and LRU maps are sized by.
pub fn possible_cpus() -> Result<u32, super::Error> {
    let count = aya::util::nr_cpus().map_err(|(path, source)| super::Error::Io {
        operation: "read",
        object: path.into(),
        source,
    })?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_cpu_is_the_last_of_the_list() {
        let lists = ["0\n", "0-7\n", "0-3,8-11\n", "0,2,64", "", "none"];
        assert_eq!(
            lists.map(last_of),
            [Some(0), Some(7), Some(11), Some(64), None, None]
        );
        assert!(highest_cpu() < 8_192);
    }
}
