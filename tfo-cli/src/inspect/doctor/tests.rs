//! Hosts as tables: a healthy one, and each thing that can be wrong with it.

use super::*;
use crate::inspect::listeners::tests::listener;

/// What a change of a healthy host leads to: id, status, words of the line or the fix.
type Row = (&'static str, Status, &'static str, fn(&mut Facts));

/// A host where everything works, and did so within the last seconds.
pub(crate) fn healthy() -> Facts {
    let socket = listener("0.0.0.0:443", 7, 256);
    let mib = |active, passive| Mib {
        active: Some(active),
        active_fail: Some(0),
        passive: Some(passive),
        passive_fail: Some(0),
        listen_overflow: Some(0),
        blackhole: Some(0),
        ..Mib::default()
    };
    Facts {
        kernel: "6.12.48+deb13-amd64".to_owned(),
        layout: Ok(Vec::new()),
        missing_hooks: Ok(Vec::new()),
        has_object: true,
        mounts: Mounts {
            cgroup2: Some("/sys/fs/cgroup".into()),
            cgroup1: false,
            bpffs: Some("/sys/fs/bpf".into()),
        },
        capabilities: u64::MAX >> 23,
        lockdown: Some("[none] integrity confidentiality\n".to_owned()),
        label: Some(Label {
            module: "AppArmor",
            text: "unconfined\n".to_owned(),
            is_enforced: true,
        }),
        bpffs: Ok(()),
        places: vec![PlaceFacts {
            netns: socket.netns.clone(),
            is_own: true,
            settings: socket.settings,
            mib: (mib(10, 20), mib(13, 25)),
            cookies: Ok(Vec::new()),
            firewall: Ok(Vec::new()),
            qdiscs: Ok(Vec::new()),
        }],
        unseen: Unseen::default(),
        watched: Duration::from_secs(2),
        listeners: vec![socket],
        programs: Ok(Vec::new()),
        pins: "/sys/fs/bpf/tfo-cli".into(),
        policy: PolicyFacts::None,
    }
}

/// What does not pass on a host that is not quite healthy: id, status, and line and fix.
fn wrong(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Status, String)> {
    let mut facts = healthy();
    change(&mut facts);
    examine(&facts)
        .into_iter()
        .filter(|check| check.status != Status::Pass)
        .map(|check| {
            (
                check.id,
                check.status,
                format!("{} | {}", check.what, check.fix.unwrap_or_default()),
            )
        })
        .collect()
}

/// The only thing that is wrong.
fn only(change: impl FnOnce(&mut Facts)) -> (&'static str, Status, String) {
    let mut found = wrong(change);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_healthy_host_passes_every_check() {
    let checks = examine(&healthy());
    assert!(!has_failed(&checks));
    assert!(
        checks
            .iter()
            .all(|check| check.status == Status::Pass && check.fix.is_none()),
        "{checks:?}"
    );
    assert_eq!(
        checks[0].what,
        "Fast Open is on for clients, on (nginx:443: 1 of 1 listening sockets) for servers; in the last 2.0s it worked \
         3 times as client (0 failed) and 5 times as server (0 failed)"
    );
    let mut ids: Vec<_> = checks
        .iter()
        .map(|check| (check.id, check.netns.clone()))
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), checks.len(), "an id is there twice");
}

#[test]
fn without_root_it_is_useful_and_fails_nothing() {
    let denied = || "Permission denied (os error 13)".to_owned();
    let found = wrong(|facts| {
        facts.capabilities = 0;
        facts.bpffs = Err(denied());
        facts.programs = Err(denied());
        facts.policy = PolicyFacts::NotLookedAt(denied());
        facts.places[0].firewall = Err("needs root".to_owned());
        facts.unseen.processes = 80;
        facts.listeners[0].holders.clear();
    });
    let ids: Vec<_> = found.iter().map(|(id, status, _)| (*id, *status)).collect();
    assert_eq!(
        ids,
        [
            "cap-bpf",
            "cap-perfmon",
            "cap-net-admin",
            "cap-sys-admin",
            "cap-sys-ptrace"
        ]
        .map(|id| (id, Status::Warn))
    );
    assert!(found[0].2.contains("sudo tfo-cli"), "{found:?}");
}

