//! Whom a guard blames: restarts, networks, witnesses, and who gives up early.

use super::{
    tests::{CALM, CONFIG, DEFAULT, apply_all, ended},
    window::push_beside,
    *,
};

/// A trial that is due is taken, and this is what it shows.
fn try_out(state: &mut GuardState, config: &GuardConfig, evidence: Evidence, now: u64) -> Change {
    assert_eq!(state.decide(now), Decision::Trial, "{state:?}");
    state.begin_trial(now);
    state.on_evidence(config, &ended(evidence, true), now)
}

#[test]
fn a_destination_that_restarts_keeps_fast_open() {
    use Evidence::{BareFailed, BareOk, PlainFailed, PlainOk, TfoDead, TfoOk};
    // Whatever came before.
    for before in [&[][..], &[PlainOk; 40], &[PlainFailed; 8]] {
        for control in [BareFailed, PlainFailed] {
            let mut state = GuardState::NEW;
            apply_all(&mut state, &CALM, before, 1);
            let change = apply_all(&mut state, &CALM, &[TfoDead; 3], 2);
            assert!(matches!(change, Change::Doubted | Change::None), "{change:?}");
            // The next one leaves without data, and is refused as well.
            apply_all(&mut state, &CALM, &[control], 3);
            assert_eq!((state.decide(3), state.opened), (Decision::Pass, 0), "{before:?}");
        }
    }
    // It is back by the time of that connection: TFO is tried at once, and was not to blame.
    let mut state = GuardState::NEW;
    assert_eq!(apply_all(&mut state, &CALM, &[TfoDead; 3], 2), Change::Doubted);
    assert_eq!(state.decide(2), Decision::Deny);
    apply_all(&mut state, &CALM, &[BareOk], 3);
    assert_eq!(try_out(&mut state, &CALM, TfoOk, 4), Change::Closed);
    assert_eq!(state.opened, 0);
}

#[test]
fn a_box_that_resets_syn_data_opens_it_after_one_more() {
    for control in [Evidence::BareOk, Evidence::PlainOk] {
        let mut state = GuardState::NEW;
        apply_all(&mut state, &CALM, &[Evidence::TfoDead; 3], 2);
        apply_all(&mut state, &CALM, &[control], 3);
        assert_eq!(try_out(&mut state, &CALM, Evidence::TfoDead, 4), Change::Opened);
        let want = (1, 0, 4 + CALM.backoff_ns);
        assert_eq!((state.opened, state.relapses, state.until_ns), want);
        // From here on as ever.
        let later = 4 + CALM.backoff_ns;
        assert_eq!(
            try_out(&mut state, &CALM, Evidence::TfoDead, later),
            Change::Relapsed
        );
    }
    // Nobody connects without data: the back-off ends the doubt.
    let mut state = GuardState::NEW;
    apply_all(&mut state, &CALM, &[Evidence::TfoDead; 3], 2);
    assert_eq!(state.decide(1 + CALM.backoff_ns), Decision::Deny);
    let due = 2 + CALM.backoff_ns;
    assert_eq!(try_out(&mut state, &CALM, Evidence::TfoDead, due), Change::Opened);
}

#[test]
fn failures_whose_bare_syn_was_answered_need_no_other_control() {
    use Evidence::{TfoDead as D, TfoFailed as F};
    for (evidence, want) in [
        ([F, F, F], Change::Opened),
        ([D, F, F], Change::Opened),
        ([D, D, F], Change::Doubted),
        ([F, D, D], Change::Doubted),
    ] {
        let mut state = GuardState::NEW;
        assert_eq!(apply_all(&mut state, &CALM, &evidence, 1), want, "{evidence:?}");
    }
    // The mark stays beside its failure when a success overtakes another one.
    assert_eq!(push_beside(0b0100, 6, true, false, 1), 0b1000);
    assert_eq!(push_beside(0b0100, 6, true, true, 1), 0b1010);
    assert_eq!(push_beside(0b0100, 6, true, true, 9), 0b0100);
    assert_eq!(push_beside(0b0100, 6, false, false, 0), 0b1000);
}

/// One failure at a network, with so many successes by then.
fn network(state: &mut GuardState, place: u32, successes: u32) -> Change {
    let failure = ended(Evidence::TfoFailed, false);
    state.on_network(&DEFAULT, true, &failure, place, successes, 7)
}

