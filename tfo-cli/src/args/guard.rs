//! `tfo-cli guard`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tfo_common::guard::{FAILURES, OF};

use super::{
    EXIT_CODES,
    policy::ListFormat,
    scope::{InterfaceArgs, PinArgs, ScopeArgs},
    value,
};
use crate::{
    exit::Failure,
    policy::{CgroupSelector, GuardSpec, Interfaces, guard::Settings},
};

/// What `status` shows of destinations.
const COLUMNS: &str = "\
Columns:
  STATE       closed: Fast Open goes through; open: it is off; half-open: one connection tries it
  ACTION      what is done to SYNs while it is off: no-data or strip
  FAILED      attempts with SYN data that failed, of all
  RECENT      failures among the latest attempts, which open it
  BARE        failures among the latest SYNs with the option and without data, which make it strip
  PLAIN       SYNs without Fast Open that were lost, of all: where these fail, too, it is not to blame
  DENIED      SYNs that were kept from leaving with data
  SAVED       what those would have cost
  NEXT TRIAL  when one connection tries again";

/// The options of `tfo-cli guard`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct GuardArgs {
    /// What to do.
    #[command(subcommand)]
    command: RawGuard,
}

#[derive(Clone, Debug, Subcommand)]
enum RawGuard {
    /// Sets a guard on a cgroup, or changes the guard that is there; what it learnt of destinations is kept.
    #[command(after_help = EXIT_CODES)]
    On {
        #[command(flatten)]
        scope: ScopeArgs,
        /// Switch Fast Open off for a destination after this many failures among its latest attempts (see --of).
        #[arg(long, value_name = "K", default_value_t = FAILURES)]
        failures: u8,
        /// Number of latest attempts among which failures are counted.
        #[arg(long, value_name = "N", default_value_t = OF)]
        of: u8,
        /// Time until one connection tries Fast Open again; doubled each time that trial fails.
        #[arg(long, value_name = "TIME", default_value = "10m")]
        backoff: String,
        /// Longest time until a trial.
        #[arg(long, value_name = "TIME", default_value = "24h")]
        max_backoff: String,
        /// Strip the Fast Open option where SYNs that carry it are lost even without data.
        #[arg(long)]
        escalate: bool,
        #[command(flatten)]
        interfaces: InterfaceArgs,
        #[command(flatten)]
        pins: PinArgs,
    },
    /// Removes the guard of a cgroup and what it learnt.
    #[command(after_help = EXIT_CODES)]
    Off {
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        pins: PinArgs,
    },
    /// Shows guards, and destinations with failures: state, evidence, next trial, time saved.
    #[command(after_help = format!("{COLUMNS}\n\n{EXIT_CODES}"))]
    Status {
        /// Format of the output.
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        pins: PinArgs,
    },
}

/// The checked options of `tfo-cli guard`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardCommand {
    /// Pin directory.
    pub bpffs: PathBuf,
    /// What to do.
    pub what: GuardWhat,
}

/// What to do with guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardWhat {
    /// `on`
    On(GuardSpec<CgroupSelector>, Interfaces),
    /// `off`
    Off(CgroupSelector),
    /// `status`
    Status(ListFormat),
}

impl GuardArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<GuardCommand, Failure> {
        // clap has made sure of exactly one.
        let named = |args: &ScopeArgs| {
            args.scope()
                .ok_or_else(|| Failure::usage("--cgroup", "", "where?"))
        };
        let (pins, what) = match self.command {
            RawGuard::On {
                scope,
                failures,
                of,
                backoff,
                max_backoff,
                escalate,
                interfaces,
                pins,
            } => {
                let settings = Settings {
                    failures,
                    of,
                    backoff: value::duration("--backoff", &backoff)?,
                    max_backoff: value::duration("--max-backoff", &max_backoff)?,
                    escalate,
                };
                let why = "says where the option is stripped, and this guard does not: see --escalate";
                interfaces.only(escalate, why)?;
                let settings = settings
                    .check()
                    .map_err(|(name, why)| Failure::new(crate::exit::USAGE, format!("--{name}: {why}")))?;
                let spec = GuardSpec {
                    cgroup: named(&scope)?,
                    settings,
                };
                (pins, GuardWhat::On(spec, interfaces.interfaces()))
            }
            RawGuard::Off { scope, pins } => (pins, GuardWhat::Off(named(&scope)?)),
            RawGuard::Status { format, pins } => (pins, GuardWhat::Status(format)),
        };
        Ok(GuardCommand {
            bpffs: pins.bpffs,
            what,
        })
    }
}
