//! Keys that differ, keys that change, cookies nobody keeps.

use tfo_common::{FlowEvent, Outcome};

use super::{
    case::{Case, cookie, request, server},
    *,
};

const UNCACHED: &str = "cookie-never-cached";
const MISMATCH: &str = "cookie-key-mismatch";

fn rejected(event: &mut FlowEvent) {
    cookie(event);
}

/// So many connections of which every n-th meets the server that issued the cookie.
fn pool(keys: u64, connections: u64) -> Case {
    (0..connections).fold(Case::default(), |case, n| {
        if n % keys == 0 {
            case.one(n, Outcome::Accepted, |_| {})
        } else {
            case.one(n, Outcome::CookieRejected, rejected)
        }
    })
}

#[test]
fn servers_with_keys_of_their_own() {
    for keys in [2, 3, 4, 6] {
        let finding = pool(keys, 60).finding(Id::CookieKeyMismatch);
        let estimated = finding
            .evidence
            .counts
            .iter()
            .find(|(name, _)| *name == "keys-estimated");
        assert_eq!(
            estimated.map(|(_, count)| *count),
            Some(keys),
            "{}",
            finding.sentence
        );
        assert_eq!(finding.severity, Severity::Warn);
        assert!(matches!(finding.subject, Subject::Destination { port: None, .. }));
    }
    // In turns every cookie meets the other one, and how many there are cannot be told.
    let turns = Case::default().many(0, 30, Outcome::CookieRejected, rejected);
    assert!(
        turns
            .finding(Id::CookieKeyMismatch)
            .sentence
            .contains("at least 2 keys")
    );
}

#[test]
fn a_rotated_key_and_a_restart_are_normal() {
    let case = Case::default()
        .with(20, Outcome::Accepted)
        .one(20, Outcome::CookieRejected, rejected)
        .many(21, 20, Outcome::Accepted, |_| {});
    assert_eq!(case.ids(), ["key-rotated"]);
    assert_eq!(case.finding(Id::KeyRotated).severity, Severity::Info);
    // The cookie was seen being granted.
    let granted = Case::default()
        .one(0, Outcome::CookieGranted, |event| {
            request(event);
            cookie(event);
        })
        .one(1, Outcome::CookieRejected, rejected)
        .many(2, 5, Outcome::Accepted, |_| {});
    assert_eq!(granted.ids(), ["key-rotated"]);
    // Two clients, each refused once after its grant, are no mismatch either.
    let clients = (1..=4).fold(Case::default(), |case, n| {
        let from = move |event: &mut FlowEvent| {
            cookie(event);
            event.local[3] = n;
        };
        case.one(0, Outcome::CookieGranted, |event| {
            request(event);
            from(event);
        })
        .one(1, Outcome::CookieRejected, from)
    });
    assert_eq!(clients.ids(), ["key-rotated"]);
    // Connections under way with the old cookie are refused as well.
    let mut parallel = Case::default().with(20, Outcome::Accepted);
    for n in 0..10 {
        parallel = parallel.one(20, Outcome::CookieRejected, |event| {
            rejected(event);
            event.start_ns += n;
        });
    }
    assert_eq!(parallel.ids(), ["key-rotated"]);
    // Each of many source addresses is refused once.
    let mut sources = Case::default();
    for n in 1..=10 {
        sources = sources.one(n, Outcome::CookieRejected, |event| {
            rejected(event);
            event.local[3] = u8::try_from(n).expect("small");
        });
    }
    assert_eq!(sources.ids(), ["key-rotated"]);
}

#[test]
fn three_refusals_of_new_cookies_are_a_mismatch() {
    // The first of them is of an old cookie.
    assert!(
        Case::default()
            .many(0, 3, Outcome::CookieRejected, rejected)
            .ids()
            .is_empty()
    );
    assert_eq!(
        Case::default()
            .many(0, 4, Outcome::CookieRejected, rejected)
            .ids(),
        [MISMATCH]
    );
    // Three of fifteen, three of sixteen.
    let among = |accepted| {
        Case::default()
            .with(accepted, Outcome::Accepted)
            .many(100, 4, Outcome::CookieRejected, rejected)
    };
    assert_eq!(among(11).ids(), [MISMATCH]);
    assert!(among(12).ids().is_empty());
}

