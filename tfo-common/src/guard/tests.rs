//! The guard's state machine: its table, and what must hold whatever happens.

use proptest::prelude::*;

use super::{state::BASELINE, window::push, *};

pub const CONFIG: GuardConfig = GuardConfig {
    backoff_ns: 10_000_000,
    max_backoff_ns: 80_000_000,
    created_ns: 0,
    failures: 3,
    of: 4,
    escalate: 1,
    pad: [0; 5],
    by: [0; crate::policy::BY_LEN],
    cgroup: [0; crate::policy::PATH_LEN],
};
pub const CALM: GuardConfig = GuardConfig {
    escalate: 0,
    ..CONFIG
};

/// A handshake that ended as they do one after the other.
pub fn ended(evidence: Evidence, trial: bool) -> Ended {
    Ended {
        evidence,
        trial,
        later: 0,
        lost_us: 1_000,
    }
}

/// Feeds evidence at instant `now`; returns what the last one did.
pub fn apply_all(state: &mut GuardState, config: &GuardConfig, evidence: &[Evidence], now: u64) -> Change {
    evidence.iter().fold(Change::None, |_, one| {
        state.on_evidence(config, &ended(*one, false), now)
    })
}

fn opened() -> GuardState {
    let mut state = GuardState::NEW;
    assert_eq!(
        apply_all(&mut state, &CONFIG, &[Evidence::TfoFailed; 3], 5),
        Change::Opened
    );
    state
}

#[test]
fn k_of_n_opens() {
    use Evidence::{TfoFailed as F, TfoOk as O};
    for (evidence, want) in [
        (&[F, F][..], Phase::Closed),
        (&[F, F, F], Phase::Open),
        (&[F, O, F, F], Phase::Open),
        (&[F, O, O, F, F], Phase::Closed),
        (&[F, F, O, F], Phase::Open),
        (&[O, O, O, F, F], Phase::Closed),
    ] {
        let mut state = GuardState::NEW;
        apply_all(&mut state, &CONFIG, evidence, 1);
        assert_eq!(state.phase(), want, "{evidence:?}");
    }
}

#[test]
fn a_path_that_loses_plain_syns_too_is_not_tfos_fault() {
    let mut state = GuardState::NEW;
    apply_all(
        &mut state,
        &CONFIG,
        &[Evidence::PlainFailed, Evidence::PlainFailed, Evidence::PlainOk],
        1,
    );
    assert_eq!(
        apply_all(&mut state, &CONFIG, &[Evidence::TfoFailed; 9], 1),
        Change::None
    );
    apply_all(&mut state, &CONFIG, &[Evidence::PlainOk; 6], 1);
    assert_eq!(
        apply_all(&mut state, &CONFIG, &[Evidence::TfoFailed], 1),
        Change::Opened
    );
}

#[test]
fn open_denies_until_the_back_off_is_over() {
    let state = opened();
    assert_eq!(state.decide(5), Decision::Deny);
    assert_eq!(state.decide(5 + CONFIG.backoff_ns - 1), Decision::Deny);
    assert_eq!(state.decide(5 + CONFIG.backoff_ns), Decision::Trial);
    assert_eq!(GuardState::NEW.decide(u64::MAX), Decision::Pass);
}

#[test]
fn a_trial_decides() {
    let mut state = opened();
    state.begin_trial(100);
    assert_eq!(
        (state.phase, state.decide(101)),
        (Phase::HalfOpen as u8, Decision::Deny)
    );
    assert_eq!(
        state.decide(100 + TRIAL_NS),
        Decision::Trial,
        "a lost trial is not waited for for ever"
    );
    let mut good = state;
    assert_eq!(
        good.on_evidence(&CONFIG, &ended(Evidence::TfoOk, true), 200),
        Change::Closed
    );
    assert_eq!(good.decide(200), Decision::Pass);
    let mut bad = state;
    for (relapse, factor) in [(1, 2), (2, 4), (3, 8), (4, 8)] {
        assert_eq!(
            bad.on_evidence(&CONFIG, &ended(Evidence::TfoFailed, true), 200),
            Change::Relapsed
        );
        assert_eq!(
            (bad.relapses, bad.until_ns),
            (relapse, 200 + factor * CONFIG.backoff_ns)
        );
        bad.begin_trial(300);
    }
    let mut void = state;
    void.end_trial(&CONFIG, 400);
    assert_eq!(
        (void.phase, void.until_ns),
        (Phase::Open as u8, 400 + CONFIG.backoff_ns)
    );
}

