//! SYNs lost because of what they carry, and SYNs that are just lost.

use tfo_common::Outcome;

use super::{
    case::{Case, NETNS, SECOND, request, server},
    *,
};

const DATA: &str = "path-drops-syn-data";
const GRUDGE: &str = "middlebox-blacklists-client";
const OPTION: &str = "path-drops-tfo-option";

#[test]
fn a_path_that_eats_syn_data() {
    let finding = Case::default()
        .with(20, Outcome::SynTimeout)
        .plain(30, 0)
        .finding(Id::PathDropsSynData);
    assert_eq!(finding.severity, Severity::Fail);
    assert_eq!(finding.confidence, Confidence::High);
    assert!(!finding.is_over);
    // The SYN that is sent again has neither data nor option.
    assert!(matches!(&*finding.or_else, [other] if other.contains("drops the option")));
    assert_eq!(finding.evidence.counts[..2], [("unanswered", 20), ("sent", 20)]);
    let cost = finding.cost.expect("it costs");
    assert_eq!((cost.kind, cost.per_connection_us), (CostKind::Lost, 1_024_000));
    assert_eq!(
        cost.per_hour_us,
        Some(20 * 1_024_000 * 60),
        "a minute was watched"
    );
    let example = finding.evidence.example.expect("the latest");
    assert_eq!(example.id(), 20);
    assert_eq!(
        finding.command(),
        Some(
            "tfo-cli policy add --cgroup /system.slice/checkout.service --dst 198.51.100.7 --port 443 --ttl 7d"
        )
    );
}

#[test]
fn answered_cookie_requests_clear_the_option() {
    let finding = Case::default()
        .with(20, Outcome::SynTimeout)
        .many(0, 4, Outcome::CookieGranted, request)
        .plain(30, 0)
        .finding(Id::PathDropsSynData);
    assert!(finding.or_else.is_empty(), "{:?}", finding.or_else);
    assert!(
        finding
            .excluded
            .iter()
            .any(|text| text.contains("drops the option: 4 SYNs"))
    );
}

#[test]
fn three_unanswered_syns_are_enough_and_one_is_not() {
    assert!(Case::default().with(1, Outcome::SynTimeout).ids().is_empty());
    assert_eq!(Case::default().with(3, Outcome::SynTimeout).ids(), [DATA]);
    // Two of two are 1 in 2,500 at the loss that is assumed: enough for the only destination of a host.
    assert_eq!(Case::default().with(2, Outcome::SynTimeout).ids(), [DATA]);
}

#[test]
fn among_many_destinations_more_is_needed() {
    let mut case = Case::default().with(2, Outcome::SynTimeout);
    for n in 1..=50 {
        case = case.one(0, Outcome::Accepted, |event| event.remote[3] = 100 + n);
    }
    assert!(
        case.ids().is_empty(),
        "with 51 destinations one of them has such bad luck"
    );
    assert_eq!(case.many(10, 2, Outcome::SynTimeout, |_| {}).ids(), [DATA]);
}

#[test]
fn random_loss_is_not_blamed() {
    // Three of a hundred data SYNs, and the same share of plain ones.
    let case = Case::default()
        .with(97, Outcome::Accepted)
        .many(10, 3, Outcome::SynTimeout, |_| {})
        .plain(100, 3);
    assert!(case.ids().is_empty());
    // A path that loses a third of everything.
    let lossy = Case::default()
        .with(20, Outcome::Accepted)
        .many(20, 10, Outcome::SynTimeout, |_| {})
        .plain(60, 20);
    assert!(lossy.ids().is_empty());
}

#[test]
fn one_outage_is_not_blamed() {
    let mut case = Case::default();
    for n in 0..10 {
        // All in the last second of it, where the first retransmission gets through.
        case = case.one(5, Outcome::SynTimeout, |event| event.start_ns += n * SECOND / 11);
    }
    assert!(case.ids().is_empty());
    // A second moment, a second later.
    assert_eq!(case.one(6, Outcome::SynTimeout, |_| {}).ids(), [DATA]);
    // SYNs earlier in an outage are sent more than twice: they are no moment of their own.
    let long = Case::default().many(0, 5, Outcome::SynTimeout, |event| event.syn_retrans = 3);
    assert!(long.ids().is_empty());
}

#[test]
fn a_path_of_which_a_part_eats_syn_data() {
    let finding = Case::default()
        .with(15, Outcome::Accepted)
        .many(5, 5, Outcome::SynTimeout, |_| {})
        .plain(100, 0)
        .finding(Id::PathDropsSynData);
    assert_eq!(finding.severity, Severity::Warn, "one of four");
    let half = Case::default()
        .with(5, Outcome::Accepted)
        .many(5, 5, Outcome::SynTimeout, |_| {})
        .finding(Id::PathDropsSynData);
    assert_eq!(half.severity, Severity::Fail, "one of two");
}

