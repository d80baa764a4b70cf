//! Judges whether Fast Open can work on a listening socket, and if not, why not and what to do.

use super::{EVERY_LISTENER, Listener, SERVER};
use crate::{clean::clean, inspect::places::Netns};

/// Length up to which a queue counts as short: a few slow clients fill it. Common defaults are 1 and 5.
pub const SHORT_QUEUE: u32 = 5;
/// The recommended length of a queue.
pub const GOOD_QUEUE: u32 = 256;

/// The judgement about a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the kernel accepts data in SYNs; `None` when a setting cannot be read.
    pub works: Option<bool>,
    /// Why it does not, or what could be better although it does, in a few words.
    pub why: Option<String>,
    /// A command or setting that mends it; `None` when nothing has to be mended.
    pub fix: Option<String>,
}

/// Judges one socket. In this order:
///
/// 1. no queue: the application has not asked for Fast Open (or could not, on an MPTCP socket);
/// 2. the namespace's sysctl lacks the server's bit;
/// 3. SYN cookies for every connection: Fast Open's option is not even read (`tcp_conn_request`);
/// 4. it works, with a queue that is short.
pub fn judge(listener: &Listener) -> Judgement {
    let off = |why: String, fix: String| Judgement {
        works: Some(false),
        why: Some(why),
        fix: Some(fix),
    };
    let settings = listener.settings;
    if listener.limit == 0 {
        return no_queue(listener);
    }
    let Some(sysctl) = settings.tcp_fastopen else {
        return Judgement {
            works: None,
            why: Some("net.ipv4.tcp_fastopen cannot be read".to_owned()),
            fix: None,
        };
    };
    if sysctl & SERVER == 0 {
        return off(
            format!("tcp_fastopen={sysctl:#x} of its network namespace lacks 0x2 (server)"),
            sysctl_fix(&listener.netns, "net.ipv4.tcp_fastopen", sysctl | SERVER),
        );
    }
    if settings.syncookies == Some(2) {
        return off(
            "tcp_syncookies=2 answers every SYN with a SYN cookie".to_owned(),
            sysctl_fix(&listener.netns, "net.ipv4.tcp_syncookies", 1),
        );
    }
    let is_short = listener.limit <= SHORT_QUEUE;
    Judgement {
        works: Some(true),
        why: is_short.then(|| format!("a queue of {} overflows with a few slow clients", listener.limit)),
        fix: is_short.then(|| queue_fix(listener)),
    }
}

fn no_queue(listener: &Listener) -> Judgement {
    let sysctl = listener.settings.tcp_fastopen.unwrap_or(0);
    let (why, fix) = if listener.is_mptcp == Some(true) {
        (
            "no queue, and MPTCP: before Linux 6.2 such a socket cannot have one".to_owned(),
            format!(
                "{}; if that fails make it a TCP socket: GODEBUG=multipathtcp=0 for a Go service, or {}",
                queue_fix(listener),
                sysctl_fix(&listener.netns, "net.mptcp.enabled", 0)
            ),
        )
    } else if sysctl & SERVER != 0 && sysctl & EVERY_LISTENER != 0 {
        (
            "no queue: it listened before tcp_fastopen had 0x400".to_owned(),
            format!("restart it, or {}", queue_fix(listener)),
        )
    } else {
        (
            "no queue: the application has not asked for one".to_owned(),
            queue_fix(listener),
        )
    };
    Judgement {
        works: Some(false),
        why: Some(why),
        fix: Some(fix),
    }
}

/// How to give the socket a queue: a command for now, and the setting of the application.
fn queue_fix(listener: &Listener) -> String {
    let now = format!(
        "tfo-cli listeners set {} --qlen {GOOD_QUEUE}",
        quoted(&listener.address.to_string())
    );
    let comm = listener.holder().map_or("", |holder| holder.comm.as_str());
    match setting(comm) {
        Some(setting) => format!("{now}; for good: {setting}"),
        None => now,
    }
}

/// The setting by which an application sets the length of its queue.
fn setting(comm: &str) -> Option<&'static str> {
    Some(match comm {
        "nginx" => "listen ... fastopen=256;",
        "haproxy" => "tfo on the bind line",
        "envoy" => "tcp_fast_open_queue_length of the listener",
        "xray" => "sockopt.tcpFastOpen: 256",
        "v2ray" => "sockopt.tcpFastOpen: true, tcpFastOpenQueueLength: 256",
        _ => return None,
    })
}

