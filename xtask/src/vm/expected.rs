//! The degradations that are expected of older kernels, by the names that `tfo-cli` gives them. A degradation that is not
//! expected is a finding, and so is an expected one that is missing.

use super::release::Series;

/// A degradation on kernels before a series.
#[derive(Debug)]
pub struct Degradation {
    pub name: &'static str,
    /// The first series without it.
    pub before: Series,
    /// What cannot be observed because of it, for the document.
    pub missed: &'static str,
}

pub const DEGRADATIONS: [Degradation; 5] = [
    Degradation {
        name: "priming-scope",
        before: Series::new(6, 1),
        missed: "with `--cgroup` listeners outside it get a callback flag too, which does nothing there",
    },
    Degradation {
        name: "mptcp",
        before: Series::new(6, 1),
        missed: "MPTCP listeners are taken for TCP ones (Debian's 5.10 is built without MPTCP)",
    },
    Degradation {
        name: "listener-priming",
        before: Series::new(6, 12),
        missed: "on listeners that existed before the tool only accepted Fast Open connections are seen; others are \
            counted as lost (`unprimed-listener`)",
    },
    Degradation {
        name: "flag-release",
        before: Series::new(5, 15),
        missed: "callback flags stay on sockets after the tool ends; without programs they do nothing",
    },
    Degradation {
        name: "socket-error",
        before: Series::new(5, 14),
        missed: "connections that end in an error before a SYN was sent again are shown when they are closed",
    },
];

/// Before this series `bpf_setsockopt` sets no `TCP_NODELAY` from `sock_ops`: sockets that would stall without the push keep
/// their Fast Open, and `policy list` counts them (docs/limits.md).
const PUSH: Series = Series::new(6, 1);

/// Whether a denied socket that would stall is pushed.
pub fn has_push(series: Series) -> bool {
    series >= PUSH
}

/// Programs that kernels before a series refuse, each behind a degradation above: the helper or tracepoint they need is
/// not there.
const REFUSED: [(&str, Series); 3] = [
    ("tfo_prime", Series::new(5, 15)),
    ("tfo_release", Series::new(5, 15)),
    ("tfo_sk_error", Series::new(5, 14)),
];

/// Whether a series refuses a program.
pub fn is_refused(series: Series, program: &str) -> bool {
    REFUSED
        .iter()
        .any(|(name, before)| *name == program && series < *before)
}

/// The degradations of a series.
pub fn of(series: Series) -> impl Iterator<Item = &'static Degradation> {
    DEGRADATIONS.iter().filter(move |one| series < one.before)
}

/// The findings about the degradations that were reported on a machine, each as `NAME: WHY`.
pub fn problems(series: Series, reported: &[String]) -> Vec<String> {
    let name = |line: &str| line.split(": ").next().unwrap_or_default().to_owned();
    let reported: Vec<_> = reported.iter().map(|line| (name(line), line)).collect();
    let unexpected = reported
        .iter()
        .filter(|(name, _)| !of(series).any(|one| one.name == name))
        .map(|(_, line)| format!("degradation that is not expected on {series}: {line}"));
    let missing = of(series)
        .filter(|one| !reported.iter().any(|(name, _)| name == one.name))
        .map(|one| format!("degradation {} was expected on {series} and not told", one.name));
    unexpected.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_tells_exactly_what_is_expected_of_its_series() {
        let (old, new) = (Series::new(6, 1), Series::new(6, 12));
        let told = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        assert_eq!(problems(new, &[]), [""; 0]);
        assert_eq!(
            problems(old, &told(&["listener-priming: too old: really"])),
            [""; 0]
        );
        let extra = problems(new, &told(&["listener-priming: refused"]));
        assert!(
            extra[0].contains("not expected on 6.12: listener-priming: refused"),
            "{extra:?}"
        );
        let (silent, other) = (problems(old, &[]), problems(old, &told(&["cgroup: unknown"])));
        assert!(silent[0].contains("not told"), "{silent:?}");
        assert_eq!(other.len(), 2, "{other:?}");
    }

    #[test]
    fn programs_are_refused_only_where_they_must_be() {
        let (oldest, old) = (Series::new(5, 10), Series::new(6, 1));
        assert!(is_refused(oldest, "tfo_prime") && !is_refused(old, "tfo_prime"));
        assert!(!is_refused(oldest, "tfo_sock_ops"));
    }
}
