//! What is gained, what could be, and what is dangerous.

use tfo_common::{FlowEvent, Outcome, Role, dest::Lived, event::event_flags};

use super::{
    case::{Case, NETNS},
    host_facts::{KeyInUse, Lifetime, Lifetimes, UnsafeWrite},
    *,
};

/// An answer so many tenths of a round trip after the SYN-ACK.
fn answered(tenths: u32, rtt_us: u32) -> impl Fn(&mut FlowEvent) {
    move |event| {
        (event.rtt_us, event.handshake_us) = (rtt_us, rtt_us);
        event.ttfb_us = rtt_us + rtt_us / 10 * tenths;
    }
}

#[test]
fn answers_that_come_after_the_handshake() {
    let case = |count, tenths, rtt_us| {
        Case::default()
            .many(0, count, Outcome::Accepted, answered(tenths, rtt_us))
            .ids()
    };
    assert!(case(9, 12, 1_000).is_empty());
    assert_eq!(case(10, 10, 1_000), ["no-benefit"]);
    assert_eq!(case(10, 15, 1_000), ["no-benefit"]);
    assert!(
        case(10, 9, 1_000).is_empty(),
        "it came before the last ACK could have"
    );
    assert!(case(10, 16, 1_000).is_empty(), "the server thinks");
    assert!(case(10, 12, 990).is_empty(), "too short to tell");
    let mixed = |late, early| {
        Case::default()
            .many(0, late, Outcome::Accepted, answered(12, 5_000))
            .many(20, early, Outcome::Accepted, answered(1, 5_000))
            .ids()
    };
    assert_eq!(mixed(12, 3), ["no-benefit"]);
    assert!(mixed(11, 3).is_empty());
    // Round trips differ: that of the SYN was longer than that of the last ACK in every second connection.
    let uneven = |waited_us: u32| {
        let of = |rtt_us: u32| {
            move |event: &mut FlowEvent| {
                (event.rtt_us, event.handshake_us) = (rtt_us, rtt_us);
                event.ttfb_us = rtt_us + waited_us;
            }
        };
        Case::default()
            .many(0, 6, Outcome::Accepted, of(300_000))
            .many(20, 6, Outcome::Accepted, of(330_000))
            .ids()
    };
    assert_eq!(uneven(310_000), ["no-benefit"]);
    assert!(uneven(299_999).is_empty(), "sooner than any round trip");
}

#[test]
fn a_long_way_that_could_be_shorter() {
    let case = |plain: u64, rtt_us: u32, tried: u64| {
        let far = move |event: &mut FlowEvent| event.rtt_us = rtt_us;
        Case::default()
            .many(0, plain, Outcome::Plain, far)
            .many(0, tried, Outcome::Accepted, far)
    };
    assert!(case(99, 20_000, 0).ids().is_empty());
    assert!(case(100, 19_999, 0).ids().is_empty());
    let finding = case(100, 20_000, 0).finding(Id::NotUsed);
    let cost = finding.cost.expect("it could be saved");
    assert_eq!((cost.kind, cost.per_connection_us), (CostKind::NotSaved, 20_000));
    assert_eq!(cost.per_hour_us, Some(100 * 20_000 * 60), "a minute was watched");
    assert_eq!(case(198, 20_000, 1).ids(), ["not-used"], "1 of 199");
    assert!(case(99, 20_000, 1).ids().is_empty(), "1 of 100");
}

#[test]
fn connections_that_live_long() {
    let key = Case::default().with(1, Outcome::Accepted).model().snapshot().rows[0].key;
    let of = |attempts: u64, ended: u64, mean_us: u64, rtt_us: u32| {
        Case::default()
            .many(0, attempts, Outcome::Accepted, move |event| event.rtt_us = rtt_us)
            .host_facts(|host_facts| {
                host_facts.lifetimes = Ok(Lifetimes {
                    least_us: 60_000_000,
                    rows: vec![Lifetime {
                        key,
                        lived: Lived {
                            ended,
                            lived_us: ended * mean_us,
                            bytes: ended * 1_000,
                        },
                    }],
                });
            })
            .ids()
    };
    let case = |ended, mean_us, rtt_us| of(ended, ended, mean_us, rtt_us);
    assert!(case(9, 60_000_000, 1_500).is_empty());
    assert_eq!(case(10, 60_000_000, 1_500), ["long-lived"]);
    assert!(case(10, 59_999_999, 1_500).is_empty());
    assert!(
        case(10, 60_000_000, 60_001).is_empty(),
        "fewer than 1,000 round trips"
    );
    // The others count as if they had not lived at all.
    assert_eq!(of(15, 10, 90_000_000, 1_500), ["long-lived"]);
    assert!(of(16, 10, 90_000_000, 1_500).is_empty());
}

