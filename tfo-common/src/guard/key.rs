//! Whose evidence an entry of a guard holds, and about what.

/// Whose evidence it is, and about what.
///
/// One socket's evidence goes to four entries: its destination's and its network's, each for its own cgroup and for
/// everybody the guard watches. Who may make SYNs die (a hop limit of one is enough) so harms himself, until somebody
/// else sees the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct GuardKey {
    /// cgroup id of the guard.
    pub cgroup: u64,
    /// cgroup id of the socket; 0 for every cgroup the guard watches.
    pub own: u64,
    /// Network namespace: its cookie, before Linux 5.12 its inode. The same address in two of them is two paths.
    pub net: u64,
    /// [`kind::DESTINATION`]: remote address. [`kind::NETWORK`]: local address. Network order; IPv4 in the first four
    /// bytes.
    pub addr: [u8; 16],
    /// Remote port, host order; 0 for a network. Middleboxes treat ports differently, and a closed port says nothing
    /// about its neighbours.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// Zero.
    pub pad: [u8; 4],
}

/// Values of [`GuardKey::kind`].
pub mod kind {
    /// A destination.
    pub const DESTINATION: u8 = 0;
    /// A network: everything that is reached from one local address.
    pub const NETWORK: u8 = 1;
}

impl GuardKey {
    /// A number for the whole key, never 0: states carry it, because an element of an LRU map may be given to
    /// another key while somebody still looks at it.
    #[inline(always)]
    pub fn tag(&self) -> u64 {
        let [a, b] = halves(self.addr);
        let rest = u64::from(self.port) | u64::from(self.family) << 16 | u64::from(self.kind) << 24;
        let mut hash = self.cgroup;
        hash = mix(hash, self.own);
        hash = mix(hash, self.net);
        hash = mix(hash, a);
        hash = mix(hash, b);
        mix(hash, rest) | 1
    }
}

#[inline(always)]
pub(super) const fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// An address as two words.
#[inline(always)]
fn halves(addr: [u8; 16]) -> [u64; 2] {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = addr;
    [
        u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
        u64::from_ne_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
    ]
}

const _: () = assert!(size_of::<GuardKey>() == 48);
