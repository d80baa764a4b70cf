//! A destination row as a list of numbered fields, and the differences between two states of it. Recordings
//! and the history of the dashboard store only differences: most rows do not move from one second to the next.
//!
//! Field numbers are part of the recording format: append-only, with room where enums grow.

use tfo_common::{DestKey, DestStats, Outcome, limits::BUCKETS};

use super::packed::Packed;
use super::varint::{put, take, take_array, unzigzag, zigzag};

/// First field of the sums; outcomes lie below, with room for 64.
const SUMS: u8 = 64;
/// First bucket of the four histograms.
const BUCKET: u8 = 96;
/// Fields of each of them.
const HISTOGRAM: u8 = 24;

/// Numbers that are not zero, by field, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseRow(Vec<(u8, u64)>);

impl SparseRow {
    /// Those of a row of the kernel's table.
    pub fn of(stats: &DestStats) -> Self {
        let outcomes = (0u8..).zip(stats.outcomes);
        let sums = (SUMS..).zip(sums(stats));
        let all = histograms(stats).into_iter().flatten();
        let buckets = (BUCKET..).zip(all.map(|count| u64::from(*count)));
        Self(
            outcomes
                .chain(sums)
                .chain(buckets)
                .filter(|(_, value)| *value != 0)
                .collect(),
        )
    }

    /// The row again; fields this version does not know are left out.
    pub fn stats(&self) -> DestStats {
        let mut stats = DestStats::ZERO;
        for (field, value) in &self.0 {
            set(&mut stats, *field, *value);
        }
        stats
    }

    /// Whether every field is zero.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, field: u8) -> u64 {
        self.0
            .binary_search_by_key(&field, |(field, _)| *field)
            .map_or(0, |place| self.0[place].1)
    }

    /// Writes what turns `before` into `self`.
    pub fn put_difference(&self, before: &SparseRow, out: &mut Vec<u8>) {
        let mut fields: Vec<u8> = self.0.iter().chain(&before.0).map(|(field, _)| *field).collect();
        fields.sort_unstable();
        fields.dedup();
        fields.retain(|field| self.get(*field) != before.get(*field));
        put(fields.len() as u64, out);
        for field in fields {
            out.push(field);
            put(zigzag(self.get(field), before.get(field)), out);
        }
    }

    /// Applies a difference, forwards.
    pub fn add(&mut self, difference: &RowDelta) {
        self.shift(difference, false);
    }

    /// Applies a difference, backwards.
    pub fn subtract(&mut self, difference: &RowDelta) {
        self.shift(difference, true);
    }

    fn shift(&mut self, difference: &RowDelta, back: bool) {
        for (field, by) in &difference.0 {
            let by = if back { by.wrapping_neg() } else { *by };
            match self.0.binary_search_by_key(field, |(field, _)| *field) {
                Ok(place) => self.0[place].1 = self.0[place].1.wrapping_add_signed(by),
                Err(place) => self.0.insert(place, (*field, 0u64.wrapping_add_signed(by))),
            }
        }
        self.0.retain(|(_, value)| *value != 0);
    }
}

/// Writes what turns `before` into `now`, as [`SparseRow::put_difference`] does, but without a list of either: for
/// tables of which every row changes each second.
pub fn put_change(before: &Packed, now: &Packed, out: &mut Vec<u8>) {
    let length_at = out.len();
    out.push(0);
    let mut fields = 0;
    let mut note = |field: u8, before: u64, now: u64| {
        if before != now {
            out.push(field);
            put(zigzag(now, before), out);
            fields += 1;
        }
    };
    for (field, (before, now)) in (0u8..).zip(before.outcomes.into_iter().zip(now.outcomes)) {
        note(field, before.into(), now.into());
    }
    for (field, (before, now)) in (SUMS..).zip(packed_sums(before).into_iter().zip(packed_sums(now))) {
        note(field, before, now);
    }
    let mut buckets = (
        before.histograms.filled().peekable(),
        now.histograms.filled().peekable(),
    );
    loop {
        // The next place that either of them has.
        let (before, now) = (buckets.0.peek().copied(), buckets.1.peek().copied());
        let places = before.iter().chain(&now).map(|(place, _)| *place);
        let Some(place) = places.min() else { break };
        let count = |filled: Option<(u8, u32)>| filled.map_or(0, |(_, count)| count.into());
        let before = count(buckets.0.next_if(|(at, _)| *at == place));
        let now = count(buckets.1.next_if(|(at, _)| *at == place));
        note(BUCKET + place, before, now);
    }
    out[length_at] = fields;
}

