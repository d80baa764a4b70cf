//! Medians with confidence intervals.
//!
//! The interval needs no assumption about the distribution: the probability that the median lies between the k-th
//! smallest and the k-th largest value follows from the binomial distribution with p = 1/2. With fewer than six values, no
//! interval reaches 95 %, and there is none.

use std::time::Duration;

use super::attempt::{Attempt, Step};

/// Confidence level of the intervals.
pub const CONFIDENCE: f64 = 0.95;

/// The median of several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Median {
    /// The median; of an even number of values the mean of the two in the middle.
    pub value: Duration,
    /// Its confidence interval with [`CONFIDENCE`]; `None` with too few values.
    pub interval: Option<(Duration, Duration)>,
    /// Number of values.
    pub count: usize,
}

/// The median of these times; `None` without any.
pub fn median(times: impl IntoIterator<Item = Duration>) -> Option<Median> {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_unstable();
    let count = times.len();
    let upper = *times.get(count / 2)?;
    let lower = times[(count - 1) / 2];
    Some(Median {
        value: (lower + upper) / 2,
        interval: rank(count).map(|rank| (times[rank], times[count - 1 - rank])),
        count,
    })
}

/// The largest index k such that the values k from either end enclose the median with [`CONFIDENCE`].
fn rank(count: usize) -> Option<usize> {
    let mut outside = 0.0;
    // Probability of at most `index` values below the median, from `index` = 0 on.
    let mut chance = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut found = None;
    for index in 0..count / 2 {
        outside += chance;
        if 1.0 - 2.0 * outside < CONFIDENCE {
            break;
        }
        found = Some(index);
        chance *= (count - index) as f64 / (index + 1) as f64;
    }
    found
}

/// The times of attempts of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Round trip time as the kernel measured it.
    pub rtt: Option<Median>,
    /// Time from the first call to the completed handshake.
    pub handshake: Option<Median>,
    /// Time from the first call to the first byte of the reply.
    pub first_byte: Option<Median>,
}

/// The times of these attempts.
pub fn of(attempts: &[Attempt], step: Step) -> Times {
    let times = |of: fn(&Attempt) -> Option<Duration>| {
        median(
            attempts
                .iter()
                .filter(|attempt| attempt.step == step && !is_first_contact(attempt))
                .filter_map(of),
        )
    };
    Times {
        rtt: times(|attempt| attempt.rtt),
        handshake: times(|attempt| attempt.handshake),
        first_byte: times(|attempt| attempt.first_byte),
    }
}

/// The times of attempts with data in the SYN. A cookie request saves no time and happens once, so it is left out.
fn is_first_contact(attempt: &Attempt) -> bool {
    attempt.step == Step::FastOpen && !matches!(attempt.carried, super::attempt::Carried::Data(_))
}

/// Time that Fast Open saves until the first byte, in ms; negative when it costs time.
pub fn saving_ms(plain: &Times, fast_open: &Times) -> Option<f64> {
    let ms = |median: Median| median.value.as_secs_f64() * 1_000.0;
    Some(ms(plain.first_byte?) - ms(fast_open.first_byte?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn few_values_have_a_median_and_no_interval() {
        assert_eq!(median([]), None);
        let three = median(ms(&[30, 10, 20])).expect("there are values");
        assert_eq!(
            (three.value, three.interval, three.count),
            (ms(&[20])[0], None, 3)
        );
        assert_eq!(
            median(ms(&[10, 20])).map(|two| two.value),
            Some(Duration::from_millis(15))
        );
        assert_eq!(median(ms(&[1, 2, 3, 4, 5])).and_then(|five| five.interval), None);
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Order statistics for 95 %: 6 values 1..6, 9 values 2..8, 20 values 6..15.
        for (count, rank_from_one) in [(6, 1), (9, 2), (20, 6)] {
            assert_eq!(rank(count), Some(rank_from_one - 1), "{count}");
        }
    }

    proptest! {
        #[test]
        fn the_interval_encloses_the_median(values in proptest::collection::vec(0u64..5_000, 1..40)) {
            let found = median(ms(&values)).expect("there are values");
            if let Some((low, high)) = found.interval {
                prop_assert!(low <= found.value && found.value <= high);
            }
        }
    }
}