#[test]
fn a_server_that_meets_cookies_of_another() {
    let from = |event: &mut FlowEvent| {
        server(event);
        cookie(event);
    };
    assert!(
        Case::default()
            .many(0, 5, Outcome::CookieRejected, from)
            .ids()
            .is_empty()
    );
    assert_eq!(
        Case::default().many(0, 6, Outcome::CookieRejected, from).ids(),
        [MISMATCH]
    );
    // After a restart each of many clients comes once with its old cookie.
    let mut restart = Case::default();
    for n in 0..40 {
        restart = restart.one(n, Outcome::CookieRejected, |event| {
            from(event);
            event.remote[3] = u8::try_from(n).expect("small");
        });
    }
    assert!(restart.ids().is_empty());
}

#[test]
fn a_mismatch_behind_a_translated_address() {
    let case = Case::default()
        .many(0, 10, Outcome::CookieRejected, rejected)
        // The server on this host sees the same connection under its own address.
        .one(9, Outcome::CookieRejected, |event| {
            event.role = tfo_common::Role::Server as u8;
            event.remote = event.local;
            (event.remote_port, event.local_port) = (40_009, 8_443);
            event.local = crate::model::fake::padded([10, 244, 0, 7]);
        });
    let finding = case.finding(Id::LoadBalancerDsrOrNat);
    assert!(finding.sentence.contains("10.244.0.7"), "{}", finding.sentence);
    assert!(!case.ids().contains(&MISMATCH));
}

#[test]
fn a_port_used_for_two_addresses_at_once_is_no_translation() {
    let at_server = |address: [u8; 4]| {
        move |event: &mut FlowEvent| {
            event.role = tfo_common::Role::Server as u8;
            let client = event.local;
            event.local = crate::model::fake::padded(address);
            event.remote = client;
            (event.remote_port, event.local_port) = (40_009, 8_443);
        }
    };
    let case = Case::default().many(0, 10, Outcome::CookieRejected, rejected);
    // The same client's port, and a server that took its data.
    let other = case.one(9, Outcome::Accepted, at_server([10, 244, 0, 7]));
    assert!(other.ids().contains(&MISMATCH), "{:?}", other.ids());
    // A capture shows both ends of each: one of them is the connection itself.
    let both = Case::default()
        .many(0, 10, Outcome::CookieRejected, rejected)
        .one(9, Outcome::CookieRejected, at_server([10, 244, 0, 7]))
        .one(9, Outcome::CookieRejected, |event| {
            let own = event.remote;
            at_server([0; 4])(event);
            event.local = own;
        });
    assert!(both.ids().contains(&MISMATCH), "{:?}", both.ids());
}

#[test]
fn cookies_of_the_backup_key() {
    assert_eq!(
        Case::default().one(0, Outcome::Accepted, cookie).ids(),
        ["alternate-key"]
    );
    assert!(Case::default().with(5, Outcome::Accepted).ids().is_empty());
}

#[test]
fn cookies_nobody_keeps() {
    let granted = |event: &mut FlowEvent| {
        request(event);
        cookie(event);
    };
    // The first is a first contact.
    assert!(
        Case::default()
            .many(0, 5, Outcome::CookieGranted, granted)
            .ids()
            .is_empty()
    );
    let case = Case::default().many(0, 6, Outcome::CookieGranted, granted);
    assert_eq!(case.ids(), [UNCACHED]);
    assert!(
        case.clone()
            .many(6, 7, Outcome::Accepted, |_| {})
            .ids()
            .is_empty(),
        "less than half"
    );
    // Many services that meet a server for the first time, at once.
    let mut first = Case::default();
    for n in 0..30 {
        first = first.one(0, Outcome::CookieGranted, |event| {
            granted(event);
            event.start_ns += n;
        });
    }
    assert!(first.ids().is_empty());
    // A source address for each connection.
    let rotating = |count: u8| {
        (0..count).fold(Case::default(), |case, n| {
            case.one(n.into(), Outcome::CookieGranted, |event| {
                granted(event);
                event.local[3] = n;
            })
        })
    };
    assert!(rotating(9).ids().is_empty());
    assert!(
        rotating(10)
            .finding(Id::CookieNeverCached)
            .sentence
            .contains("10 different source addresses")
    );
    assert!(
        rotating(10)
            .many(20, 3, Outcome::Accepted, |_| {})
            .ids()
            .is_empty(),
        "10 of 13 only ask"
    );
}
