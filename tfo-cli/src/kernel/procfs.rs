//! Parsers of /proc files. Pure and total: unknown lines are skipped, absent values are `None`.

use std::path::PathBuf;

use crate::model::source::Mib;

/// Mount point of the first file system of this type in a mounts table (proc(5)). Octal escapes (`\040`)
/// are undone.
pub fn mount_of_type(mounts: &str, wanted: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == wanted).then(|| PathBuf::from(unescape(point)))
    })
}

fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        if let Some(digits) = octal {
            let value = digits
                .iter()
                .fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            out.push(u8::try_from(value).unwrap_or(b'?'));
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A process's cgroup v2 in a text like /proc/PID/cgroup (cgroups(7)), beginning with `/`. The mark behind one that was
/// removed stays: its directory is not there, and whoever opens it is told so.
pub fn own_cgroup(text: &str) -> Option<&str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("0::").filter(|path| path.starts_with('/')))
}

/// The Fast Open counters of /proc/net/netstat: a line of names, then one of values, both beginning with
/// `TcpExt:`. Looked up by name; a kernel may have more, fewer or others.
pub fn tcp_ext(netstat: &str) -> Mib {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Mib::default();
    };
    let mut mib = Mib::default();
    for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
        let slot = match name {
            "TCPFastOpenActive" => &mut mib.active,
            "TCPFastOpenActiveFail" => &mut mib.active_fail,
            "TCPFastOpenPassive" => &mut mib.passive,
            "TCPFastOpenPassiveFail" => &mut mib.passive_fail,
            "TCPFastOpenListenOverflow" => &mut mib.listen_overflow,
            "TCPFastOpenCookieReqd" => &mut mib.cookie_reqd,
            "TCPFastOpenBlackhole" => &mut mib.blackhole,
            "TCPFastOpenPassiveAltKey" => &mut mib.passive_alt_key,
            _ => continue,
        };
        *slot = value.parse().ok();
    }
    mib
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_mounts_wherever_they_are() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            mount_of_type(hybrid, "cgroup2"),
            Some("/sys/fs/cgroup/unified".into())
        );
        assert_eq!(
            mount_of_type("none /a\\040b cgroup2 rw 0 0", "cgroup2"),
            Some("/a b".into())
        );
        assert_eq!(
            mount_of_type("none /a\\9 cgroup2", "cgroup2"),
            Some("/a\\9".into())
        );
        assert_eq!(mount_of_type("cgroup2 only", "cgroup2"), None);
        assert_eq!(mount_of_type("", "cgroup2"), None);
    }

    #[test]
    fn the_own_cgroup_is_that_of_version_2() {
        assert_eq!(
            own_cgroup("4:memory:/x\n0::/user.slice/a b\n"),
            Some("/user.slice/a b")
        );
        assert_eq!(own_cgroup("0::/\n"), Some("/"));
        assert_eq!(own_cgroup("1:name=systemd:/\n"), None);
        assert_eq!(own_cgroup("0::\n0:\n"), None);
    }

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent TCPFastOpenPassive TCPFastOpenActive New\nTcpExt: 1 22 333 4\n\
                    IpExt: InNoRoutes\nIpExt: 0\n";
        let mib = tcp_ext(text);
        assert_eq!(
            (mib.passive, mib.active, mib.active_fail),
            (Some(22), Some(333), None)
        );
        assert_eq!(tcp_ext("TcpExt: TCPFastOpenActive\n"), Mib::default());
        assert_eq!(tcp_ext("TcpExt: TCPFastOpenActive\nTcpExt: x\n").active, None);
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "\\PC{0,300}", lines in proptest::collection::vec("(TcpExt:)?[ a-zA-Z0-9\\\\]{0,60}", 0..8)) {
            let _ = (tcp_ext(&text), own_cgroup(&text), mount_of_type(&text, "cgroup2"));
            let joined = lines.join("\n");
            let _ = (tcp_ext(&joined), mount_of_type(&joined, "TcpExt:"));
        }
    }
}
