//! Removes namespaces: those of this lab, and those that killed processes left behind.

use std::{fs, path::Path};

use crate::{command, netns::NAMED_DIR};

/// Removes labs tagged with the id of a process that no longer runs (see `Lab::up_unique`).
pub fn remove_orphans() {
    let Ok(entries) = fs::read_dir(NAMED_DIR) else {
        return; // no named namespace was ever made on this machine
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove_namespace(&name);
        }
    }
}

/// Removes one named namespace and the processes in it; returns whether it existed.
pub fn remove_namespace(name: &str) -> bool {
    if !Path::new(NAMED_DIR).join(name).exists() {
        return false;
    }
    let inside = command::run("ip", &["netns", "pids", name]).unwrap_or_default();
    for pid in inside.split_whitespace() {
        let _ = command::run("kill", &["-9", pid]);
    }
    let _ = command::run("ip", &["netns", "del", name]);
    true
}

/// The process id in `tfo-client-<pid>-<n>` or `tfo-server-<pid>-<n>`.
fn owner(name: &str) -> Option<u32> {
    let tag = name
        .strip_prefix("tfo-client-")
        .or_else(|| name.strip_prefix("tfo-server-"))?;
    let (pid, number) = tag.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_tagged_names_have_an_owner() {
        assert_eq!(owner("tfo-client-4711-2"), Some(4711));
        assert_eq!(owner("tfo-server-1-0"), Some(1));
        for name in [
            "tfo-client",
            "tfo-client-demo",
            "tfo-client-12",
            "other-1-1",
            "tfo-client-1-x",
        ] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
