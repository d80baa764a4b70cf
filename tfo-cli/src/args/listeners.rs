//! `tfo-cli listeners`.

use clap::{Args, Subcommand};

use super::{EXIT_CODES, policy::ListFormat, scope::NetnsArgs};
use crate::{exit::Failure, inspect::listeners::selector::Selector};

/// The options of `tfo-cli listeners`, as the user typed them.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ListenersArgs {
    #[command(subcommand)]
    command: Option<RawListeners>,
    /// Format of the output; json is one object per socket.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    /// Below each socket where something could be better, print what to do.
    #[arg(long)]
    details: bool,
    #[command(flatten)]
    netns: NetnsArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum RawListeners {
    /// Sets the length of the Fast Open queue of running sockets, without a restart; 0 switches Fast Open off.
    ///
    /// Connections are not disturbed. The application is not told: after a restart it uses its own setting again. Every socket
    /// of a `SO_REUSEPORT` group is set. The command asks before it changes anything, and prints the command that undoes the
    /// change. Needs `CAP_SYS_PTRACE` for sockets of other users.
    #[command(after_help = EXIT_CODES)]
    Set {
        /// Sockets to set: ADDR:PORT as bound (`0.0.0.0:443`, `[::]:443`), :PORT for every address, or unit:NAME.
        selector: String,
        /// Maximum number of connections whose handshake is not finished; clients beyond it get no Fast Open. The kernel cuts the number to
        /// `net.core.somaxconn` of the socket's network namespace.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
        qlen: u32,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        /// Set only the socket with this inode; may be repeated.
        #[arg(long, value_name = "INODE")]
        socket: Vec<u64>,
        #[command(flatten)]
        netns: NetnsArgs,
    },
}

/// The checked options of `tfo-cli listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenersConfig {
    /// Only in this network namespace.
    pub netns: Option<String>,
    /// What to do.
    pub what: ListenersWhat,
}

/// What to do with listening sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenersWhat {
    /// Show them; with what to do about each.
    Show(ListFormat, bool),
    /// `set`
    Set(SetQueue),
}

/// A change of queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetQueue {
    /// Which sockets.
    pub selector: Selector,
    /// Of those, only these inodes, if there are any.
    pub only: Vec<u64>,
    /// Length wanted.
    pub length: u32,
    /// Without asking.
    pub yes: bool,
}

impl ListenersArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<ListenersConfig, Failure> {
        Ok(match self.command {
            None => ListenersConfig {
                netns: self.netns.netns,
                what: ListenersWhat::Show(self.format, self.details),
            },
            Some(RawListeners::Set {
                selector,
                qlen,
                yes,
                socket,
                netns,
            }) => ListenersConfig {
                netns: netns.netns,
                what: ListenersWhat::Set(SetQueue {
                    selector: selector
                        .parse()
                        .map_err(|why| Failure::usage("SELECTOR", &selector, why))?,
                    only: socket,
                    length: qlen,
                    yes,
                }),
            },
        })
    }
}
