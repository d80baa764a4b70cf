//! Times to first byte of flows whose record has been read: the kernel side leaves them in a memory-mapped
//! array, one store each, and this module finds them by the flow's id.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use tfo_common::{
    EventKind, FirstByteEvent, FlowEvent,
    event::{Record, event_flags},
    limits, slots,
    time::UNSEEN_US,
};

/// Flows that wait for their first byte at most; a newer one takes the place of the oldest.
const MOST_WAITING: usize = limits::FIRST_BYTES as usize;
/// How long a flow waits, ns. A slot is reused long before under load, and a later first byte is of no
/// interest for the handshake.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The mapped array and the flows that wait.
#[derive(Debug)]
pub struct FirstBytes {
    slots: NonNull<AtomicU64>,
    /// Its descriptor must stay open until the programs that use the map are loaded.
    _map: MapData,
    waiting: VecDeque<(u64, u64)>,
}

// SAFETY: the mapping is shared memory that any thread may read; the pointer is not tied to one.
unsafe impl Send for FirstBytes {}

const BYTES: usize = limits::FIRST_BYTES as usize * size_of::<u64>();

impl FirstBytes {
    /// Maps the array.
    pub fn map(map: MapData) -> io::Result<Self> {
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let slots = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self {
            slots,
            _map: map,
            waiting: VecDeque::new(),
        })
    }

    /// Remembers a flow whose record came without its first byte.
    pub fn expect(&mut self, flow: &FlowEvent) {
        if flow.ttfb_us != UNSEEN_US || flow.flags & event_flags::NOT_ESTABLISHED != 0 {
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((flow.id, flow.end_ns));
    }

    /// Hands over the first bytes that have come meanwhile.
    pub fn collect(&mut self, now_ns: u64, sink: &mut dyn FnMut(&Record)) {
        let slots = self.slots;
        self.waiting.retain(|(id, since)| {
            let index = slots::first_byte_slot(*id) as usize;
            // SAFETY: the index is below the number of slots mapped; the mapping lives as long as `self`.
            let value = unsafe { slots.add(index).as_ref() }.load(Ordering::Relaxed);
            match slots::first_byte_of(*id, value) {
                Some(ttfb_us) => {
                    let kind = EventKind::FirstByte as u8;
                    sink(&Record::FirstByte(FirstByteEvent {
                        kind,
                        pad: [0; 3],
                        ttfb_us,
                        id: *id,
                    }));
                    false
                }
                None => now_ns.saturating_sub(*since) < PATIENCE_NS,
            }
        });
    }
}

impl Drop for FirstBytes {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, not used any more.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), BYTES) };
    }
}
