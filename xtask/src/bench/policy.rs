//! A policy while something is measured: in a mount namespace of its own, whose bpffs takes everything along when
//! it goes, however this process ends.

pub mod connection;
pub mod packet;
mod programs;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::bpftool::{bpftool, run};
use super::empty::{Empty, Hook};
use super::observer::scratch;
use crate::commands::program_path;
use crate::process;

/// Where the kernel's BPF objects get names.
const BPFFS: &str = "/sys/fs/bpf";
/// Rules of [`Rules::Hundred`].
const HUNDRED: u32 = 100;
/// Rules of [`Rules::Many`].
const MANY: u32 = 10_000;

/// A guard of the whole host, in a policy file.
const GUARD: &str = "[[guard]]\ncgroup = \"/\"\n";

/// The mount namespace. There is one; what is measured needs it.
pub struct Stage {
    bpffs: PathBuf,
}

impl Stage {
    /// Enters it for good. Children are in it too.
    pub fn enter() -> Result<Self> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace: root is needed")?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .context("cannot make mounts private")?;
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
            .with_context(|| format!("cannot mount a bpffs on {BPFFS}"))?;
        Ok(Self { bpffs: BPFFS.into() })
    }

    /// Does something with the pin of a program.
    pub fn with_pin<T>(&self, id: u64, with: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let path = self.bpffs.join(format!("bench-{id}"));
        run(&["prog", "pin", "id", &id.to_string(), &path.to_string_lossy()])?;
        let made = with(&path);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        made
    }

    /// Puts rules in force until the result is dropped.
    pub fn enforce(&self, rules: Rules) -> Result<InForce> {
        let Some(text) = rules.file() else {
            let empty = rules.hooks().map(|hooks| Empty::attach(&hooks));
            return Ok(InForce {
                directory: None,
                empty: empty.transpose()?,
            });
        };
        let path = scratch("policy.toml")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        // From here on there may be something to remove, also when the command fails.
        let in_force = InForce {
            directory: Some(self.bpffs.join("tfo-cli")),
            empty: None,
        };
        process::output(in_force.tfo_cli("apply").arg(&path))?;
        Ok(in_force)
    }
}

/// What is in force during a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    None,
    /// Nor any policy: programs that do nothing, where its own would be.
    Empty,
    /// The same, but the one of `sock_ops` asks for what a guard has to ask for, the next change of a connection's state, and gives
    /// it back.
    Asking,
    /// One for destinations nobody connects to.
    One,
    /// A hundred, likewise.
    Hundred,
    /// As many as in the issue, likewise.
    Many,
    /// No rule, but a guard that watches the whole host and finds nothing wrong.
    Guard,
    /// Both: that guard, and one rule for destinations nobody connects to.
    Both,
    /// One that denies every connection of the load generator.
    Denying,
}

impl Rules {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no policy",
            Self::Empty => "empty programs",
            Self::Asking => "empty programs, a guard's callback",
            Self::One => "1 rule",
            Self::Hundred => "100 rules",
            Self::Many => "10,000 rules",
            Self::Guard => "a guard",
            Self::Both => "a rule and a guard",
            Self::Denying => "all denied",
        }
    }

    /// Programs that stand where a policy's would, and where.
    const fn hooks(self) -> Option<[Hook; 2]> {
        match self {
            Self::Empty => Some([Hook::SockOps, Hook::Egress]),
            Self::Asking => Some([Hook::SockOpsState, Hook::Egress]),
            _ => None,
        }
    }

    /// The policy file. Rules are for the whole host, so that every connection is looked up.
    fn file(self) -> Option<String> {
        let mut text = String::new();
        let mut rule = |dst: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "[[rule]]\ncgroup = \"/\"\ndst = \"{dst}\"\n");
        };
        match self {
            Self::None | Self::Empty | Self::Asking => return None,
            Self::Guard => return Some(GUARD.to_owned()),
            Self::Both => {
                rule("192.0.2.0/24");
                text.push_str(GUARD);
            }
            Self::One => rule("192.0.2.0/24"),
            Self::Denying => rule("127.0.0.0/8"),
            Self::Hundred | Self::Many => {
                let count = if self == Self::Many { MANY } else { HUNDRED };
                for index in 0..count {
                    let [_, a, b, c] = ((172 << 16) + index).to_be_bytes();
                    rule(&format!("{a}.{b}.{c}.0/24"));
                }
            }
        }
        Some(text)
    }
}

/// Rules in force. Dropping it removes them.
pub struct InForce {
    /// Where it is pinned, if there is anything.
    directory: Option<PathBuf>,
    /// What is attached instead.
    empty: Option<Empty>,
}

impl InForce {
    /// Ids of the programs that do nothing, if those are attached.
    pub fn empty(&self) -> Option<&[u64]> {
        self.empty.as_ref().map(|empty| &empty.programs[..])
    }

    fn tfo_cli(&self, subcommand: &str) -> Command {
        let mut command = Command::new(program_path("tfo-cli"));
        command.args(["policy", subcommand]);
        if let Some(directory) = &self.directory {
            command.arg("--bpffs").arg(directory);
        }
        command
    }

    /// Id of the program that sees every packet.
    pub fn program(&self) -> Result<u64> {
        Ok(self.pinned("link-egress")?.0)
    }

    /// Detaches the programs, which may be attached again by other links. Everything else stays until this is dropped.
    pub fn detach(&self) -> Result<()> {
        for name in ["link-egress", "link-sockops"] {
            let pin = self.pinned(name)?.1;
            run(&["link", "detach", "pinned", &pin.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Id of the program of a pinned link, and where that is pinned.
    pub fn pinned(&self, name: &str) -> Result<(u64, PathBuf)> {
        let directory = self.directory.as_ref().context("nothing is in force")?;
        let pin = directory.join(name);
        let link = bpftool(&["link", "show", "pinned", &pin.to_string_lossy()])?;
        let program = link["prog_id"].as_u64();
        Ok((program.context("bpftool names no program of the link")?, pin))
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        if self.directory.is_some() {
            // Also after a signal, when no ordinary child is started any more.
            let _ = self.tfo_cli("flush").output();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_different_and_for_nobody() {
        let many = Rules::Many.file().unwrap();
        let rules: std::collections::BTreeSet<_> =
            many.lines().filter(|line| line.starts_with("dst")).collect();
        assert_eq!(rules.len(), MANY as usize);
        assert!(rules.contains("dst = \"172.0.0.0/24\"") && rules.contains("dst = \"172.39.15.0/24\""));
        assert!(!many.contains("\"127."));
        assert_eq!((Rules::None.file(), Rules::Empty.file()), (None, None));
    }
}