/// The command that sets a sysctl in the network namespace of the socket.
pub fn sysctl_fix(netns: &Netns, name: &str, value: u32) -> String {
    inside(netns, &format!("sysctl -w {name}={value}"))
}

/// A command that is run inside a network namespace.
pub fn inside(netns: &Netns, command: &str) -> String {
    let set = command.to_owned();
    let process = netns
        .name
        .as_deref()
        .and_then(|name| name.strip_suffix(')')?.rsplit_once('('))
        .filter(|(_, pid)| pid.bytes().all(|byte| byte.is_ascii_digit()));
    match (&netns.name, process) {
        (Some(name), _) if name == "host" => set,
        (Some(_), Some((_, pid))) => format!("nsenter -t {pid} -n {set}"),
        (Some(name), None) => format!("ip netns exec {} {set}", quoted(&clean(name))),
        (None, _) => set,
    }
}

/// A word, quoted for a shell if necessary.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":./-_@=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::listeners::tests::listener;

    fn judged(change: impl FnOnce(&mut Listener)) -> (Option<bool>, String, String) {
        let mut socket = listener("[::]:443", 7, 256);
        change(&mut socket);
        let Judgement { works, why, fix } = judge(&socket);
        (works, why.unwrap_or_default(), fix.unwrap_or_default())
    }

    #[test]
    fn what_is_right_has_nothing_to_say() {
        assert_eq!(judged(|_| {}), (Some(true), String::new(), String::new()));
        assert_eq!(
            judged(|socket| socket.limit = SHORT_QUEUE + 1),
            (Some(true), String::new(), String::new())
        );
    }

    #[test]
    fn every_reason_has_its_fix() {
        let set = "tfo-cli listeners set '[::]:443' --qlen 256; for good: listen ... fastopen=256;";
        let (works, why, fix) = judged(|socket| socket.limit = 0);
        assert_eq!((works, &*fix), (Some(false), set));
        assert!(why.contains("has not asked"), "{why}");

        let (works, why, fix) = judged(|socket| socket.limit = 5);
        assert_eq!((works, &*fix), (Some(true), set));
        assert!(why.contains("queue of 5"), "{why}");

        let (works, why, fix) = judged(|socket| socket.settings.tcp_fastopen = Some(0x401));
        assert_eq!(
            (works, &*fix),
            (Some(false), "sysctl -w net.ipv4.tcp_fastopen=1027")
        );
        assert!(why.contains("0x401"), "{why}");

        let (works, _, fix) = judged(|socket| socket.settings.syncookies = Some(2));
        assert_eq!(
            (works, &*fix),
            (Some(false), "sysctl -w net.ipv4.tcp_syncookies=1")
        );

        let (works, why, fix) = judged(|socket| {
            socket.limit = 0;
            socket.is_mptcp = Some(true);
        });
        assert!(
            works == Some(false) && why.contains("MPTCP") && fix.contains("multipathtcp=0"),
            "{fix}"
        );

        let (_, why, fix) = judged(|socket| {
            socket.limit = 0;
            socket.settings.tcp_fastopen = Some(0x403);
        });
        assert!(
            why.contains("before") && fix.starts_with("restart it"),
            "{why} {fix}"
        );

        let (works, why, _) = judged(|socket| socket.settings.tcp_fastopen = None);
        assert!(works.is_none() && why.contains("cannot be read"), "{why}");
    }

    #[test]
    fn a_sysctl_is_set_where_it_counts() {
        let fix = |name: Option<&str>| {
            let netns = Netns {
                inode: 9,
                name: name.map(str::to_owned),
            };
            sysctl_fix(&netns, "a.b", 3)
        };
        assert_eq!(fix(Some("host")), "sysctl -w a.b=3");
        assert_eq!(fix(Some("web")), "ip netns exec web sysctl -w a.b=3");
        assert_eq!(
            fix(Some("my web; rm")),
            "ip netns exec 'my web; rm' sysctl -w a.b=3"
        );
        assert_eq!(fix(Some("nginx(42)")), "nsenter -t 42 -n sysctl -w a.b=3");
        assert_eq!(fix(Some("a(1; b)")), "ip netns exec 'a(1; b)' sysctl -w a.b=3");
        assert_eq!(fix(None), "sysctl -w a.b=3");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