#[test]
fn what_happens_no_more_is_only_told() {
    let case = Case::default().with(10, Outcome::SynTimeout);
    let nine = case.clone().many(20, 9, Outcome::Denied, |_| {});
    assert_eq!(nine.finding(Id::PathDropsSynData).severity, Severity::Fail);
    let ten = case.many(20, 10, Outcome::Denied, |_| {});
    let finding = ten.finding(Id::PathDropsSynData);
    assert!(finding.is_over && finding.severity == Severity::Info);
    assert!(!ten.report().has_failed());
}

#[test]
fn a_path_that_eats_the_option() {
    let finding = Case::default()
        .many(0, 6, Outcome::SynTimeout, request)
        .plain(10, 0)
        .finding(Id::PathDropsTfoOption);
    assert_eq!(finding.severity, Severity::Fail);
    assert!(
        finding
            .command()
            .is_some_and(|command| command.contains("--action strip --ttl"))
    );
    // Elsewhere the namespace is named by what the connections were seen in, not by their process.
    let elsewhere = Case::default()
        .many(0, 6, Outcome::SynTimeout, |event| {
            request(event);
            (event.netns, event.tgid) = (NETNS + 1, 77);
        })
        .plain(10, 0)
        .finding(Id::PathDropsTfoOption);
    let wanted = format!("--action strip --netns {} --ttl", NETNS + 1);
    assert!(
        elsewhere
            .command()
            .is_some_and(|command| command.contains(&wanted)),
        "{elsewhere:?}"
    );
    // Its SYNs with data die as well: one finding, the wider one.
    let both =
        Case::default()
            .many(0, 6, Outcome::SynTimeout, request)
            .many(6, 6, Outcome::SynTimeout, |_| {});
    assert_eq!(both.ids(), [OPTION]);
    // A path that eats only data answers requests.
    let data =
        Case::default()
            .many(0, 6, Outcome::SynTimeout, |_| {})
            .many(6, 4, Outcome::CookieGranted, request);
    assert_eq!(data.ids(), [DATA]);
    assert!(
        Case::default()
            .one(0, Outcome::SynTimeout, request)
            .many(1, 4, Outcome::CookieGranted, request)
            .ids()
            .is_empty()
    );
}

#[test]
fn without_flow_records_more_is_needed() {
    let lost = |count| Case::default().with(count, Outcome::SynTimeout).without_flows();
    assert!(lost(9).ids().is_empty());
    let finding = lost(10).finding(Id::PathDropsSynData);
    assert_eq!(finding.confidence, Confidence::Low);
    assert!(finding.evidence.example.is_none());
}

#[test]
fn a_short_look_is_not_extrapolated() {
    let cost = |seconds| {
        let case = Case::default().with(4, Outcome::SynTimeout).window(seconds);
        case.finding(Id::PathDropsSynData)
            .cost
            .and_then(|cost| cost.per_hour_us)
    };
    assert_eq!(cost(4), None);
    assert!(cost(5).is_some());
}

#[test]
fn healthy_traffic_is_healthy() {
    let case = Case::default()
        .many(0, 5, Outcome::CookieGranted, request)
        .many(5, 200, Outcome::Accepted, |_| {})
        .many(20, 2, Outcome::AcceptedLate, |_| {})
        .plain(500, 4);
    assert!(case.ids().is_empty());
}

#[test]
fn resets_while_the_port_is_open() {
    let case = |open: u64| {
        Case::default()
            .one(0, Outcome::Reset, |_| {})
            .read()
            .plain(open, 0)
            .read()
            .one(5, Outcome::Reset, |_| {})
    };
    assert!(case(1).ids().is_empty());
    let finding = case(2).finding(Id::ResetOnSynData);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Fail, Confidence::Medium)
    );
    assert!(
        finding
            .command()
            .is_some_and(|command| command.starts_with("tfo-cli policy add"))
    );
    // Requests that are answered meanwhile say the same.
    let requests = Case::default()
        .many(0, 3, Outcome::Reset, |_| {})
        .many(3, 2, Outcome::CookieGranted, request)
        .many(5, 2, Outcome::Reset, |_| {});
    assert_eq!(requests.finding(Id::ResetOnSynData).confidence, Confidence::High);
}

