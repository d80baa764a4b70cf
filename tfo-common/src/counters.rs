//! Counters: totals per role and outcome, losses by reason, bookkeeping, and the cross-check against the
//! kernel's own `TCPFastOpen*` counters.

use crate::{
    codes::codes,
    outcome::{Outcome, Role},
};

/// Entries of [`crate::maps::TOTALS`].
pub const TOTALS: u32 = (Role::COUNT * Outcome::COUNT) as u32;

/// Index of a role and outcome in [`crate::maps::TOTALS`].
#[inline(always)]
pub const fn total_index(role: Role, outcome: Outcome) -> u32 {
    (role as usize * Outcome::COUNT + outcome as usize) as u32
}

codes! {
    /// Everything the tool did not see or could not keep, by reason. The first [`Loss::KERNEL`] are counted
    /// by the BPF programs in [`crate::maps::LOSSES`]; user space works out the others.
    Loss: u32 {
        /// `bpf_ringbuf_reserve` failed for a flow: it is counted in the totals, its record is lost.
        RingFull = 0, "ring-full", "flow records lost because the event ring was full";
        /// The table of TFO connections under way was full: one was not followed at all.
        FlowTable = 1, "flow-table", "TFO connections not followed: the table of connections under way was full";
        /// A row of the destination table could not be inserted.
        DestInsert = 2, "dest-insert", "handshakes missing in the destination table: no row could be inserted";
        /// A client handshake with TFO finished whose SYN was not seen: it was under way when the tool
        /// attached, or its entry was lost.
        SynUnseen = 3, "syn-unseen", "TFO handshakes whose SYN was not seen: under way when the tool attached";
        /// Facts of a SYN could not be kept until its handshake finished.
        RequestInsert = 4, "request-insert", "server handshakes not classified: facts of the SYN could not be kept";
        /// A handshake finished on a listener without our callback flag: its SYN was not seen.
        Unprimed = 5, "unprimed-listener", "server handshakes whose SYN was not seen: the listener existed before the tool";
        /// The kernel lacks fields needed to judge the listener.
        ListenerUnknown = 6, "listener-unknown", "server handshakes not classified: this kernel hides the listener's TFO state";
        /// No room for another network namespace in the cross-check table.
        NetnsFull = 7, "netns-full", "handshakes missing in the cross-check: too many network namespaces";
        /// A SYN was sent again and we were not told, because another program cleared our callback flags: the connection
        /// is counted, the time it lost is worked out from its round trip.
        FlagsLost = 8, "flags-lost", "connections whose lost time is an estimate: another program cleared our callback flags";
        /// User space: rows the LRU replaced.
        DestEvicted = 9, "dest-evicted", "rows dropped from the destination table because it was full";
        /// User space: facts of SYNs the LRU replaced (the handshake may never have finished).
        RequestEvicted = 10, "request-evicted", "SYN facts dropped before their handshake finished (at most)";
        /// User space: a record of a size or kind this version does not know.
        BadRecord = 11, "bad-record", "ring records that could not be read";
        /// User space: records whose facts exclude each other.
        Contradictory = 12, "contradictory", "records whose facts exclude each other: shown as they came (a defect, please report it)";
        /// User space, from [`Stat::Shed`]: plain handshakes that were not looked at, to keep within `--max-overhead`.
        Shed = 13, "shed", "connections without Fast Open that were only counted here, to keep within --max-overhead";
        /// User space: rows of [`crate::maps::ARRIVALS`] the LRU replaced.
        ListenerEvicted = 14, "listener-evicted", "listeners whose counts of SYNs with Fast Open began anew: the table was full (at most)";
    }
}

impl Loss {
    /// Number of losses the kernel side counts.
    pub const KERNEL: usize = 9;
}

codes! {
    /// Bookkeeping of the BPF programs, stored behind the losses in [`crate::maps::LOSSES`].
    Stat: u32 {
        /// Flow records written. Counted only where plain handshakes have records too; else there is one for every
        /// other handshake that was counted, but for [`Loss::RingFull`].
        Events = 0, "events", "flow records written";
        /// Rows inserted into the destination table.
        DestInserted = 1, "dest-inserted", "rows inserted into the destination table";
        /// SYN facts stored.
        RequestStored = 2, "request-stored", "SYN facts stored";
        /// SYN facts taken out again by their finished handshake.
        RequestTaken = 3, "request-taken", "SYN facts used";
        /// First bytes of plain connections, noted in their row alone.
        PlainFirstBytes = 4, "plain-first-bytes", "first bytes of plain connections";
        /// Handshakes without Fast Open under [`crate::flags::Shed::Plain`].
        Shed = 5, "shed", "handshakes without Fast Open that were not looked at";
        /// Rows inserted into [`crate::maps::ARRIVALS`].
        ListenersCounted = 6, "listeners-counted", "listeners whose SYNs with Fast Open are counted";
        /// Those of them taken out, because another listener has their address.
        ListenersForgotten = 7, "listeners-forgotten", "listeners whose address was given to another";
    }
}

/// Entries of [`crate::maps::LOSSES`]: the kernel's losses, then the statistics.
pub const LOSS_ENTRIES: u32 = (Loss::KERNEL + Stat::COUNT) as u32;

/// Index of a statistic in [`crate::maps::LOSSES`].
#[inline(always)]
pub const fn stat_index(stat: Stat) -> u32 {
    Loss::KERNEL as u32 + stat as u32
}

codes! {
    /// What the kernel's own counters should show, from what the BPF programs saw (docs/kernel-facts.md section 3).
    CrossCheck: u32 {
        /// Client: all SYN data acked (`tcp_rcv_fastopen_synack`).
        Active = 0, "TCPFastOpenActive", "client connections whose SYN data was all acked";
        /// Client: established with unacked SYN data.
        ActiveFail = 1, "TCPFastOpenActiveFail", "client connections established with unacked SYN data";
        /// Any TFO socket: third consecutive timeout, or expiry before it
        /// (`tcp_fastopen_active_detect_blackhole`); the kernel adds it to the same counter.
        ActiveFailTimeout = 2, "TCPFastOpenActiveFail", "TFO sockets at their third consecutive timeout";
        /// Server: child created from the SYN.
        Passive = 3, "TCPFastOpenPassive", "children created from the SYN";
        /// Server: cookie present, not valid.
        PassiveFail = 4, "TCPFastOpenPassiveFail", "SYNs with a cookie that did not match";
        /// Server: queue full.
        ListenOverflow = 5, "TCPFastOpenListenOverflow", "SYNs that found the TFO queue full";
        /// Server: empty option received, TFO enabled or not.
        CookieReqd = 6, "TCPFastOpenCookieReqd", "SYNs that asked for a cookie";
    }
}

/// Cross-check counters of one network namespace: the value of [`crate::maps::NETNS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetnsCounters {
    /// Counts, indexed by [`CrossCheck`].
    pub counts: [u64; CrossCheck::COUNT],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_do_not_collide() {
        let mut seen = [false; TOTALS as usize];
        for role in Role::ALL {
            for outcome in Outcome::ALL {
                let slot = &mut seen[total_index(role, outcome) as usize];
                assert!(!*slot);
                *slot = true;
            }
        }
        assert!(seen.iter().all(|slot| *slot));
    }

    #[test]
    fn kernel_losses_come_first() {
        assert_eq!(Loss::DestEvicted as usize, Loss::KERNEL);
        assert_eq!(stat_index(Stat::Events), Loss::KERNEL as u32);
    }
}
