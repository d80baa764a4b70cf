//! Servers without Fast Open, with too short a queue, under SYN cookies.

use tfo_common::{FlowEvent, Outcome, Role};

use super::{
    case::{Case, NETNS, request, server},
    *,
};

#[test]
fn a_server_that_has_it_off_as_its_client_sees_it() {
    assert!(Case::default().with(4, Outcome::DataRefused).ids().is_empty());
    let finding = Case::default()
        .with(5, Outcome::DataRefused)
        .finding(Id::ServerNotEnabled);
    assert_eq!(finding.severity, Severity::Warn);
    assert_eq!(finding.cost.map(|cost| cost.kind), Some(CostKind::NotSaved));
    assert!(
        !finding.or_else.is_empty(),
        "a client cannot tell a full queue from it"
    );
    // It had it on before.
    let off = Case::default()
        .with(1, Outcome::Accepted)
        .many(1, 9, Outcome::DataRefused, |_| {});
    assert!(
        off.finding(Id::ServerNotEnabled)
            .sentence
            .contains("it took 1 before")
    );
    // A queue that is full now and then.
    let now_and_then = Case::default()
        .with(2, Outcome::Accepted)
        .many(2, 9, Outcome::DataRefused, |_| {});
    assert!(now_and_then.ids().is_empty());
}

#[test]
fn a_server_that_has_it_off_as_it_sees_itself() {
    let asks = |event: &mut FlowEvent| {
        server(event);
        request(event);
    };
    assert!(
        Case::default()
            .many(0, 2, Outcome::NotEnabled, server)
            .ids()
            .is_empty()
    );
    let off = |listener: fn(&mut tfo_common::listener::ListenerRecord)| {
        Case::default()
            .many(0, 3, Outcome::NotEnabled, asks)
            .listener(listener)
    };
    // Nobody configured it, and clients only ask: every host is like that.
    let finding = off(|listener| listener.tfo_max_qlen = 0).finding(Id::ServerNotEnabled);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(finding.command(), Some("tfo-cli listeners set :443 --qlen 256"));
    // A queue is there, so somebody wanted it.
    assert_eq!(off(|_| {}).finding(Id::ServerNotEnabled).severity, Severity::Warn);
    // Cookies come, so it was on once.
    let went_off = Case::default().many(0, 3, Outcome::NotEnabled, server);
    assert_eq!(went_off.finding(Id::ServerNotEnabled).severity, Severity::Warn);
}

#[test]
fn a_queue_that_is_too_short() {
    let case = |full, taken| {
        Case::default().many(0, taken, Outcome::Accepted, server).many(
            0,
            full,
            Outcome::QueueOverflow,
            server,
        )
    };
    assert!(case(2, 0).ids().is_empty());
    assert_eq!(case(3, 297).ids(), ["tfo-queue-overflow"], "3 of 300");
    assert!(case(3, 298).ids().is_empty(), "3 of 301");
    let finding = case(3, 10)
        .listener(|listener| listener.tfo_max_qlen = 5)
        .finding(Id::TfoQueueOverflow);
    assert!(
        finding.sentence.contains("its limit is 5, a common default"),
        "{}",
        finding.sentence
    );
    assert_eq!(finding.command(), Some("tfo-cli listeners set :443 --qlen 256"));
    assert_eq!(
        finding.fix.map(|fix| fix.undo).as_deref(),
        Some("`tfo-cli listeners set :443 --qlen 5`")
    );
    let large = case(3, 10)
        .listener(|listener| listener.tfo_max_qlen = 6)
        .finding(Id::TfoQueueOverflow);
    assert!(!large.sentence.contains("default"));
}

#[test]
fn syn_cookies() {
    assert!(
        Case::default()
            .many(0, 2, Outcome::Syncookie, server)
            .ids()
            .is_empty()
    );
    assert_eq!(
        Case::default().many(0, 3, Outcome::Syncookie, server).ids(),
        ["syncookies-active"]
    );
}