#[test]
fn a_closed_port_and_a_restart_are_not_blamed_for_resets() {
    assert!(
        Case::default().with(20, Outcome::Reset).ids().is_empty(),
        "closed all the time"
    );
    let restart = Case::default()
        .many(0, 5, Outcome::Accepted, |_| {})
        .plain(10, 0)
        .read()
        .many(5, 4, Outcome::Reset, |_| {})
        .read()
        .plain(10, 0)
        .many(10, 3, Outcome::Accepted, |_| {});
    assert!(restart.ids().is_empty());
    // It was closed so soon that one reading has its last successes and its first resets.
    let soon = Case::default()
        .plain(10, 0)
        .many(0, 4, Outcome::Reset, |_| {})
        .read()
        .many(4, 4, Outcome::Reset, |_| {})
        .read();
    assert!(soon.ids().is_empty());
    // All at one moment.
    let moment = Case::default()
        .one(0, Outcome::Reset, |_| {})
        .one(0, Outcome::CookieGranted, |event| event.start_ns += 1)
        .one(0, Outcome::CookieGranted, |event| event.start_ns += 2)
        .one(0, Outcome::Reset, |event| event.start_ns += 3);
    assert!(!moment.ids().contains(&"reset-on-syn-data"));
}

#[test]
fn syns_that_are_too_long() {
    let early = |event: &mut tfo_common::FlowEvent| {
        (event.syn_data_len, event.offered) = (1_400, 1_400);
        event.lost_us = 30_000;
    };
    assert!(
        Case::default()
            .many(0, 1, Outcome::SynTimeout, early)
            .ids()
            .is_empty()
    );
    let case = Case::default().many(0, 8, Outcome::SynTimeout, early);
    assert_eq!(
        case.ids(),
        ["syn-data-over-pmtu"],
        "and the path is not blamed for dropping them"
    );
    let finding = case.finding(Id::SynDataOverPmtu);
    assert_eq!(finding.cost.map(|cost| cost.per_connection_us), Some(30_000));
    // At 200 ms it may be a timer.
    let timer = Case::default().many(0, 8, Outcome::SynTimeout, |event| event.lost_us = 200_000);
    assert_eq!(timer.ids(), [DATA]);
}

#[test]
fn lost_syn_acks_are_nobodys_fault() {
    let case = |late| {
        Case::default()
            .with(100 - late, Outcome::Accepted)
            .many(0, late, Outcome::AcceptedLate, |_| {})
    };
    assert!(case(2).ids().is_empty());
    let finding = case(3).finding(Id::SynackLoss);
    assert_eq!(finding.severity, Severity::Info);
    let rare = Case::default()
        .with(298, Outcome::Accepted)
        .many(0, 3, Outcome::AcceptedLate, |_| {});
    assert!(rare.ids().is_empty(), "3 of 301");
    let edge = Case::default()
        .with(297, Outcome::Accepted)
        .many(0, 3, Outcome::AcceptedLate, |_| {});
    assert_eq!(edge.ids(), ["synack-loss"], "3 of 300");
}

#[test]
fn a_box_that_holds_a_grudge() {
    let case = |before: (u64, u64), after: (u64, u64)| {
        Case::default()
            .plain(before.0, before.1)
            .read()
            .one(0, Outcome::SynTimeout, |_| {})
            .plain(after.0, after.1)
            .ids()
    };
    assert_eq!(case((4, 0), (4, 2)), [GRUDGE]);
    assert_eq!(case((10, 1), (4, 4)), [GRUDGE]);
    for (before, after) in [
        ((3, 0), (4, 4)),
        ((4, 0), (3, 3)),
        ((4, 0), (5, 2)),
        ((9, 1), (4, 4)),
        ((10, 5), (10, 5)),
    ] {
        assert!(case(before, after).is_empty(), "{before:?} {after:?}");
    }
}

#[test]
fn an_option_that_is_taken_away() {
    let other = |event: &mut tfo_common::FlowEvent| event.option_kind = 254;
    assert!(
        Case::default()
            .many(0, 2, Outcome::Accepted, other)
            .ids()
            .is_empty()
    );
    assert_eq!(
        Case::default().many(0, 3, Outcome::Accepted, other).ids(),
        ["option-stripped"]
    );
    // A server without Fast Open answers neither.
    let neither = Case::default().many(0, 9, Outcome::CookieRefused, |event| {
        request(event);
        other(event);
    });
    assert!(neither.ids().is_empty());
    let bare = |event: &mut tfo_common::FlowEvent| {
        server(event);
        (event.option, event.option_kind) = (0, 0);
    };
    assert!(
        Case::default()
            .many(0, 2, Outcome::OptionStripped, bare)
            .ids()
            .is_empty()
    );
    let case = Case::default().many(0, 3, Outcome::OptionStripped, bare);
    assert!(matches!(
        case.finding(Id::OptionStripped).subject,
        Subject::Listener { port: 443, .. }
    ));
}
