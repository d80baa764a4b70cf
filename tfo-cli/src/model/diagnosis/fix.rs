//! Fixes as commands, quoted for a shell.

use super::{Facts, Finding, Fix};
use crate::model::DestRow;

/// How long a suggested rule lives: the path may be mended by then.
const TTL: &str = "7d";

/// What a suggested rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// No SYN carries data.
    NoData,
    /// Nor the option; for all ports, because the option goes with cookie requests too.
    Strip,
}

/// A policy rule for one destination of one service.
pub fn rule(facts: &Facts<'_>, row: &DestRow, action: Action) -> Fix {
    let path = facts
        .names
        .get(row.key.cgroup_id)
        .map_or("/", |name| name.path.as_str());
    let action_flag = match action {
        Action::NoData => "",
        Action::Strip => " --action strip",
    };
    let without = match action {
        Action::NoData => "data",
        Action::Strip => "data and without the option",
    };
    // Options are stripped per network namespace. By its inode: threads of a process may be elsewhere than the process.
    let elsewhere = |netns: &u32| ![0, facts.host.netns].contains(netns);
    let flows = facts.flows(&row.key).iter().rev();
    let inode = flows.map(|flow| flow.event().netns).find(elsewhere);
    let netns = match (action, inode) {
        (Action::Strip, Some(inode)) => format!(" --netns {inode}"),
        _ => String::new(),
    };
    Fix {
        command: Some(format!(
            "tfo-cli policy add --cgroup {} --dst {} --port {}{action_flag}{netns} --ttl {TTL}",
            quoted(path),
            row.remote(),
            row.key.port,
        )),
        what: format!(
            "SYNs of this service to this destination leave without {without}; applications notice nothing (a way round \
             the path, whose owner has to mend it)"
        ),
        undo: format!(
            "`tfo-cli policy remove ID` (`tfo-cli policy list` shows the ID); it ends by itself after {TTL}"
        ),
        is_rule: true,
    }
}

/// The same rule, where the path is whole and the data is what should not be in a SYN.
pub fn keep_data_back(facts: &Facts<'_>, row: &DestRow) -> Fix {
    Fix {
        what: "SYNs of this service to this destination leave without data, so that nothing is done twice; applications notice \
               nothing (for good: Fast Open only for requests that may be done twice, RFC 7413 section 6.1)"
            .into(),
        ..rule(facts, row, Action::NoData)
    }
}

/// Looks whether the servers behind an address have the same key.
pub fn compare_keys() -> Fix {
    Fix {
        command: Some("tfo-cli keys".into()),
        what: "shows fingerprints of the keys and changes nothing: run it on every server that shares the address. Where \
               they differ, give all of them one key, step by step, with `tfo-cli keys rotate` (docs/host.md)"
            .into(),
        undo: "none needed for looking; a rotation goes back with `tfo-cli keys rotate --step swap`".into(),
        is_rule: false,
    }
}

/// Switches a listener on.
pub fn enable(facts: &Facts<'_>, cgroup_id: u64, port: u16, limit: Option<u32>) -> Fix {
    match limit {
        // The queue is there: only the sysctl is missing, in a namespace that is not known from here.
        Some(1..) => Fix {
            command: None,
            what: "run `sysctl -w net.ipv4.tcp_fastopen=3` in the listener's network namespace (`tfo-cli listeners` names it)"
                .into(),
            undo: "`sysctl -w net.ipv4.tcp_fastopen=1` there".into(),
            is_rule: false,
        },
        _ => queue(facts, cgroup_id, port, limit),
    }
}

/// Queue limits that are suggested: of somaxconn's size on older kernels, and enough for thousands of handshakes a
/// second.
const QLEN: u32 = 256;

/// Gives a listener a longer queue.
pub fn queue(facts: &Facts<'_>, cgroup_id: u64, port: u16, limit: Option<u32>) -> Fix {
    let qlen = limit.map_or(QLEN, |limit| limit.saturating_mul(4).max(QLEN));
    let setting = setting(&facts.names.label(cgroup_id), qlen);
    Fix {
        command: Some(format!("tfo-cli listeners set :{port} --qlen {qlen}")),
        what: format!(
            "changes the running socket, capped by net.core.somaxconn (`tfo-cli listeners` says what else is missing); for \
             good: {setting}"
        ),
        undo: limit.map_or_else(
            || "the command prints how to take it back".to_owned(),
            |limit| format!("`tfo-cli listeners set :{port} --qlen {limit}`"),
        ),
        is_rule: false,
    }
}

/// What the application calls the limit of its queue.
fn setting(service: &str, qlen: u32) -> String {
    let known = [
        ("nginx", format!("`listen ... fastopen={qlen}`")),
        ("envoy", format!("`tcp_fast_open_queue_length: {qlen}`")),
        ("xray", format!("`tcpFastOpen: {qlen}` in sockopt")),
        ("v2ray", format!("`tcpFastOpenQueueLength: {qlen}` in sockopt")),
        ("dnsdist", format!("`tcpFastOpenQueueSize={qlen}`")),
        ("pdns", format!("`tcp-fast-open={qlen}`")),
        (
            "trafficserver",
            format!("`proxy.config.net.sock_option_tfo_queue_size_in: {qlen}`"),
        ),
    ];
    let found = known.into_iter().find(|(name, _)| service.contains(name));
    found.map_or_else(
        || {
            format!(
                "the application's setting (nginx `listen ... fastopen={qlen}`, others setsockopt TCP_FASTOPEN {qlen})"
            )
        },
        |(_, setting)| setting,
    )
}

/// Sets `net.ipv4.tcp_fastopen` of a network namespace.
pub fn sysctl(facts: &Facts<'_>, netns: u32, value: u32, before: u32) -> Fix {
    let here = netns == facts.host.netns;
    let command = format!("sysctl -w net.ipv4.tcp_fastopen={value}");
    Fix {
        command: here.then(|| command.clone()),
        what: if here {
            "takes effect at once, for new connections".into()
        } else {
            format!(
                "run `nsenter -t PID -n {command}` with a process of namespace {netns}; for containers use `--sysctl \
                 net.ipv4.tcp_fastopen={value}` or the pod's securityContext.sysctls"
            )
        },
        undo: format!("the same with net.ipv4.tcp_fastopen={before}"),
        is_rule: false,
    }
}

impl Fix {
    /// Something to do that is not typed here.
    pub fn advice(what: &str) -> Self {
        Self {
            command: None,
            what: what.to_owned(),
            undo: String::new(),
            is_rule: false,
        }
    }
}

/// A word as a POSIX shell takes it for one. Control characters are left to whoever prints it.
pub fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-:@%+=,".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Finding {
    /// The command that mends it, if there is one.
    pub fn command(&self) -> Option<&str> {
        self.fix.as_ref()?.command.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        let table = [
            ("/system.slice/web.service", "/system.slice/web.service"),
            ("/a b", "'/a b'"),
            ("/x\\x2dy", "'/x\\x2dy'"),
            ("/it's;rm -rf $HOME", "'/it'\\''s;rm -rf $HOME'"),
            ("", "''"),
        ];
        for (word, want) in table {
            assert_eq!(quoted(word), want);
        }
    }
}
