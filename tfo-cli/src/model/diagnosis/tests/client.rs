//! Settings of this host, its kernel's pause, its firewalls, and how its applications use Fast Open.

use tfo_common::{FlowEvent, Outcome};

use super::{
    case::{Case, NETNS, request},
    *,
};

#[test]
fn the_client_side_is_off() {
    let host = |value| Case::default().host(|host| host.tcp_fastopen = value).ids();
    assert_eq!(host(Some(2)), ["client-disabled"]);
    assert!(host(Some(1)).is_empty());
    assert!(host(None).is_empty(), "what could not be read is no evidence");
    let other = Case::default()
        .host_facts(|host_facts| host_facts.sysctls = Ok(vec![(NETNS + 1, 0), (NETNS + 2, 1)]));
    assert_eq!(
        other.finding(Id::ClientDisabled).subject,
        Subject::Host {
            netns: Some(NETNS + 1)
        }
    );
}

#[test]
fn the_pause_and_who_tripped_it() {
    let case = Case::default()
        .many(0, 3, Outcome::Accepted, |_| {})
        .one(3, Outcome::Failed, |event| {
            event.syn_retrans = 6;
            event.remote[3] = 9;
        })
        .many(10, 4, Outcome::Paused, |_| {});
    let finding = case.finding(Id::BlackholePaused);
    assert_eq!(finding.severity, Severity::Warn);
    let example = finding.evidence.example.expect("the culprit");
    assert_eq!(example.remote_ip().to_string(), "198.51.100.9");
    assert!(
        case.many(20, 10, Outcome::Accepted, |_| {})
            .finding(Id::BlackholePaused)
            .is_over
    );
    let unknown = Case::default()
        .with(1, Outcome::Paused)
        .finding(Id::BlackholePaused);
    assert!(
        unknown
            .evidence
            .lines
            .iter()
            .any(|line| line.contains("not among those"))
    );
    assert!(Case::default().plain(50, 0).ids().is_empty());
}

#[test]
fn connects_that_are_put_off() {
    let socket = |age_us| {
        Case::default().host_facts(|host_facts| {
            host_facts.deferred = Ok(vec![host_facts::Deferred {
                cgroup_id: 1,
                remote: "192.0.2.5:21".parse().expect("an address"),
                pid: Some(7),
                comm: Some("ftp".into()),
                age_us,
            }]);
        })
    };
    assert!(socket(999_999).ids().is_empty());
    assert_eq!(
        socket(1_000_000).finding(Id::DeferredNeverSent).severity,
        Severity::Warn
    );
    assert_eq!(
        socket(4_999_999).finding(Id::DeferredNeverSent).severity,
        Severity::Warn
    );
    assert_eq!(
        socket(5_000_000).finding(Id::DeferredNeverSent).severity,
        Severity::Fail
    );
    assert!(socket(5_000_000).report().has_failed());
}

#[test]
fn data_dropped_on_this_host() {
    let case = Case::default().with(1, Outcome::LocalDrop);
    assert!(case.finding(Id::LocalDrop).or_else[0].contains("not known"));
    let named =
        case.host_facts(|host_facts| host_facts.droppers = Ok(vec!["nft rule inet filter output 4".into()]));
    let lines = named.finding(Id::LocalDrop).evidence.lines;
    assert!(
        lines.iter().any(|line| line.contains("inet filter output 4")),
        "{lines:?}"
    );
    assert!(Case::default().with(9, Outcome::Denied).ids().is_empty());
}

#[test]
fn more_than_a_syn_can_carry() {
    let large = |event: &mut FlowEvent| {
        (event.offered, event.syn_data_len, event.syn_data_acked) = (9_000, 1_420, 1_420);
    };
    let case = |cut, whole| {
        Case::default()
            .many(0, cut, Outcome::Accepted, large)
            .many(20, whole, Outcome::Accepted, |_| {})
            .ids()
    };
    assert!(case(2, 0).is_empty());
    assert_eq!(case(3, 3), ["syn-data-capped"]);
    assert!(case(3, 4).is_empty());
}

#[test]
fn first_writes_with_nothing_in_them() {
    let tiny = |bytes| {
        move |event: &mut FlowEvent| {
            (event.offered, event.syn_data_len, event.syn_data_acked) = (bytes, bytes, bytes);
        }
    };
    let case = |count, bytes, others| {
        Case::default()
            .many(0, count, Outcome::Accepted, tiny(bytes))
            .many(20, others, Outcome::Accepted, |_| {})
            .ids()
    };
    assert!(case(4, 2, 0).is_empty());
    assert_eq!(case(5, 8, 5), ["application-misuse"]);
    assert!(case(5, 9, 0).is_empty());
    assert!(case(5, 8, 6).is_empty());
    let empty = Case::default().many(0, 5, Outcome::CookieOnly, tiny(0));
    assert_eq!(empty.ids(), ["application-misuse"]);
    assert!(
        Case::default()
            .many(0, 5, Outcome::CookieGranted, request)
            .ids()
            .is_empty()
    );
}