#[test]
fn old_news_does_not_count_as_a_trial() {
    let mut state = opened();
    state.begin_trial(100);
    assert_eq!(
        apply_all(&mut state, &CONFIG, &[Evidence::TfoOk, Evidence::TfoFailed], 101),
        Change::None
    );
    assert_eq!(state.phase, Phase::HalfOpen as u8);
}

#[test]
fn failing_bare_syns_escalate_only_when_asked() {
    let mut state = opened();
    assert_eq!(
        apply_all(&mut state, &CONFIG, &[Evidence::BareFailed; 3], 6),
        Change::Escalated
    );
    assert_eq!(state.decide(7), Decision::Strip);
    let mut calm = opened();
    assert_eq!(
        apply_all(&mut calm, &CALM, &[Evidence::BareFailed; 9], 6),
        Change::None
    );
    assert_eq!(calm.decide(7), Decision::Deny);
    // Cookie requests that vanish are reason enough.
    let mut fresh = GuardState::NEW;
    assert_eq!(
        apply_all(&mut fresh, &CONFIG, &[Evidence::BareFailed; 3], 6),
        Change::Opened
    );
    assert_eq!(fresh.decide(7), Decision::Strip);
    let mut fresh = GuardState::NEW;
    assert_eq!(
        apply_all(&mut fresh, &CALM, &[Evidence::BareFailed; 9], 6),
        Change::None
    );
}

#[test]
fn a_stripped_destination_comes_back_in_two_steps() {
    let mut state = opened();
    apply_all(&mut state, &CONFIG, &[Evidence::BareFailed; 3], 6);
    state.begin_trial(100);
    state.on_evidence(&CONFIG, &ended(Evidence::BareOk, true), 101);
    assert_eq!(
        (state.level, state.decide(101)),
        (level::NO_DATA, Decision::Trial)
    );
    state.begin_trial(102);
    assert_eq!(
        state.on_evidence(&CONFIG, &ended(Evidence::TfoOk, true), 103),
        Change::Closed
    );
}

#[test]
fn a_destination_that_was_down_gets_tfo_back() {
    let mut state = opened();
    apply_all(&mut state, &CALM, &[Evidence::BareFailed; 4], 6);
    state.begin_trial(50);
    state.on_evidence(&CALM, &ended(Evidence::TfoFailed, true), 60);
    assert_eq!(state.relapses, 0, "no blame while nothing gets through");
    assert_eq!(
        apply_all(&mut state, &CALM, &[Evidence::BareOk], 70),
        Change::Closed
    );
}

#[test]
fn one_lost_bare_syn_changes_nothing() {
    let mut state = opened();
    assert_eq!(
        apply_all(&mut state, &CONFIG, &[Evidence::BareFailed, Evidence::BareOk], 6),
        Change::None
    );
    assert_eq!(state.decide(7), Decision::Deny);
}

/// A generator with a fixed seed stands in for the path.
struct Path(u64);

impl Path {
    /// Loses one of twenty.
    fn loses(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11).is_multiple_of(20)
    }
}

pub const DEFAULT: GuardConfig = GuardConfig {
    failures: FAILURES,
    of: OF,
    ..CONFIG
};

/// 5 % loss, the default K of N, one connection after the other.
#[test]
fn random_loss_does_not_open_it() {
    let (mut state, mut path) = (GuardState::NEW, Path(0x2545_f491_4f6c_dd1d));
    for connection in 0..20_000 {
        let evidence = if path.loses() {
            Evidence::TfoFailed
        } else {
            Evidence::TfoOk
        };
        assert_eq!(
            apply_all(&mut state, &DEFAULT, &[evidence], connection),
            Change::None,
            "{connection}"
        );
    }
    // And one that eats SYN data, with the same random loss on everything else.
    let opened_after = (1..=u32::from(OF))
        .find(|_| apply_all(&mut state, &DEFAULT, &[Evidence::TfoFailed], 9) == Change::Opened);
    assert!(
        opened_after.is_some_and(|count| count <= u32::from(FAILURES)),
        "{opened_after:?}"
    );
}