#[test]
fn an_accept_queue_beyond_its_limit() {
    let waiting = |backlog| {
        Case::default()
            .listener(|listener| (listener.backlog, listener.max_backlog) = (backlog, 128))
            .ids()
    };
    assert!(waiting(128).is_empty(), "filled to its limit");
    assert_eq!(waiting(129), ["accept-queue-full"]);
}

#[test]
fn on_for_the_host_and_off_for_the_container() {
    let container = |value| {
        Case::default()
            .listener(|listener| listener.netns = NETNS + 1)
            .host_facts(|host_facts| host_facts.sysctls = Ok(vec![(NETNS + 1, value)]))
    };
    let finding = container(1).finding(Id::NamespaceSysctlMismatch);
    assert!(
        finding.sentence.contains("this host has 0x3"),
        "{}",
        finding.sentence
    );
    assert_eq!(finding.command(), None, "it has to be typed inside");
    assert!(container(3).ids().is_empty());
    // A listener without a queue does not want it.
    let unwanted = container(1)
        .host(|_| {})
        .listener(|listener| listener.tfo_max_qlen = 0);
    assert_eq!(unwanted.ids().len(), 1);
    // On this host itself it can be typed.
    let here = Case::default()
        .host(|host| host.tcp_fastopen = Some(1))
        .listener(|_| {});
    assert_eq!(
        here.finding(Id::NamespaceSysctlMismatch).command(),
        Some("sysctl -w net.ipv4.tcp_fastopen=3")
    );
    // Nobody looked into the other namespace: nothing is said about it, but that.
    let unknown = Case::default()
        .listener(|listener| listener.netns = NETNS + 1)
        .report();
    assert!(unknown.findings.is_empty());
    assert!(
        unknown
            .unlooked
            .iter()
            .any(|(id, _)| *id == Id::NamespaceSysctlMismatch)
    );
}

#[test]
fn listeners_of_mptcp() {
    let case = |tfo_max_qlen| {
        Case::default().host_facts(|host_facts| {
            host_facts.mptcp = Ok(vec![host_facts::MptcpListener {
                cgroup_id: 1,
                netns: NETNS,
                local: None,
                port: 443,
                tfo_max_qlen,
            }]);
        })
    };
    assert_eq!(case(0).ids(), ["mptcp-listener"]);
    assert!(case(16).ids().is_empty());
}

#[test]
fn both_ends_of_a_connection_are_one_finding() {
    let theirs = |event: &mut FlowEvent| {
        server(event);
        std::mem::swap(&mut event.local, &mut event.remote);
    };
    let client = || Case::default().with(5, Outcome::DataRefused);
    for (outcome, id) in [
        (Outcome::NotEnabled, Id::ServerNotEnabled),
        (Outcome::Syncookie, Id::SyncookiesActive),
        (Outcome::OptionStripped, Id::OptionStripped),
    ] {
        let report = client().many(0, 5, outcome, theirs).report();
        let [one] = &report.findings[..] else {
            panic!("{outcome:?}: {:?}", report.findings)
        };
        assert_eq!(one.id, id);
        assert_eq!(one.subject.role(), Some(Role::Server));
        assert_eq!(one.severity, Severity::Warn, "the worse of the two");
        assert!(
            one.evidence
                .lines
                .iter()
                .any(|line| line.starts_with("both ends are on this host"))
        );
        // The rows of both have it as their verdict.
        let roles: Vec<u8> = one.rows.iter().map(|key| key.role).collect();
        assert_eq!(roles, [Role::Server as u8, Role::Client as u8]);
    }
    // Another host's server on the same port is not the one these clients met.
    let elsewhere = client().many(0, 5, Outcome::NotEnabled, server).report();
    assert_eq!(elsewhere.findings.len(), 2, "{:?}", elsewhere.findings);
}