#[test]
fn a_network_opens_after_failures_at_several_places() {
    let mut fresh = GuardState::NEW;
    let changes = [1, 2, 3, 4, 5].map(|place| network(&mut fresh, place * 2, 0));
    assert_eq!(changes[..4], [Change::None; 4]);
    assert_eq!(changes[4], Change::Doubted);
    assert_eq!(fresh.decide(7), Decision::Trial);
    fresh.begin_trial(7);
    assert_eq!(fresh.decide(8), Decision::Deny);
    let mut good = fresh;
    let success = ended(Evidence::TfoOk, true);
    assert_eq!(
        good.on_network(&DEFAULT, false, &success, 2, 1, 9),
        Change::Closed
    );
    assert_eq!((good.opened, good.row), (0, 0), "an outage ends with its trial");
    let failure = ended(Evidence::TfoFailed, true);
    assert_eq!(
        fresh.on_network(&DEFAULT, true, &failure, 2, 0, 9),
        Change::Opened
    );
    assert_eq!(fresh.decide(9), Decision::Deny);

    // Where there were successes none of the last six is one.
    let mut known = GuardState::NEW;
    assert!((1..=5).all(|place| network(&mut known, place * 2, 9) == Change::None));
    assert_eq!(network(&mut known, 2, 9), Change::Doubted);
    // Two places are two bad destinations.
    let mut few = GuardState::NEW;
    assert!((0..90).all(|count| network(&mut few, 2 + count % 2 * 2, 0) == Change::None));
}

#[test]
fn three_bad_among_fifty_never_open_a_network() {
    let (mut state, mut successes) = (GuardState::NEW, 0);
    for _ in 0..200u32 {
        for destination in 0..50 {
            if destination % 17 == 3 {
                assert_eq!(
                    network(&mut state, (destination + 1) * 2, successes),
                    Change::None
                );
            } else {
                successes += 1;
            }
        }
    }
    assert_eq!(state.failures, 600);
}

#[test]
fn everybody_needs_two_witnesses() {
    for (one, other, want) in [
        ((5, 1000), (6, 1001), Change::Opened),
        ((5, 1000), (6, 1000), Change::None),
        ((5, 1000), (5, 1001), Change::None),
        ((5, 0), (6, 0), Change::Opened),
        ((5, 0), (5, 0), Change::None),
    ] {
        let mut state = GuardState::NEW;
        assert_eq!(state.on_witness(&CONFIG, one.0, one.1, 10), Change::None);
        let change = state.on_witness(&CONFIG, other.0, other.1, 11);
        assert_eq!(change, want, "{one:?} {other:?}");
        assert_eq!(state.phase() == Phase::Open, want == Change::Opened);
    }
    // One of long ago is none any more.
    let mut state = GuardState::NEW;
    state.on_witness(&CONFIG, 5, 1000, 10);
    let late = 10 + CONFIG.max_backoff_ns;
    assert_eq!(state.on_witness(&CONFIG, 6, 1001, late), Change::None);
}

#[test]
fn who_gives_up_early_says_nothing() {
    const MS: u64 = 1_000_000;
    for (waited_ms, rtt_ms, want) in [
        (200, 0, false),
        (200, 600, false),
        (2_399, 600, false),
        (2_400, 600, true),
        (49, 1, false),
        (50, 1, true),
        (50, 12, true),
        (50, 13, false),
    ] {
        let shown = waited_long_enough(waited_ms * MS, rtt_ms * 1_000);
        assert_eq!(shown, want, "{waited_ms} ms of {rtt_ms}");
    }
}

/// What is left out of the count makes no difference: every sequence of ten successes of a network and failures of two of its
/// states, with all successes counted and with those that [`Slot::counts`] asks for.
#[test]
fn a_network_needs_few_of_its_successes_counted() {
    const EVENTS: u32 = 10;
    for sequence in 0..3u32.pow(EVENTS) {
        let mut states = [[GuardState::NEW; 2]; 2];
        let (mut all, mut slot) = (0, Slot::default());
        for event in 0..EVENTS {
            let of = sequence / 3u32.pow(event) % 3;
            if of == 2 {
                all += 1;
                if slot.counts() {
                    slot.read = 0;
                    slot.tfo += 1;
                }
                continue;
            }
            let [counted, asked] = &mut states[of as usize];
            let change = network(counted, event, all);
            assert_eq!(network(asked, event, slot.tfo), change, "{sequence} at {event}");
            slot.read = 1;
            assert_eq!(
                (asked.row, asked.phase),
                (counted.row, counted.phase),
                "{sequence} at {event}"
            );
        }
    }
}

#[test]
fn keys_have_different_tags_and_destinations_different_slots() {
    let key = GuardKey {
        cgroup: 1,
        own: 2,
        net: 3,
        addr: [4; 16],
        port: 5,
        family: 4,
        kind: kind::DESTINATION,
        pad: [0; 4],
    };
    let mut addr = key.addr;
    addr[15] = 0;
    let network = kind::NETWORK;
    let others = [
        GuardKey { cgroup: 9, ..key },
        GuardKey { own: 0, ..key },
        GuardKey { net: 9, ..key },
        GuardKey { addr, ..key },
        GuardKey { port: 9, ..key },
        GuardKey { family: 6, ..key },
        GuardKey { kind: network, ..key },
    ];
    for other in others {
        assert_ne!(key.tag(), other.tag(), "{other:?}");
    }
    // A bit for each place.
    let mut taken = [0u64; SLOTS as usize / 64];
    for port in 0..1_000 {
        let place = slot_of(slot_hash([1, 0, 0, 0], [2, 0, 0, 0], port));
        taken[place as usize / 64] |= 1 << (place % 64);
    }
    let places: u32 = taken.iter().map(|word| word.count_ones()).sum();
    assert!(places > 950, "{places}");
}