/// The same with fifty clients: a success shows at once, a failure when 1,000 more successes could have been.
/// Nearly all clients wait most of the time, and failures show one after the other.
#[test]
fn random_loss_in_bursts_does_not_open_it() {
    let (mut state, mut path, mut seen) = (GuardState::NEW, Path(0x9e37_79b9_7f4a_7c15), 0u32);
    // When each client goes on, and what its lost SYN had seen.
    let mut clients = [(0u64, None); 50];
    for now in 0..400_000u64 {
        let client = &mut clients[(now % 50) as usize];
        if client.0 > now {
            continue;
        }
        if let Some(before) = client.1.take() {
            let failure = Ended {
                later: later(before, seen),
                ..ended(Evidence::TfoFailed, false)
            };
            assert_eq!(
                state.on_evidence(&DEFAULT, &failure, now),
                Change::None,
                "at {now}"
            );
        }
        if path.loses() {
            *client = (now + 1_000, Some(seen));
        } else {
            state.on_evidence(&DEFAULT, &ended(Evidence::TfoOk, false), now);
            seen += 1;
        }
    }
    assert!(state.failures > 1_000 && state.attempts > 20_000, "{state:?}");
    // A burst in which nothing gets through opens it all the same.
    let burst = Ended {
        later: later(seen, seen),
        ..ended(Evidence::TfoFailed, false)
    };
    assert!((0..FAILURES).any(|_| state.on_evidence(&DEFAULT, &burst, 1) == Change::Opened));
}

#[test]
fn failures_take_the_place_of_their_syn() {
    // Newest on the right: three successes overtook the failure.
    assert_eq!(push(0b1000, 6, true, 3), 0b01_1000);
    assert_eq!(push(0b0011, 6, true, 0), 0b111);
    assert_eq!(push(0b0011, 6, true, 1), 0b111);
    assert_eq!(push(0b10_0000, 6, true, 5), 0b10_0000, "the oldest falls out");
    assert_eq!(push(0b01, 6, true, 6), 0b01, "too old to count");
    assert_eq!(push(u32::MAX, 32, true, 31), u32::MAX);
    assert_eq!((later(5, 9), later(9, 5)), (4, 5));
}

proptest! {
    /// Whatever comes, in whatever order: no overflow, bounded windows, an open state has an end.
    #[test]
    fn any_story_is_safe(
        story in proptest::collection::vec((0u8..11, any::<bool>(), any::<u32>(), 0u64..1_000_000), 0..200),
        failures in 1u8..=32, of in 1u8..=32, escalate in 0u8..2,
        backoff_ns: u64, max_backoff_ns: u64,
    ) {
        let config = GuardConfig { failures: failures.min(of), of, escalate, backoff_ns, max_backoff_ns, ..CONFIG };
        let mut state = GuardState::NEW;
        let mut now = 0u64;
        for (what, trial, lost, step) in story {
            now += step;
            match what {
                0..7 => {
                    let all = [Evidence::TfoOk, Evidence::TfoFailed, Evidence::BareOk, Evidence::BareFailed,
                        Evidence::PlainOk, Evidence::PlainFailed, Evidence::TfoDead];
                    let ended = Ended { evidence: all[what as usize], trial, later: lost % 40, lost_us: lost };
                    state.on_evidence(&config, &ended, now);
                }
                7 if state.decide(now) == Decision::Trial => state.begin_trial(now),
                8 => { state.on_witness(&config, lost.into(), lost % 3, now); }
                9 => {
                    let ended = Ended { evidence: Evidence::TfoFailed, trial, later: 0, lost_us: lost };
                    state.on_network(&config, lost % 5 > 0, &ended, lost % 7, lost % 2, now);
                }
                _ => state.end_trial(&config, now),
            }
            prop_assert!(u64::from(state.window) < 1 << of && u64::from(state.bare) < 1 << of);
            prop_assert_eq!(state.controlled & !state.window, 0);
            prop_assert!(state.doubt == doubt::NONE || state.phase() != Phase::Closed);
            prop_assert!(state.plain_ok + state.plain_failed <= BASELINE);
            prop_assert!(state.failures <= state.attempts);
            if state.phase == Phase::Closed as u8 {
                prop_assert_eq!(state.decide(now), Decision::Pass);
                prop_assert!(state.window.count_ones() < u32::from(config.failures) || state.plain_failed > 0);
            } else {
                prop_assert_eq!(state.decide(u64::MAX), Decision::Trial);
                prop_assert!(state.level == level::NO_DATA || escalate == 1);
            }
        }
    }

    #[test]
    fn the_back_off_grows_and_is_bounded(backoff_ns in 0u64..u64::MAX / 2, max_backoff_ns: u64, relapses: u8) {
        let config = GuardConfig { backoff_ns, max_backoff_ns, ..CONFIG };
        prop_assert!(backoff(&config, relapses) <= max_backoff_ns);
        prop_assert!(backoff(&config, relapses) <= backoff(&config, relapses.saturating_add(1)));
    }
}
