//! Sizes and bounds shared by kernel and user space.

/// Records that a block has room for ([`crate::records`]). A power of two.
pub const BLOCK_RECORDS: u32 = 4_096;
/// Blocks at most; where there are more CPUs, several share one. A power of two.
pub const RECORD_BLOCKS: u32 = 8;
/// Bytes of each of the two event rings, for records that find no room in a block: a power of two times the page size. At
/// 144 B a record (header included) both hold about 29,000.
pub const RING_BYTES: u32 = 2 * 1024 * 1024;
/// Fill of one ring, in bytes, above which the kernel wakes the reader instead of waiting for its timer.
pub const RING_WAKE_BYTES: u32 = RING_BYTES / 4;
/// Rows of the per-destination table.
pub const DESTS: u32 = 16_384;
/// Server facts of handshakes in flight (request sockets that carried TFO).
pub const REQUESTS: u32 = 16_384;
/// Kinds that they are told apart by before one is looked up: as many as have their counters in one cache line.
pub const REQUEST_KINDS: usize = 16;
/// Rows in which SYNs with Fast Open are counted listener by listener, each at the place its socket's address leads to: so many
/// for each CPU. A power of two.
pub const ARRIVED: u32 = 2_048;
/// CPUs that have such rows of their own; where there are more, several share them. A power of two.
pub const ARRIVED_CPUS: u32 = 8;
/// Listeners that are counted besides, because another one has their row; the one least used starts anew beyond it.
pub const LISTENERS: u32 = 4_096;
/// Places for TFO connections between their SYN and their first byte. A power of two. Each of them is found at one of
/// [`FLOW_STEPS`] + 1 of these: while no more than a quarter are taken, one in 65,000 finds none, and is counted.
pub const FLOWS: u32 = 32_768;
/// Length of each of them, bytes.
pub const FLOW_BYTES: usize = 192;
/// Length of what says who may have one, bytes.
pub const CLAIM_BYTES: usize = 16;
/// Places that are tried where another connection has the first one.
pub const FLOW_STEPS: u32 = 7;
/// Slots that remember when a plain connection sent its SYN. A power of two.
pub const STARTS: u32 = 65_536;
/// Slots that carry times to first byte to user space. A power of two; at 100,000 flows/s one is reused
/// after two thirds of a second.
pub const FIRST_BYTES: u32 = 65_536;
/// Rows of destinations that the reader of records makes of them; where there are more, the kernel side makes all that come
/// after. At 770 bytes each they are 3 MB of user space's memory.
pub const ROWS_BY_READER: u32 = 4_096;
/// Slots in which user space remembers SYNs whose data was accepted, to know a duplicate. A power of two; at 1,000 of them a second one is
/// reused after 16 seconds on average.
pub const SYNS: u32 = 16_384;
/// Slots that remember ports whose listeners have a callback flag of ours. A power of two.
pub const PRIMED: u32 = 4_096;
/// Destinations whose connections that ended late are added up; those beyond are not.
pub const LIVED: u32 = 1_024;
/// Age from which on the end of such a connection is counted, unless asked otherwise (`--long-lived`), ms.
pub const LONG_LIVED_MS: u32 = 60_000;
/// Elements of an LRU map that a CPU takes and keeps for itself (`LOCAL_FREE_TARGET`, `kernel/bpf/bpf_lru_list.c`).
pub const LRU_BLOCK: u32 = 128;

/// Entries an LRU map needs so that no CPU goes without, where `wanted` are asked for: two blocks for each possible
/// CPU. With fewer, a CPU that finds no free element recycles its own newest while others sit on theirs (until
/// kernel commit d4adf1c9ee77).
pub const fn lru_entries(wanted: u32, cpus: u32) -> u32 {
    let least = cpus.saturating_mul(2 * LRU_BLOCK);
    if wanted < least { least } else { wanted }
}

/// Of so many plain connections one has its time to first byte taken, unless asked otherwise (`--ttfb-sample`).
pub const TTFB_SAMPLE: u32 = 16;
/// Network namespaces with cross-check counters of their own.
pub const NETNS: u32 = 1_024;
/// Length of `comm`, the terminating zero included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Prefix length a server's remote IPv4 address is cut to in the destination table.
pub const SERVER_V4_PREFIX: u8 = 24;
/// Prefix length a server's remote IPv6 address is cut to in the destination table.
pub const SERVER_V6_PREFIX: u8 = 48;
/// log2 buckets of a latency histogram: bucket `i` holds values below `2^i` us, the last one all above.
pub const BUCKETS: usize = 24;
/// Smallest destination table a user may ask for (`--destinations`).
pub const MIN_DESTS: u32 = 64;
/// Instructions the verifier may process for one program of ours. It gives up at a million
/// (`BPF_COMPLEXITY_LIMIT_INSNS`, `include/linux/bpf.h`), and the same program costs several times more on
/// one kernel than on another.
pub const VERIFIED_INSNS: u32 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_has_two_blocks_of_an_lru_map() {
        assert_eq!(lru_entries(REQUESTS, 8), REQUESTS);
        assert_eq!(lru_entries(REQUESTS, 64), REQUESTS);
        assert_eq!(lru_entries(REQUESTS, 512), 131_072);
        assert_eq!(lru_entries(LISTENERS, 16), LISTENERS);
        assert_eq!(lru_entries(1_024, 8), 2_048);
        assert_eq!(lru_entries(1, u32::MAX), u32::MAX);
    }
}
