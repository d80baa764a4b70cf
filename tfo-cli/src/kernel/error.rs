//! Why observing cannot start: each error names the object and what to do about it.

use std::{io, path::PathBuf};

/// Exit codes of [`crate::exit`].
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const MISSING: u8 = 3;

/// Everything that can keep the kernel side from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The binary was built without the eBPF toolchain.
    #[error("no eBPF programs inside this binary: it was built without the eBPF toolchain")]
    NoObject,
    /// Capabilities are missing.
    #[error("attach BPF programs: missing {missing}")]
    Rights {
        /// Names of the missing capabilities.
        missing: String,
    },
    /// The kernel does not say where its structures keep their members.
    #[error("read kernel BTF /sys/kernel/btf/vmlinux: {why}")]
    NoBtf {
        /// What went wrong.
        why: String,
    },
    /// The kernel's structures lack something without which nothing can be observed.
    #[error("kernel BTF has no {member}: this kernel cannot be observed")]
    NoMember {
        /// `struct.member`.
        member: String,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error("find a cgroup v2 mount in /proc/self/mounts: there is none")]
    NoCgroup2,
    /// The path given with `--cgroup` is not a cgroup v2 directory.
    #[error("cgroup {}: {why}", path.display())]
    Cgroup {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel refused to create maps or read the object.
    #[error("load the BPF object: {why}")]
    Load {
        /// The kernel's or the loader's words.
        why: String,
    },
    /// The kernel refused a program that is needed.
    #[error("{operation} BPF program {program}: {why}")]
    Program {
        /// "load" or "attach".
        operation: &'static str,
        /// Its name.
        program: &'static str,
        /// The kernel's or the verifier's words.
        why: String,
    },
    /// Somebody else is attached to the cgroup in a way that lets nobody else in.
    #[error("attach BPF program {program}: somebody lets no other program in: {who}")]
    InTheWay {
        /// Ours.
        program: &'static str,
        /// Whose program it is, how it is attached and where.
        who: String,
    },
    /// Any other system call.
    #[error("{operation} {object}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The error.
        source: io::Error,
    },
}

impl Error {
    /// Exit code: 2 for what the user typed, 3 for a missing right or kernel feature, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoObject | Self::Io { .. } => FAILED,
            Self::Cgroup { .. } => USAGE,
            Self::Rights { .. }
            | Self::NoBtf { .. }
            | Self::NoMember { .. }
            | Self::NoCgroup2
            | Self::Load { .. }
            | Self::Program { .. }
            | Self::InTheWay { .. } => MISSING,
        }
    }

    /// One line that says what to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoObject => Some("build it with `cargo xtask build`"),
            Self::Rights { .. } => Some("run it as root: sudo tfo-cli ..."),
            Self::NoBtf { .. } => {
                Some("a kernel with CONFIG_DEBUG_INFO_BTF=y is needed (Debian 11+, RHEL 8.2+, Ubuntu 20.10+)")
            }
            Self::NoMember { .. } => Some("Linux 5.10 or newer is needed"),
            Self::NoCgroup2 => Some(
                "mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
            ),
            Self::Cgroup { .. } => Some("give a directory below the cgroup v2 mount, as in /proc/PID/cgroup"),
            Self::Load { .. } | Self::Program { .. } => Some(
                "Linux 5.10 or newer with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_CGROUP_BPF is needed",
            ),
            Self::InTheWay { .. } => Some(
                "ask whoever attached it to use BPF_F_ALLOW_MULTI; `bpftool cgroup tree` shows it, --cgroup observes another part",
            ),
            Self::Io { .. } => None,
        }
    }
}
