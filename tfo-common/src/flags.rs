//! Switches of the kernel side: fixed at load ([`Config`]) or changed while it runs ([`Control`]).

use crate::codes::codes;

/// Fixed when the programs are loaded: the verifier removes what is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// 1: plain handshakes produce ring records too (`trace --all`).
    pub emit_plain: u8,
    /// 1: the helper `bpf_get_current_task_btf` may be called from `sock_ops` (from 5.15, kernel commit a396eda5517a).
    pub typed_task: u8,
    /// 1: each CPU has rows of its own in [`crate::maps::ARRIVED`], and what it does with a SYN is never interrupted by what it does with
    /// another one, as may be on a kernel with `PREEMPT_RT`. Then nobody else adds to a row.
    pub arrived_alone: u8,
    /// Zero.
    pub pad: u8,
    /// What is kept of a server's remote IPv4 address, in network order.
    pub server_v4_mask: u32,
    /// What is kept of a server's remote IPv6 address, in network order.
    pub server_v6_mask: [u32; 4],
    /// Ring fill in bytes above which the reader is woken.
    pub wake_bytes: u32,
    /// cgroup v2 id of the cgroup observed: only listeners in it and below get the callback flag. 0: all.
    pub scope_id: u64,
    /// Depth of that cgroup below the root of the hierarchy, which has 0 (`cgroup->level`).
    pub scope_level: u32,
    /// Of so many plain connections one has its time to first byte taken; 1: each. At least 1.
    pub ttfb_sample: u32,
    /// Length of the kernel's tick (`1 / CONFIG_HZ`), us.
    pub tick_us: u32,
    /// Age from which on the end of a client's connection with Fast Open is counted ([`crate::maps::LIVED`]), ms.
    pub long_lived_ms: u32,
}

/// Mask of the first `bits` bits of an address of 32 bits, in network order; 32 or more keep all.
pub const fn mask32(bits: u8) -> u32 {
    if bits >= 32 {
        u32::MAX
    } else {
        (!(u32::MAX >> bits)).to_be()
    }
}

/// Mask of the first `bits` bits of an IPv6 address, in network order; 128 or more keep all.
pub const fn mask128(bits: u8) -> [u32; 4] {
    [
        mask32(bits),
        mask32(bits.saturating_sub(32)),
        mask32(bits.saturating_sub(64)),
        mask32(bits.saturating_sub(96)),
    ]
}

/// Index into [`crate::maps::CONTROL`], an array of `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Control {
    /// User space: 1 while a `sock_ops` program of somebody else is loaded on this host. Callback flags a
    /// child inherited from its listener are then left alone: they may be that program's.
    ForeignSockOps = 0,
    /// Kernel side: 1 once a SYN with TFO was answered under SYN cookies. Only then finished handshakes are
    /// looked up by address too (the child's socket cookie differs from the request's).
    SyncookieSeen = 1,
    /// User space: code of [`Shed`], what is given up so that observing costs less.
    Shed = 2,
    /// Kernel side: 1 once the kernel refused to take a flag back from a socket when the observer ended.
    ReleaseRefused = 3,
    /// User space: 1 while it adds the handshakes that have a record to the rows of their destinations and to the counters of
    /// their network namespaces; the kernel side leaves that to it then, and says so in the record.
    ReaderCounts = 4,
    /// User space and kernel side: 1 once a program that may take callback flags of ours has been loaded, or one was gone. A flow
    /// may then be left without the flags that tell that its socket has one.
    FlagsMayGo = 5,
}

impl Control {
    /// Number of entries.
    pub const COUNT: u32 = 6;
    /// Entries there is room for, a power of two.
    pub const ROOM: u32 = Self::COUNT.next_power_of_two();
}

codes! {
    /// What is given up to keep the own cost within `--max-overhead`, in this order; each step gives up what those before it
    /// do as well.
    Shed: u32 {
        /// Nothing.
        Nothing = 0, "nothing", "nothing is given up";
        /// Nobody waits for the first byte of an answer any more.
        FirstBytes = 1, "first-bytes", "times to first byte are not taken";
        /// A handshake without Fast Open is counted in one number, [`crate::counters::Stat::Shed`].
        Plain = 2, "plain", "connections without Fast Open are neither in totals nor in rows; times to first byte are not taken";
        /// The programs are detached, for good.
        Detached = 3, "detached", "everything is detached: nothing is counted any more";
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes the enum knows of no default"
)]
impl Default for Shed {
    fn default() -> Self {
        Self::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_whole_and_part_bytes() {
        assert_eq!(mask32(24).to_ne_bytes(), [0xff, 0xff, 0xff, 0]);
        assert_eq!(mask32(20).to_ne_bytes(), [0xff, 0xff, 0xf0, 0]);
        assert_eq!((mask32(0), mask32(32), mask32(200)), (0, u32::MAX, u32::MAX));
        let bytes = |bits| mask128(bits).map(u32::to_ne_bytes).concat_bytes();
        for bits in 0..=128u8 {
            let kept: u32 = bytes(bits).iter().map(|byte| byte.leading_ones()).sum();
            assert_eq!(kept, u32::from(bits), "/{bits}");
        }
    }

    trait ConcatBytes {
        fn concat_bytes(self) -> [u8; 16];
    }

    impl ConcatBytes for [[u8; 4]; 4] {
        fn concat_bytes(self) -> [u8; 16] {
            core::array::from_fn(|index| self[index / 4][index % 4])
        }
    }
}
