//! Command lines as table tests, and the help as snapshots.

use std::time::Duration;

use super::{Command, TopConfig, TraceConfig, command as run, parser};
use crate::{
    exit::USAGE,
    model::SortKey,
    output::column::Column,
    tui::{Appearance, Permission, ThemeChoice},
};

fn trace(line: &str) -> TraceConfig {
    match run(&format!("trace {line}")) {
        Ok(Command::Trace(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

fn top(line: &str) -> TopConfig {
    match run(&format!("top {line}")) {
        Ok(Command::Top(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn defaults() {
    let config = trace("");
    assert_eq!(
        (config.format, config.duration, config.count),
        (crate::output::TraceFormat::Text, None, None)
    );
    assert_eq!(config.ttfb_wait, Duration::from_secs(1));
    assert!(config.filter.is_empty() && !config.attach.emit_plain);
    assert_eq!(config.attach, crate::options::AttachOptions::default());
    let config = top("");
    assert_eq!(
        (config.once, config.interval, config.sort),
        (false, Duration::from_secs(1), SortKey::Lost)
    );
}

#[test]
fn the_dashboard_changes_rules_only_where_it_is_told_to() {
    let config = top("");
    assert!(!config.allow_policy);
    assert_eq!(config.dashboard().permission, Permission::ReadOnly);
    let config = top("--allow-policy --bpffs /sys/fs/bpf/mine");
    assert!(config.allow_policy);
    assert_eq!(config.dashboard().permission, Permission::Allowed);
    assert_eq!(config.attach.bpffs, std::path::Path::new("/sys/fs/bpf/mine"));
    assert_eq!(
        top("--replay x.tfo").dashboard().permission,
        Permission::Recording
    );
}

#[test]
fn the_dashboard_begins_as_the_flags_say() {
    let options =
        top("--sort rtt --filter role:client --columns remote,lost --ascii --theme light").dashboard();
    assert_eq!((options.sort, &*options.filter), (SortKey::Rtt, "role:client"));
    let want = Appearance {
        theme: ThemeChoice::Light,
        ascii: true,
        columns: Some(vec![Column::Remote, Column::Lost]),
        ..Appearance::default()
    };
    assert_eq!(options.appearance, want);
    assert_eq!(top("--no-color").dashboard().appearance.theme, ThemeChoice::Mono);
}

#[test]
fn durations() {
    let table = [
        ("500ms", 500),
        ("2", 2_000),
        ("0.5", 500),
        ("1h30m", 5_400_000),
        ("5m", 300_000),
        ("7d", 604_800_000),
        ("0", 0),
    ];
    for (text, ms) in table {
        assert_eq!(
            trace(&format!("--duration {text}")).duration,
            Some(Duration::from_millis(ms)),
            "{text}"
        );
    }
}

#[test]
fn flags_of_the_dashboard_are_written_into_its_filter_line() {
    let written = |line: &str| top(line).filter_text;
    assert_eq!(written(""), "");
    assert_eq!(written("--filter lost>1s"), "lost>1s");
    assert_eq!(
        written("--unit web,db --family 6 --filter lost>1s"),
        "fam:6 unit:web,db lost>1s"
    );
    let config = top("--outcome reset --process curl");
    assert_eq!(config.filter_text.parse(), Ok(config.filter));
    let refused = run("top --role nobody").expect_err("there is no such role");
    assert!(refused.message.starts_with("--role nobody"), "{refused}");
}

#[test]
fn flags_become_one_filter() {
    let config = trace(
        "--outcome reset,failed --role client --remote 10.0.0.0/8 --port 443 --process curl --unit web --family 4 --filter lost>1s",
    );
    let same: Result<_, _> =
        "outcome:reset,failed role:client dst:10.0.0.0/8 port:443 fam:4 proc:curl unit:web lost>1s".parse();
    assert_eq!(Ok(config.filter), same);
    assert!(trace("--all --outcome plain").attach.emit_plain);
}

#[test]
fn packets_are_not_asked_for_processes_and_services() {
    let table = [
        (
            "analyze --process curl f",
            Some("--process curl: a capture has packets only"),
        ),
        (
            "analyze --unit web f",
            Some("--unit web: a capture has packets only"),
        ),
        ("analyze --filter role:client,server f", None),
        ("analyze --filter proc:curl f", Some("filter proc:...: a capture")),
        ("analyze --filter port:443f f", Some("'443f' is not a port")),
        (
            "analyze --filter cgroup:web f",
            Some("filter cgroup:...: a capture"),
        ),
        // All pass, and by the other word all of a port.
        ("analyze --filter !unit:web f", None),
        ("analyze --filter web f", None),
    ];
    for (line, want) in table {
        match (run(line), want) {
            (Ok(_), None) => {}
            (Err(refused), Some(want)) => assert!(refused.to_string().contains(want), "{line}: {refused}"),
            (other, want) => panic!("{line}: {other:?}, not {want:?}"),
        }
    }
}

#[test]
fn wrong_values_are_usage_errors_that_name_flag_and_value() {
    let table = [
        (
            "trace --duration soon",
            "--duration soon: 'soon' is not a duration",
        ),
        ("trace --duration -5s", "unexpected argument"),
        ("trace --duration=-5s", "--duration -5s: '-5s' is negative"),
        ("trace --ttfb-wait x", "--ttfb-wait x: 'x' is not a duration"),
        ("trace --count 0", "--count 0: nothing"),
        ("trace --count x", "invalid value 'x' for '--count"),
        ("trace --format xml", "invalid value 'xml'"),
        (
            "trace --outcome plain",
            "--outcome plain: connections without Fast Open",
        ),
        ("trace --outcome late", "--outcome late: 'late' is not an outcome"),
        (
            "trace --role peer",
            "--role peer: 'peer' is not one of client, server",
        ),
        (
            "trace --remote 1.2.3",
            "--remote 1.2.3: '1.2.3' is not an IP address",
        ),
        ("trace --port 70000", "--port 70000: '70000' is not a port"),
        ("trace --family 5", "--family 5: '5' is not one of"),
        ("trace --filter prot:1", "--filter prot:1: 'prot' is not known"),
        ("trace --destinations 1", "--destinations 1: must be 64 to"),
        ("trace --ttfb-sample 0", "--ttfb-sample 0: must be 1 or more"),
        (
            "trace --server-v4-prefix 33",
            "--server-v4-prefix 33: must be 0 to 32",
        ),
        (
            "trace --server-v6-prefix 129",
            "--server-v6-prefix 129: must be 0 to 128",
        ),
        ("top --interval 1ms", "--interval 1ms: must be at least 100ms"),
        ("top --sort beauty", "--sort beauty: not one of lost"),
        (
            "top --allow-policy --once",
            "'--allow-policy' cannot be used with '--once'",
        ),
        (
            "top --allow-policy --replay x",
            "'--allow-policy' cannot be used with '--replay",
        ),
        (
            "top --allow-policy --format json",
            "--allow-policy: only the dashboard can change rules",
        ),
        ("bottom", "unrecognized subcommand 'bottom'"),
    ];
    for (line, part) in table {
        let failure = run(line).expect_err(line);
        assert_eq!(failure.code, USAGE, "{line}");
        assert!(failure.to_string().contains(part), "{line}: {failure}");
    }
}

#[test]
fn policies_and_guards() {
    for (line, part) in [
        ("policy add --dst ::/0", "--cgroup"),
        ("policy add --cgroup / --unit x --dst ::/0", "cannot be used with"),
        ("policy add --cgroup /", "--dst"),
        (
            "policy add --cgroup / --dst 10.1.0.0/8",
            "--dst 10.1.0.0/8: 10.1.0.0/8 has bits set",
        ),
        (
            "policy add --cgroup / --dst ::/0 --port 0",
            "--port 0: '0' is not a port",
        ),
        (
            "policy add --cgroup / --dst ::/0 --ttl 0",
            "--ttl 0: '0' is not a time to live",
        ),
        (
            "policy add --cgroup / --dst ::/0 --action deny",
            "invalid value 'deny' for '--action",
        ),
        ("policy remove", "<ID>"),
        ("policy apply", "<FILE>"),
        ("guard on --cgroup / --of 0", "--of: 0 is not 1 to 32"),
        (
            "guard on --cgroup / --backoff 1d --max-backoff 1h",
            "--max-backoff: 1h is not between",
        ),
        ("guard off", "--cgroup"),
    ] {
        let failure = run(line).expect_err(line);
        assert_eq!(failure.code, USAGE, "{line}");
        assert!(failure.to_string().contains(part), "{line}: {failure}");
    }
    let Ok(Command::Policy(config)) =
        run("policy add --unit app --dst 192.0.2.1 --port 443,8000-8010 --ttl 2d")
    else {
        panic!("it is a policy command")
    };
    assert_eq!(config.bpffs, std::path::Path::new("/sys/fs/bpf/tfo-cli"));
    let super::PolicyWhat::Add(rule, _) = config.what else {
        panic!("it adds")
    };
    assert_eq!((rule.ports.len(), rule.ttl), (2, Some(Duration::from_hours(48))));
}

/// What a command is told is its own; and who reads 2 would take it for the command's.
#[test]
fn run_takes_everything_behind_the_command_for_its_own() {
    let command = |line: &str| match run(line) {
        Ok(Command::Run(config)) => (config.command, config.user),
        other => panic!("{line}: {other:?}"),
    };
    let words = |line: &str| line.split(' ').map(Into::into).collect::<Vec<_>>();
    assert_eq!(command("run curl -s --user x"), (words("curl -s --user x"), None));
    let with_user = (words("sh -c -- x"), Some("nobody".to_owned()));
    assert_eq!(command("run --user nobody -- sh -c -- x"), with_user);
    for wrong in ["run", "run --format xml -- true", "run --no-such-flag true"] {
        assert_eq!(
            run(wrong).expect_err("it is wrong").code,
            crate::exit::RUN_FAILED,
            "{wrong}"
        );
    }
    assert_eq!(
        run("trace run --no-such-flag").expect_err("it is wrong").code,
        USAGE
    );
}

#[test]
fn help_is_as_reviewed() {
    let mut parser = parser().term_width(100);
    parser.build();
    let mut commands = vec![("tfo-cli".to_owned(), parser)];
    while let Some((name, command)) = commands.pop() {
        if command.is_hide_set() {
            continue;
        }
        let below = command.get_subcommands().filter(|one| one.get_name() != "help");
        commands.extend(below.map(|one| {
            let path = match name.as_str() {
                "tfo-cli" => one.get_name().to_owned(),
                parent => format!("{parent} {}", one.get_name()),
            };
            (path, one.clone())
        }));
        insta::assert_snapshot!(
            format!("help-{}", name.replace(' ', "-")),
            command.term_width(100).render_help()
        );
    }
}

#[test]
fn clap_agrees_with_itself() {
    parser().debug_assert();
}

#[test]
fn help_ends_with_every_exit_code() {
    let codes = crate::exit::ALL.map(|(code, meaning)| format!("{code} {meaning}"));
    assert_eq!(super::EXIT_CODES, format!("Exit codes: {}.", codes.join("; ")));
}
