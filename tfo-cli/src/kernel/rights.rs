//! Are we allowed to? Asked before anything is loaded, so that the answer names what is missing.

use std::fs;

use super::Error;

/// Capabilities the observer needs (include/uapi/linux/capability.h): BPF programs and maps; reading kernel
/// memory from them; attaching `sock_ops` to a cgroup; entering other network namespaces.
const NEEDED: [(u32, &str); 4] = [
    (39, "CAP_BPF"),
    (38, "CAP_PERFMON"),
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
];

/// Checks the effective capabilities.
pub fn check() -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").map_err(|source| Error::Io {
        operation: "read",
        object: "/proc/self/status".into(),
        source,
    })?;
    let missing = missing(&status);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Rights {
            missing: missing.join(", "),
        })
    }
}

/// Whether /proc shows what namespaces every process is in (`CAP_SYS_PTRACE`).
pub fn sees_into_processes() -> bool {
    const SYS_PTRACE: u32 = 19;
    fs::read_to_string("/proc/self/status").is_ok_and(|status| effective(&status) >> SYS_PTRACE & 1 == 1)
}

/// Effective capabilities, as bits; none where /proc does not tell.
pub fn capabilities() -> u64 {
    fs::read_to_string("/proc/self/status").map_or(0, |status| effective(&status))
}

/// Names of the capabilities that `/proc/self/status` does not show as effective.
fn missing(status: &str) -> Vec<&'static str> {
    let effective = effective(status);
    NEEDED
        .iter()
        .filter(|(bit, _)| effective >> bit & 1 == 0)
        .map(|(_, name)| *name)
        .collect()
}

fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert!(missing("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(missing("CapEff:\t0000000000000000\n").len(), 4);
        assert_eq!(missing("CapEff:\t000001ffffffefff\n"), ["CAP_NET_ADMIN"]);
        assert_eq!(missing("CapEff:\tnonsense\n").len(), 4);
        assert_eq!(missing("").len(), 4);
    }
}