#[test]
fn a_container_is_told_what_it_lacks() {
    let found = wrong(|facts| {
        facts.capabilities = 1 << 12 | 1 << 1;
        facts.mounts.bpffs = None;
        facts.bpffs = Err("not mounted".to_owned());
        facts.lockdown = None;
        facts.label = Some(Label {
            module: "AppArmor",
            text: "docker-default (enforce)\n".to_owned(),
            is_enforced: true,
        });
        facts.places[0].settings.tcp_fastopen = Some(1);
        facts.listeners[0].settings.tcp_fastopen = Some(1);
    });
    let by_id = |wanted: &str| {
        found
            .iter()
            .find(|(id, ..)| *id == wanted)
            .cloned()
            .expect(wanted)
    };
    assert_eq!(by_id("bpffs").1, Status::Warn);
    assert!(by_id("security-module").2.contains("docker-default"), "{found:?}");
    // The classic: enabled on the host, off in the container, and the service has asked for it.
    let (_, status, text) = by_id("tcp-fastopen");
    assert_eq!(status, Status::Fail);
    assert!(
        text.contains("0x1 lacks 0x2") && text.contains("sysctl -w net.ipv4.tcp_fastopen=3 "),
        "{text}"
    );
    assert!(
        text.contains("(undo: sysctl -w net.ipv4.tcp_fastopen=1)"),
        "{text}"
    );
}

#[test]
fn mounts_that_are_missing_come_with_the_command() {
    let (id, status, text) = only(|facts| facts.mounts.bpffs = None);
    assert_eq!((id, status), ("bpffs", Status::Warn));
    assert!(text.ends_with("| mount -t bpf bpf /sys/fs/bpf"), "{text}");

    let (id, status, text) = only(|facts| {
        facts.mounts.cgroup2 = None;
        facts.mounts.cgroup1 = true;
    });
    assert_eq!((id, status), ("cgroup2", Status::Fail));
    assert!(
        text.contains("only cgroup v1") && text.contains("mount -t cgroup2"),
        "{text}"
    );

    let (id, status, text) = only(|facts| facts.bpffs = Err("Permission denied (os error 13)".to_owned()));
    assert_eq!((id, status), ("bpffs", Status::Fail));
    assert!(text.contains("a security module forbids it"), "{text}");
}

#[test]
fn kernels_that_lack_something_are_named() {
    let table: [Row; 6] = [
        ("kernel", Status::Fail, "5.9.16 is too old", |facts| {
            facts.kernel = "5.9.16".to_owned();
        }),
        ("kernel", Status::Warn, "no version", |facts| {
            facts.kernel = "\u{1b}[2J".to_owned();
        }),
        ("btf", Status::Fail, "no such file", |facts| {
            facts.layout = Err("no such file".to_owned());
        }),
        ("btf", Status::Warn, "services: unknown", |facts| {
            facts.layout = Ok(vec![("services".to_owned(), "unknown".to_owned())]);
        }),
        ("hooks", Status::Warn, "tcp_receive_reset", |facts| {
            facts.missing_hooks = Ok(vec!["tcp_receive_reset"]);
        }),
        ("lockdown", Status::Fail, "confidentiality", |facts| {
            facts.lockdown = Some("none integrity [confidentiality]".to_owned());
        }),
    ];
    for (id, status, words, change) in table {
        let found = only(change);
        assert_eq!((found.0, found.1), (id, status), "{found:?}");
        assert!(
            found.2.contains(words) && !found.2.contains('\u{1b}'),
            "{found:?}"
        );
    }
}

#[test]
fn a_rule_that_drops_syn_data_fails_with_its_removal() {
    let saved =
        "*filter\n-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN -m length --length 100:65535 -j DROP\n";
    let (id, status, text) = only(|facts| facts.places[0].firewall = Ok(iptables("iptables", saved)));
    assert_eq!((id, status), ("firewall", Status::Fail));
    assert!(
        text.contains("carry data") && text.contains("iptables -t filter -D INPUT"),
        "{text}"
    );
    let (id, status, _) =
        only(|facts| facts.places[0].qdiscs = Ok(vec![("eth0".to_owned(), "netem".to_owned())]));
    assert_eq!((id, status), ("qdiscs", Status::Warn));
}

#[test]
fn what_is_pinned_is_told_from_what_is_current() {
    let (id, status, text) =
        only(|facts| facts.policy = PolicyFacts::OtherVersion("ABI 3, not 4".to_owned()));
    assert_eq!((id, status), ("policy", Status::Fail));
    assert!(
        text.contains("policy flush --bpffs /sys/fs/bpf/tfo-cli"),
        "{text}"
    );
    assert_eq!(only(|facts| facts.policy = PolicyFacts::HalfMade).1, Status::Warn);
    let in_force = |is_current| PolicyFacts::InForce {
        rules: 3,
        guards: 1,
        is_current,
    };
    assert!(wrong(|facts| facts.policy = in_force(true)).is_empty());
    assert_eq!(only(|facts| facts.policy = in_force(false)).1, Status::Warn);
    let foreign = only(|facts| facts.programs = Ok(vec![(12, "bpf_sockops".to_owned(), "sock_ops")]));
    assert!(
        foreign.1 == Status::Warn && foreign.2.contains("sock_ops bpf_sockops (id 12)"),
        "{foreign:?}"
    );
}

