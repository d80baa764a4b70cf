//! A policy that is never the same for long, for the destinations of the traffic that is not a burst.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    policy::{self, PINS, ok, run},
    support::{BINARY, NO_CONFIG},
};

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    pub made: u32,
    pub killed: u32,
}

impl Changes {
    /// One more. The kinds take turns; after each of them the policy can be read, and is in force exactly while
    /// there is anything in it.
    pub fn another(&mut self, cgroup: &Path, round: u64) -> Result<()> {
        let cgroup = cgroup.to_string_lossy();
        let (dst, net) = ("127.7.0.0/16", format!("127.{}.0.0/16", 8 + round % 100));
        let add = ["policy", "add", "--cgroup", &cgroup, "--dst"];
        match round % 5 {
            0 => drop(run(&[&add[..], &[dst]].concat())?),
            1 => drop(ok(&[
                "guard",
                "on",
                "--cgroup",
                &cgroup,
                "--failures",
                "3",
                "--of",
                "3",
            ])?),
            2 => drop(run(&[&add[..], &[&net, "--ttl", "1h"]].concat())?),
            3 => {
                let mut child = Command::new(BINARY)
                    .args(["policy", "apply", "/dev/null"])
                    .envs(NO_CONFIG)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .context("policy apply")?;
                thread::sleep(Duration::from_millis(round * 3 % 40));
                // Fails when it has ended already.
                let _ = child.kill();
                child.wait().context("policy apply")?;
                self.killed += 1;
            }
            _ => drop(ok(&["policy", "flush"])?),
        }
        self.made += 1;
        let count = |list: &serde_json::Value, what: &str| list[what].as_array().map_or(0, Vec::len);
        let entries = count(&policy::list()?, "rules") + count(&policy::guards()?, "guards");
        let linked = Path::new(PINS).join("link-egress").exists();
        ensure!(
            linked == (entries > 0),
            "round {round}: {entries} rules and guards, in force: {linked}"
        );
        Ok(())
    }
}
