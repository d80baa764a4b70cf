//! Why a policy cannot be read or changed: each error names the object and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use tfo_common::policy::MAX_RULES;

use crate::exit;

/// Where a bpffs is mounted on every Linux that mounts one.
const MOUNT: &str = "/sys/fs/bpf";

/// Everything that can go wrong. Nothing was changed unless the error says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pin directory does not lie on a bpffs.
    #[error("pin directory {}: {} is not on a BPF file system", directory.display(), parent.display())]
    NoBpffs {
        /// As wanted.
        directory: PathBuf,
        /// The directory that should be on one.
        parent: PathBuf,
    },
    /// Somebody else holds the lock for too long.
    #[error("lock {}: another tfo-cli is changing the policy", path.display())]
    Busy {
        /// What is locked.
        path: PathBuf,
    },
    /// Somebody else could change what is pinned there.
    #[error("pin directory {}: {why}", path.display())]
    Unsafe {
        /// The directory, or the one above.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The pinned maps are those of another version.
    #[error("pinned policy in {}: made by another version of tfo-cli ({why})", directory.display())]
    Version {
        /// Where.
        directory: PathBuf,
        /// What differs.
        why: String,
    },
    /// No cgroup can have such a name, or more than one has it.
    #[error("{what}: {why}")]
    Scope {
        /// As given.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such cgroup, unit or container: now, for a service may start.
    #[error("{what}: there is no such cgroup")]
    NoCgroup {
        /// As given.
        what: String,
    },
    /// No such interface or namespace.
    #[error("{what}: {why}")]
    Interface {
        /// As given.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A map has no room left.
    #[error("add {what}: the kernel's table is full")]
    Full {
        /// What was to be added.
        what: String,
    },
    /// The kernel refused something.
    #[error("{operation} {object}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The error.
        source: io::Error,
    },
    /// As on the observing side.
    #[error(transparent)]
    Kernel(#[from] super::super::Error),
}

impl Error {
    /// For `map_err`.
    pub(super) fn io(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io {
            operation,
            object,
            source,
        }
    }

    /// A map operation that failed; a full map is told apart.
    pub(super) fn map(operation: &'static str, object: String, error: &aya::maps::MapError) -> Self {
        let code = match error {
            aya::maps::MapError::SyscallError(call) => call.io_error.raw_os_error(),
            _ => None,
        };
        match code {
            Some(libc::ENOSPC | libc::E2BIG) => Self::Full { what: object },
            Some(code) => Self::Io {
                operation,
                object,
                source: io::Error::from_raw_os_error(code),
            },
            None => Self::Io {
                operation,
                object,
                source: io::Error::other(error.to_string()),
            },
        }
    }

    /// Exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoBpffs { .. } => exit::MISSING,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => exit::MISSING,
            Self::Scope { .. } | Self::NoCgroup { .. } | Self::Interface { .. } => exit::USAGE,
            Self::Unsafe { .. }
            | Self::Busy { .. }
            | Self::Version { .. }
            | Self::Full { .. }
            | Self::Io { .. } => exit::FAILED,
            Self::Kernel(error) => error.exit_code(),
        }
    }

    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBpffs { directory, .. } if directory.as_path() == Path::new(MOUNT) => {
                Some(format!("name a directory below it: --bpffs {MOUNT}/tfo-cli"))
            }
            Self::NoBpffs { .. } => Some(format!(
                "mount one: mount -t bpf bpf {MOUNT}, or name a directory right below one with --bpffs"
            )),
            Self::Unsafe { path, .. } => {
                let path = path.display();
                Some(format!(
                    "look what is in it, then: chown root {path}; chmod 700 {path}"
                ))
            }
            Self::Busy { .. } => Some("try again when it is done".into()),
            Self::Version { .. } => {
                Some("remove it with `tfo-cli policy flush` and apply the policy again".into())
            }
            Self::Scope { .. } | Self::NoCgroup { .. } => {
                Some("see `systemd-cgls`, or /proc/PID/cgroup of one of its processes".into())
            }
            Self::Interface { .. } => Some("see `ip link` and `ip netns`".into()),
            Self::Full { .. } => Some(format!(
                "there is room for {MAX_RULES} rules; join prefixes, or remove what is not needed"
            )),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root: sudo tfo-cli ...".into())
            }
            Self::Io { .. } => None,
            Self::Kernel(error) => error.hint().map(str::to_owned),
        }
    }
}