#[test]
fn network_settings_are_held_against_the_queues() {
    let table: [Row; 7] = [
        ("queues", Status::Warn, "queue of 5", |facts| {
            facts.listeners[0].limit = 5;
        }),
        ("queues", Status::Warn, "somaxconn=128", |facts| {
            facts.places[0].settings.somaxconn = Some(128);
        }),
        ("tcp-syncookies", Status::Fail, "never used", |facts| {
            facts.places[0].settings.syncookies = Some(2);
        }),
        ("tcp-syncookies", Status::Warn, "dropped from 100", |facts| {
            facts.places[0].settings.syncookies = Some(0);
            facts.places[0].settings.max_syn_backlog = Some(100);
        }),
        ("blackhole-pause", Status::Warn, "for 3600s", |facts| {
            facts.places[0].settings.blackhole_timeout_sec = Some(3600);
        }),
        ("tcp-fastopen", Status::Warn, "EOPNOTSUPP", |facts| {
            facts.places[0].settings.tcp_fastopen = Some(2);
        }),
        ("mptcp", Status::Warn, "listens for MPTCP", |facts| {
            let mut other = facts.listeners[0].clone();
            other.limit = 0;
            other.is_mptcp = Some(true);
            facts.listeners.push(other);
        }),
    ];
    for (id, status, words, change) in table {
        let found = only(change);
        assert_eq!((found.0, found.1), (id, status), "{found:?}");
        assert!(found.2.contains(words), "{found:?}");
    }
}

#[test]
fn lost_syn_data_names_the_destination() {
    let entry = |drops| crate::inspect::cookies::tests::cached(1, "203.0.113.5", drops).entry;
    assert!(wrong(|facts| facts.places[0].cookies = Ok(vec![entry(0), entry(1)])).is_empty());
    let (id, status, text) = only(|facts| facts.places[0].cookies = Ok(vec![entry(1), entry(2)]));
    assert_eq!((id, status), ("tcp-metrics", Status::Warn));
    assert!(
        text.contains("203.0.113.5 (2 in a row)") && text.contains("--dst 203.0.113.5 "),
        "{text}"
    );
}

#[test]
fn the_first_line_tells_on_from_off_and_use_from_silence() {
    let first = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        let check = examine(&facts).remove(0);
        (check.status, check.what)
    };
    let (status, what) = first(|facts| {
        facts.places[0].settings.tcp_fastopen = Some(0);
        facts.listeners.clear();
    });
    assert_eq!(status, Status::Fail);
    assert!(what.starts_with("Fast Open is off for clients, off"), "{what}");
    let (status, what) = first(|facts| facts.places[0].mib.1 = facts.places[0].mib.0);
    assert_eq!(status, Status::Pass);
    assert!(what.ends_with("; not used in the last 2.0s"), "{what}");
    let (status, what) = first(|facts| {
        facts.places[0].mib.1 = facts.places[0].mib.0;
        facts.places[0].mib.1.active_fail = Some(4);
    });
    assert_eq!(status, Status::Warn);
    assert!(what.contains("0 times as client (4 failed)"), "{what}");
    let (_, what) = first(|facts| facts.watched = Duration::ZERO);
    assert!(what.contains("nobody watched"), "{what}");
}

#[test]
fn other_namespaces_are_summed_up_where_they_are_well() {
    let mut facts = healthy();
    for inode in 2..=5 {
        let mut other = facts.places[0].clone();
        other.is_own = false;
        other.netns = Netns { inode, name: None };
        facts.places.push(other);
    }
    facts.places[4].settings.tcp_fastopen = Some(0);
    let checks = examine(&facts);
    let sysctls: Vec<_> = checks.iter().filter(|check| check.id == "tcp-fastopen").collect();
    assert_eq!(sysctls.len(), 3, "{sysctls:?}");
    assert!(
        sysctls
            .iter()
            .any(|check| check.what.ends_with("(netns 2 and 2 others)")),
        "{sysctls:?}"
    );
    assert!(
        sysctls
            .iter()
            .any(|check| check.status == Status::Warn && check.what.contains("0x0 lacks 0x1"))
    );
}