fn packed_sums(counts: &Packed) -> [u64; 9] {
    [
        counts.syn_bytes,
        counts.syn_bytes_acked,
        counts.saved_us,
        counts.lost_us,
        counts.rtt_sum_us,
        counts.rtt_count.into(),
        counts.cookies.into(),
        counts.plain_retrans.into(),
        counts.last_ns,
    ]
}

/// What changed, by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowDelta(Vec<(u8, i64)>);

impl RowDelta {
    /// Takes one off the front; `None` when it is damaged.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let count = take(bytes)?;
        // A field number is one byte: more of them than there are is damage, not a reason to allocate.
        let count = u8::try_from(count).ok()?;
        let mut fields = Vec::with_capacity(count.into());
        for _ in 0..count {
            let [field] = take_array(bytes)?;
            fields.push((field, unzigzag(take(bytes)?)));
        }
        Some(Self(fields))
    }

    /// Writes it in the form [`SparseRow::put_difference`] has.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(self.0.len() as u64, out);
        for (field, by) in &self.0 {
            out.push(*field);
            put(zigzag(by.cast_unsigned(), 0), out);
        }
    }

    /// This one and then the later one, as one.
    pub fn then(&mut self, later: &RowDelta) {
        for (field, by) in &later.0 {
            match self.0.binary_search_by_key(field, |(field, _)| *field) {
                Ok(place) => self.0[place].1 = self.0[place].1.wrapping_add(*by),
                Err(place) => self.0.insert(place, (*field, *by)),
            }
        }
        self.0.retain(|(_, by)| *by != 0);
    }

    /// How the count of an outcome changed.
    pub fn outcome(&self, outcome: Outcome) -> i64 {
        let found = self.0.iter().find(|(field, _)| *field == outcome as u8);
        found.map_or(0, |(_, by)| *by)
    }

    /// How the number of TFO handshakes changed.
    pub fn attempts(&self) -> i64 {
        let plain = Outcome::Plain as u8;
        self.0
            .iter()
            .filter(|(field, _)| *field < SUMS && *field != plain)
            .map(|(_, by)| by)
            .sum()
    }
}

fn histograms(stats: &DestStats) -> [&[u32; BUCKETS]; 4] {
    [
        &stats.handshake_tfo,
        &stats.handshake_plain,
        &stats.ttfb_tfo,
        &stats.ttfb_plain,
    ]
}

fn sums(stats: &DestStats) -> [u64; 9] {
    [
        stats.syn_bytes,
        stats.syn_bytes_acked,
        stats.saved_us,
        stats.lost_us,
        stats.rtt_sum_us,
        stats.rtt_count,
        stats.cookies,
        stats.plain_retrans,
        stats.last_ns,
    ]
}

fn set(stats: &mut DestStats, field: u8, value: u64) {
    if field >= BUCKET {
        let place = usize::from(field - BUCKET);
        let histograms = [
            &mut stats.handshake_tfo,
            &mut stats.handshake_plain,
            &mut stats.ttfb_tfo,
            &mut stats.ttfb_plain,
        ];
        if let Some(histogram) = histograms.into_iter().nth(place / BUCKETS) {
            histogram[place % BUCKETS] = u32::try_from(value).unwrap_or(u32::MAX);
        }
        return;
    }
    let slot = match field {
        0..SUMS => stats.outcomes.get_mut(usize::from(field)),
        64 => Some(&mut stats.syn_bytes),
        65 => Some(&mut stats.syn_bytes_acked),
        66 => Some(&mut stats.saved_us),
        67 => Some(&mut stats.lost_us),
        68 => Some(&mut stats.rtt_sum_us),
        69 => Some(&mut stats.rtt_count),
        70 => Some(&mut stats.cookies),
        71 => Some(&mut stats.plain_retrans),
        72 => Some(&mut stats.last_ns),
        _ => None,
    };
    if let Some(slot) = slot {
        *slot = value;
    }
}

