//! An array of the kernel side that is mapped into our memory: read, and counted down in, without a system call.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

use aya::maps::MapData;

/// The mapping.
#[derive(Debug)]
pub struct Mapped {
    at: NonNull<AtomicU64>,
    bytes: usize,
    /// Its descriptor must stay open until the programs that use the map are loaded.
    _map: Option<MapData>,
}

// SAFETY: the mapping is shared memory that any thread may use by atomic operations; the pointer is not tied to one.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Maps the first bytes of an array that was made with `BPF_F_MMAPABLE`.
    pub fn new(map: MapData, bytes: usize) -> io::Result<Self> {
        let at = map_memory(bytes, libc::MAP_SHARED, map.fd().as_fd().as_raw_fd())?;
        Ok(Self {
            at,
            bytes,
            _map: Some(map),
        })
    }

    /// Zeros that nobody else writes to, for tests.
    #[cfg(test)]
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        let at = map_memory(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        Ok(Self {
            at,
            bytes,
            _map: None,
        })
    }

    /// The 64-bit number with this index; `None` beyond what is mapped.
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: within the mapping, which lives as long as `self`; aligned, for it begins with a page.
        (index < self.bytes / 8).then(|| unsafe { self.at.add(index).as_ref() })
    }

    /// So many 64-bit numbers, from the one with this index on; `None` where one of them is beyond what is mapped. Who else writes there
    /// may do so by less than a word: who reads has to know that he is through ([`super::blocks`]).
    pub fn words(&self, from: usize, count: usize) -> Option<&[AtomicU64]> {
        let end = from.checked_add(count)?;
        // SAFETY: as above.
        (end <= self.bytes / 8)
            .then(|| unsafe { std::slice::from_raw_parts(self.at.add(from).as_ptr().cast_const(), count) })
    }

    /// The 32-bit number with this index; `None` beyond what is mapped.
    pub fn half_word(&self, index: usize) -> Option<&AtomicU32> {
        // SAFETY: as above.
        (index < self.bytes / 4).then(|| unsafe { self.at.cast::<AtomicU32>().add(index).as_ref() })
    }
}

fn map_memory(bytes: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<NonNull<AtomicU64>> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            fd,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, not used any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}