#[test]
fn a_syn_that_was_accepted_twice() {
    let server = |event: &mut FlowEvent| {
        event.role = Role::Server as u8;
        (event.local_port, event.remote_port) = (443, 40_000);
    };
    let again = move |event: &mut FlowEvent| {
        server(event);
        event.flags |= event_flags::SEEN_BEFORE;
    };
    // The same data again on another connection is none.
    let once = Case::default().many(0, 5, Outcome::Accepted, server);
    assert!(once.ids().is_empty());
    let finding = once
        .clone()
        .one(6, Outcome::Accepted, again)
        .finding(Id::DuplicateSynData);
    assert!(
        finding.sentence.contains("accepted 2 times"),
        "{}",
        finding.sentence
    );
    let twice = once
        .many(6, 2, Outcome::Accepted, again)
        .finding(Id::DuplicateSynData);
    assert!(twice.sentence.contains("accepted 3 times"), "{}", twice.sentence);
}

#[test]
fn what_others_saw_is_told() {
    let key = crate::model::fake::dest_key(1);
    let writes = |count| {
        Case::default().host_facts(|host_facts| {
            host_facts.unsafe_writes = Ok(vec![UnsafeWrite {
                key,
                what: "POST",
                count,
            }]);
        })
    };
    assert!(writes(0).ids().is_empty());
    assert_eq!(writes(1).ids(), ["not-idempotent"]);
    let keys = Case::default().host_facts(|host_facts| {
        host_facts.keys = Ok(vec![KeyInUse {
            netns: NETNS,
            port: None,
            primary: "3f2a91c0".into(),
            backup: Some("77aa01ff".into()),
        }]);
    });
    assert!(
        keys.finding(Id::KeyInUse)
            .sentence
            .contains("3f2a91c0, backup 77aa01ff")
    );
}

#[test]
fn what_a_policy_saw_in_syns_is_told_with_a_rule() {
    let carried = |flag| move |event: &mut FlowEvent| event.flags |= flag;
    // First writes that may be repeated have no flag.
    let safe = Case::default().with(5, Outcome::Accepted);
    assert!(safe.ids().is_empty());
    let seen = safe.many(6, 2, Outcome::Accepted, carried(event_flags::HTTP_UNSAFE));
    let finding = seen.clone().finding(Id::NotIdempotent);
    assert!(
        finding
            .sentence
            .starts_with("2 SYNs carried what looks like POST, PATCH or CONNECT"),
        "{}",
        finding.sentence
    );
    let fix = finding.fix.expect("there is one");
    assert!(fix.is_rule && !fix.undo.is_empty());
    assert!(
        fix.command
            .is_some_and(|command| command.starts_with("tfo-cli policy add --cgroup")),
        "data is kept back by a rule"
    );
    // Whatever became of them; a server cannot be told by these.
    let lost = Case::default().one(0, Outcome::SynTimeout, carried(event_flags::DNS_UPDATE));
    assert!(lost.finding(Id::NotIdempotent).sentence.contains("a DNS update"));
    let server = Case::default().one(0, Outcome::Accepted, |event| {
        event.role = Role::Server as u8;
        event.flags |= event_flags::HTTP_UNSAFE;
    });
    assert!(server.ids().is_empty());
    // What a capture counted and what its connections say is one thing.
    let key = finding.rows[0];
    let both = seen.host_facts(|host_facts| {
        host_facts.unsafe_writes = Ok(vec![UnsafeWrite {
            key,
            what: "POST, PATCH or CONNECT",
            count: 9,
        }]);
    });
    assert_eq!(both.ids(), ["not-idempotent"]);
    assert!(both.finding(Id::NotIdempotent).sentence.starts_with("9 SYNs"));
}

#[test]
fn nobody_looked_is_no_evidence() {
    let report = Case::default().report();
    assert!(report.findings.is_empty());
    let unlooked: Vec<_> = report.unlooked.iter().map(|(id, _)| id.name()).collect();
    assert_eq!(
        unlooked,
        [
            "deferred-never-sent",
            "namespace-sysctl-mismatch",
            "mptcp-listener",
            "long-lived",
            "duplicate-syn-data",
            "not-idempotent",
            "key-in-use"
        ]
    );
    assert!(report.unlooked.iter().all(|(_, why)| !why.is_empty()));
}

#[test]
fn of_one_kind_the_worst_are_kept() {
    let mut case = Case::default();
    for n in 0..=100 {
        case = case.many(0, 5, Outcome::DataRefused, |event| event.remote[3] = n);
    }
    let report = case.report();
    assert_eq!(report.findings.len(), 100);
    assert_eq!(report.more, [(Id::ServerNotEnabled, 1)]);
}