/// Writes a key: about ten bytes for IPv4.
pub fn put_key(key: &DestKey, out: &mut Vec<u8>) {
    out.push(key.role << 4 | key.family);
    out.extend(key.port.to_le_bytes());
    put(key.cgroup_id, out);
    let length = if key.family == 4 { 4 } else { 16 };
    out.extend(&key.remote[..length]);
}

/// Takes a key off the front; `None` when it is damaged.
pub fn take_key(bytes: &mut &[u8]) -> Option<DestKey> {
    let [head] = take_array(bytes)?;
    let (role, family) = (head >> 4, head & 15);
    tfo_common::Role::from_code(role)?;
    let port = u16::from_le_bytes(take_array(bytes)?);
    let cgroup_id = take(bytes)?;
    let mut remote = [0; 16];
    match family {
        4 => remote[..4].copy_from_slice(&take_array::<4>(bytes)?),
        6 => remote = take_array(bytes)?,
        _ => return None,
    }
    Some(DestKey {
        cgroup_id,
        remote,
        port,
        role,
        family,
        pad: 0,
    })
}

const _: () = assert!(Outcome::COUNT <= SUMS as usize);
const _: () = assert!(BUCKET as usize + 4 * BUCKETS <= u8::MAX as usize + 1);
const _: () = assert!(HISTOGRAM as usize == BUCKETS);
// The number of fields of a difference takes one byte.
const _: () = assert!(Outcome::COUNT + 9 + 4 * BUCKETS < 0x80);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::fake;

    fn stats() -> impl Strategy<Value = DestStats> {
        prop::collection::vec((0u8..192, any::<u32>()), 0..20).prop_map(|fields| {
            let mut stats = DestStats::ZERO;
            for (field, value) in fields {
                set(&mut stats, field, value.into());
            }
            stats
        })
    }

    proptest! {
        #[test]
        fn differences_lead_there_and_back(before in stats(), now in stats()) {
            let (before, now) = (SparseRow::of(&before), SparseRow::of(&now));
            let mut bytes = Vec::new();
            now.put_difference(&before, &mut bytes);
            let difference = RowDelta::take(&mut &bytes[..]).expect("it was written");
            let mut there = before.clone();
            there.add(&difference);
            prop_assert_eq!(&there, &now);
            there.subtract(&difference);
            prop_assert_eq!(&there, &before);
            let mut again = Vec::new();
            difference.put(&mut again);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn a_change_is_the_difference_of_two_lists(before in stats(), now in stats()) {
            let (mut lists, mut change) = (Vec::new(), Vec::new());
            // Counts that fit: others stay at their largest value.
            let (before, now) = (Packed::from(&before), Packed::from(&now));
            SparseRow::of(&now.stats()).put_difference(&SparseRow::of(&before.stats()), &mut lists);
            put_change(&before, &now, &mut change);
            prop_assert_eq!(lists, change);
        }

        #[test]
        fn two_differences_are_one(a in stats(), b in stats(), c in stats()) {
            let [a, b, c] = [a, b, c].map(|stats| SparseRow::of(&stats));
            let difference = |from: &SparseRow, to: &SparseRow| {
                let mut bytes = Vec::new();
                to.put_difference(from, &mut bytes);
                RowDelta::take(&mut &bytes[..]).expect("it was written")
            };
            let mut both = difference(&a, &b);
            both.then(&difference(&b, &c));
            let mut there = a.clone();
            there.add(&both);
            prop_assert_eq!(there, c);
        }

        #[test]
        fn rows_survive(stats in stats()) {
            prop_assert_eq!(SparseRow::of(&stats).stats(), stats);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = take_key(&mut &bytes[..]);
            let _ = RowDelta::take(&mut &bytes[..]);
        }
    }

    #[test]
    fn keys_survive() {
        let mut v6 = fake::dest_key(9);
        (v6.family, v6.remote, v6.role) = (6, [7; 16], 1);
        for key in [fake::dest_key(70_000), v6] {
            let mut bytes = Vec::new();
            put_key(&key, &mut bytes);
            assert_eq!(take_key(&mut &bytes[..]), Some(key));
        }
    }
}
