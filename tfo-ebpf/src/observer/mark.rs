//! The mark a policy left on a socket, read by the observer.
//!
//! Both objects must work in whatever order they are loaded, and neither may need the other: so the observer
//! shares no map with the policy. It looks through the socket's own storage list
//! (`struct bpf_local_storage`, include/linux/bpf_local_storage.h) for an entry of a map with the policy's
//! name. Lists are short: one entry per program family that keeps something on this socket.

use tfo_common::policy::{self, MARK_VERSION, Mark};

use crate::{
    kern::{self, Typed},
    layout::layout,
};

/// Entries looked at: more than any host keeps on one socket.
const MOST: u32 = 8;
/// Length of a map's name as the kernel keeps it (`BPF_OBJ_NAME_LEN`).
const NAME_LEN: usize = 16;

/// Whether anything at all is stored on a socket: nothing is on most of them.
#[inline(always)]
pub fn may_be_on(socket: Typed) -> bool {
    layout!(sk_storage).is_present() && socket.uint(layout!(sk_storage)) != 0
}

/// The mark on a socket; all zero when there is none.
#[inline(always)]
pub fn of(socket: Typed) -> Mark {
    let none = Mark::NONE;
    if !layout!(sk_storage).is_present() {
        return none;
    }
    let storage = socket.follow(layout!(sk_storage)).address();
    if storage == 0 || !layout!(selem_data).is_present() || !layout!(smap_name).is_present() {
        return none;
    }
    let node_at = layout!(selem_node).byte;
    let mut node = kern::pointer(storage, layout!(storage_list));
    let mut seen = 0;
    while node != 0 && seen < MOST {
        let entry = node - node_at;
        let map = kern::pointer(entry, layout!(selem_map));
        let name: [u64; 2] = kern::read(map + layout!(smap_name).byte);
        if map != 0 && name == NAME {
            let mark: Mark = kern::read(entry + layout!(selem_data).byte);
            // Another build of the policy may mean something else by it.
            return if mark.version == MARK_VERSION { mark } else { none };
        }
        // `hlist_node.next` is its first member.
        node = kern::read(node);
        seen += 1;
    }
    none
}

/// The map's name as two words, to be compared without a loop.
const NAME: [u64; 2] = {
    let name = policy::MARKS.as_bytes();
    let mut padded = [0u8; NAME_LEN];
    let mut index = 0;
    while index < name.len() {
        padded[index] = name[index];
        index += 1;
    }
    let mut words = [[0u8; 8]; 2];
    let mut index = 0;
    while index < NAME_LEN {
        words[index / 8][index % 8] = padded[index];
        index += 1;
    }
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
};
