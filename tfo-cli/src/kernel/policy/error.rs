//! The errors of reading and changing a policy. Each names the object, and most have a hint what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use tfo_common::policy::MAX_RULES;

use crate::exit;

/// Where a bpffs usually is mounted.
const MOUNT: &str = "/sys/fs/bpf";

/// Why a policy cannot be read or changed. Of several changes, those before the one that failed have been made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pin directory does not lie on a bpffs.
    #[error("pin directory {}: {} is not on a BPF file system", directory.display(), parent.display())]
    NoBpffs {
        /// The pin directory.
        directory: PathBuf,
        /// The directory above it, which should be on a bpffs.
        parent: PathBuf,
    },
    /// Another command holds the lock for too long.
    #[error("lock {}: another tfo-cli is changing the policy", path.display())]
    Busy {
        /// The directory that is locked.
        path: PathBuf,
    },
    /// Other users could change what is pinned in a directory.
    #[error("pin directory {}: {why}", path.display())]
    Unsafe {
        /// The directory, or the one above.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The pinned maps were made by another version of tfo-cli.
    #[error("pinned policy in {}: made by another version of tfo-cli ({why})", directory.display())]
    Version {
        /// The pin directory.
        directory: PathBuf,
        /// What differs.
        why: String,
    },
    /// The user has named something that cannot be a cgroup, or several cgroups at once.
    #[error("{what}: {why}")]
    Cgroup {
        /// What the user has named.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such cgroup, unit or container at present; a service may start later.
    #[error("{what}: there is no such cgroup")]
    NoCgroup {
        /// What the user has named.
        what: String,
    },
    /// There is no such interface or network namespace.
    #[error("{what}: {why}")]
    Interface {
        /// What the user has named.
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
        /// The operation that failed.
        operation: &'static str,
        /// The object of the operation.
        object: String,
        /// The error.
        source: io::Error,
    },
    /// An error that observing has, too.
    #[error(transparent)]
    Kernel(#[from] super::super::Error),
}

impl Error {
    /// Makes an I/O error with operation and object, for `map_err`.
    pub(super) fn io(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io {
            operation,
            object,
            source,
        }
    }

    /// The error of a map operation; a full map is [`Error::Full`].
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

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoBpffs { .. } => exit::MISSING,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => exit::MISSING,
            Self::Cgroup { .. } | Self::NoCgroup { .. } | Self::Interface { .. } => exit::USAGE,
            Self::Unsafe { .. }
            | Self::Busy { .. }
            | Self::Version { .. }
            | Self::Full { .. }
            | Self::Io { .. } => exit::FAILED,
            Self::Kernel(error) => error.exit_code(),
        }
    }

    /// One line that says what the user can do; `None` when nothing helps.
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
            Self::Cgroup { .. } | Self::NoCgroup { .. } => {
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
