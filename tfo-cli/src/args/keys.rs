//! `tfo-cli keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{EXIT_CODES, policy::ListFormat, scope::NetnsArgs};
use crate::exit::{self, Failure};

/// What an operator does, step by step.
pub const PROCEDURE: &str = "\
A server alone:
  keys rotate                            new key primary, old key backup: nobody notices
  keys rotate --step drop                a day later; clients that were away ask for a new cookie

A pool of servers behind one address, which share a key. One step on every server, then the next:
  keys rotate --step prepare --new-key pool.key    on the first server; copy pool.key to the others (0600)
  keys rotate --step prepare --key pool.key        on the others: the new key is taken, none is given out yet
  keys status --salt POOL                          the same two fingerprints everywhere? Only then go on
  keys rotate --key pool.key                       on every server: the new key is primary, the old one backup
  keys rotate --step drop                          on every server, a day later; delete pool.key
To go back before the last step: keys rotate --step swap, then --step drop. Keys are gone after a reboot: a pool writes
its key into net.ipv4.tcp_fastopen_key at boot.";

/// The options of `tfo-cli keys`, as the user typed them.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Option<RawKeys>,
    #[command(flatten)]
    status: StatusArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum RawKeys {
    /// Shows the keys of every network namespace as fingerprints, and which of them each listener uses.
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Makes a new key primary and keeps the old key as backup; the second step drops the backup.
    ///
    /// Keys are read from files and never shown. No step removes a key whose cookies are in use.
    #[command(after_help = format!("{PROCEDURE}\n\n{EXIT_CODES}"))]
    Rotate {
        /// The step.
        #[arg(long, value_enum, default_value_t = RawStep::Promote)]
        step: RawStep,
        /// The new key: a file with one line in the form of `net.ipv4.tcp_fastopen_key`. Default: a random one.
        #[arg(long, value_name = "FILE", conflicts_with = "new_key")]
        key: Option<PathBuf>,
        /// Make a random key, write it into this new file, and use it.
        #[arg(long, value_name = "FILE")]
        new_key: Option<PathBuf>,
        /// Network namespace: its name, its inode, a path, or the id of a process in it. Default: the caller's.
        #[arg(long, value_name = "NETNS")]
        netns: Option<String>,
    },
}

#[derive(Args, Clone, Debug)]
struct StatusArgs {
    /// Format of the output; json is one object per namespace and per listener.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    /// Salt fingerprints with this text instead of the boot id: with the same text they can be compared between hosts.
    #[arg(long, value_name = "TEXT")]
    salt: Option<String>,
    #[command(flatten)]
    netns: NetnsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RawStep {
    /// The new key becomes the backup: its cookies are accepted, but none is handed out yet.
    Prepare,
    /// The new key becomes primary, the old one the backup.
    Promote,
    /// The backup is removed.
    Drop,
    /// Primary and backup change places.
    Swap,
}

/// The checked options of `tfo-cli keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysConfig {
    /// `status`
    Status {
        /// Format.
        format: ListFormat,
        /// Salt of the user.
        salt: Option<String>,
        /// Only in this network namespace.
        netns: Option<String>,
    },
    /// `rotate`
    Rotate {
        /// The step.
        step: RotateStep,
        /// In this network namespace.
        netns: Option<String>,
    },
}

/// A step, with where its key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotateStep {
    /// The new key becomes the backup.
    Prepare(KeySource),
    /// The new key becomes primary.
    Promote(KeySource),
    /// The backup is removed.
    Drop,
    /// Primary and backup change places.
    Swap,
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Nobody else has to know it.
    Random,
    /// A file that is there.
    File(PathBuf),
    /// A random one, kept in a file that is not there yet.
    New(PathBuf),
}

impl KeysArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<KeysConfig, Failure> {
        let status = |args: StatusArgs| KeysConfig::Status {
            format: args.format,
            salt: args.salt,
            netns: args.netns.netns,
        };
        Ok(match self.command {
            None => status(self.status),
            Some(RawKeys::Status(args)) => status(args),
            Some(RawKeys::Rotate {
                step,
                key,
                new_key,
                netns,
            }) => {
                let source = match (key, new_key) {
                    (Some(path), _) => KeySource::File(path),
                    (None, Some(path)) => KeySource::New(path),
                    (None, None) => KeySource::Random,
                };
                let step = match step {
                    RawStep::Prepare if source == KeySource::Random => {
                        let why = "--step prepare: the other servers of the pool need the same key";
                        return Err(Failure::new(exit::USAGE, why)
                            .hint("give --new-key FILE on the first, --key FILE on the others"));
                    }
                    RawStep::Prepare => RotateStep::Prepare(source),
                    RawStep::Promote => RotateStep::Promote(source),
                    RawStep::Drop | RawStep::Swap if source != KeySource::Random => {
                        return Err(
                            Failure::new(exit::USAGE, "--key: this step has no new key").hint("leave it out")
                        );
                    }
                    RawStep::Drop => RotateStep::Drop,
                    RawStep::Swap => RotateStep::Swap,
                };
                KeysConfig::Rotate { step, netns }
            }
        })
    }
}
