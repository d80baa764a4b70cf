//! The options that name a cgroup, the pin directory, interfaces and network namespaces.

use std::path::PathBuf;

use clap::Args;

use crate::{
    exit::{self, Failure},
    options::POLICY_DIRECTORY,
    policy::{CgroupSelector, Interfaces},
};

/// One cgroup, named in one of three ways.
#[derive(Args, Clone, Debug)]
#[group(id = "scope", required = true, multiple = false)]
pub struct ScopeArgs {
    /// Sockets of this cgroup and those below it: a path in the cgroup2 file system; / is the whole host.
    #[arg(long, value_name = "PATH", help_heading = "Where")]
    pub cgroup: Option<PathBuf>,
    /// Sockets of this systemd unit: nginx, nginx.service, system.slice.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub unit: Option<String>,
    /// Sockets of this container: its id, or the beginning of its id.
    #[arg(long, value_name = "ID", help_heading = "Where")]
    pub container: Option<String>,
}

impl ScopeArgs {
    /// The cgroup that was named; `None` when none was.
    pub fn scope(&self) -> Option<CgroupSelector> {
        match (&self.cgroup, &self.unit, &self.container) {
            (Some(path), _, _) => Some(CgroupSelector::Path(path.clone())),
            (_, Some(name), _) => Some(CgroupSelector::Unit(name.clone())),
            (_, _, Some(id)) => Some(CgroupSelector::Container(id.clone())),
            _ => None,
        }
    }
}

/// The directory that holds the policy.
#[derive(Args, Clone, Debug)]
pub struct PinArgs {
    /// Directory on a bpffs that holds the policy.
    #[arg(long, value_name = "DIR", default_value = POLICY_DIRECTORY)]
    pub bpffs: PathBuf,
}

/// The interfaces on which the TFO option is stripped.
#[derive(Args, Clone, Debug)]
pub struct InterfaceArgs {
    /// Strip on this interface; may be repeated. Default: all that are up, and those that come up later: from the
    /// next command on, or at once while `tfo-cli policy watch` runs.
    #[arg(long, value_name = "NAME", help_heading = "Stripping")]
    pub dev: Vec<String>,
    /// Strip in this network namespace: its name, its inode, a path, or the id of a process in it. Default: the caller's.
    #[arg(long, value_name = "NETNS", help_heading = "Stripping")]
    pub netns: Option<String>,
}

impl InterfaceArgs {
    /// Fails when an interface or namespace was named although that would have no effect.
    pub fn only(&self, has_effect: bool, why: &str) -> Result<(), Failure> {
        let flag = if self.netns.is_some() { "--netns" } else { "--dev" };
        if has_effect || self.netns.is_none() && self.dev.is_empty() {
            return Ok(());
        }
        Err(Failure::new(exit::USAGE, format!("{flag}: {why}"))
            .hint("leave it out: everything else holds on all interfaces"))
    }

    /// The interfaces that the user wants.
    pub fn interfaces(self) -> Interfaces {
        Interfaces {
            netns: self.netns,
            devices: self.dev,
        }
    }
}

/// The network namespace to read.
#[derive(Args, Clone, Debug)]
pub struct NetnsArgs {
    /// Only this network namespace: its name, its inode, a path, or the id of a process in it. Default: every one.
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
}
