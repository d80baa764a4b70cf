//! The command line of `tfo-lab`.

mod commands;
mod signals;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    client::{Api, Family},
    scenario::Params,
};

/// Exit code of a command that failed; clap exits with 2 on wrong usage.
const FAILED: u8 = 1;

#[derive(Debug, Parser)]
#[command(
    name = "tfo-lab",
    version,
    about = "Test lab of tfo-cli: namespaces, bad paths, real TFO traffic"
)]
struct Args {
    /// Appended to the names tfo-client and tfo-server, for more than one lab at a time
    #[arg(long, global = true, default_value = "", allow_hyphen_values = true)]
    tag: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up the namespaces tfo-client and tfo-server and leave them
    Up,
    /// Remove them
    Down,
    /// Name every scenario
    List,
    /// Run one scenario (in the lab that is up, else in one of its own); prints JSON
    Run(RunArgs),
    /// Make as many connections per second as possible, in a namespace of their own
    Load(LoadArgs),
    /// Send as much as one connection carries, in a namespace of its own; prints JSON
    Bulk {
        /// How long; fractions, too
        #[arg(long, default_value = "5", value_parser = seconds)]
        seconds: Duration,
        /// Also say what had arrived after each of these many seconds
        #[arg(long, value_parser = seconds)]
        every: Option<Duration>,
    },
    /// Keep up mixed traffic for the demo, in the lab that is up or in one of its own
    Traffic {
        /// End by itself after this time
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Loopback scenarios for a throwaway VM; needs no tools, prints a JSON line per connection
    VmScenario {
        /// First set lo up and TFO on (sysctl 3), in the current namespace
        #[arg(long = "i-am-a-throwaway-vm")]
        throwaway: bool,
    },
    /// More handshakes at once, and more listeners, than a table of 64 entries holds, for a throwaway VM; prints what was
    /// made as JSON
    VmCrowd {
        /// Of each
        #[arg(long, default_value_t = 300)]
        count: u32,
    },
    /// Connections that a policy is to deny, for a throwaway VM: fetches cookies, runs the command that makes the
    /// policy, and prints a JSON line per connection
    VmDenied {
        /// What makes the policy
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Name of the scenario, or `all`
    scenario: String,
    /// Address family of the client's socket
    #[arg(long, value_enum, default_value_t = FamilyArg::V4)]
    family: FamilyArg,
    /// How the client asks for TFO
    #[arg(long, value_enum, default_value_t = ApiArg::MsgFastopen)]
    api: ApiArg,
    /// Use a non-blocking socket
    #[arg(long)]
    non_blocking: bool,
}

/// Reads a time in seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct LoadArgs {
    /// Plain connections instead of TFO
    #[arg(long)]
    plain: bool,
    /// Over IPv6
    #[arg(long)]
    v6: bool,
    /// How long; fractions, too
    #[arg(long, default_value = "5", value_parser = seconds, conflicts_with = "connections")]
    seconds: Duration,
    /// Exactly this many connections
    #[arg(long)]
    connections: Option<u64>,
    /// Client threads, and as many server threads [default: one per core]
    #[arg(long)]
    threads: Option<usize>,
    /// Connections in flight per client thread
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Each thread has both ends of its connections, on a CPU of its own, and waits for nobody
    #[arg(long, conflicts_with_all = ["destinations", "http"])]
    both_ends: bool,
    /// Connections per second at most
    #[arg(long)]
    rate: Option<u64>,
    /// Connect to this many addresses in turn (plain, IPv4)
    #[arg(long, default_value_t = 1)]
    destinations: u32,
    /// Ask the HTTP server on this port, which closes each connection, instead of servers of our own
    #[arg(long, requires = "beside")]
    http: Option<u16>,
    /// A shell command that runs in the load's network namespace meanwhile
    #[arg(long)]
    beside: Option<String>,
    /// Also say how many were complete after each of these many seconds, in JSON
    #[arg(long, value_parser = seconds, requires = "json", conflicts_with = "connections")]
    every: Option<Duration>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FamilyArg {
    V4,
    V6,
    Mapped,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ApiArg {
    MsgFastopen,
    FastopenConnect,
}

impl RunArgs {
    fn params(&self) -> Params {
        Params {
            first_port: None,
            family: match self.family {
                FamilyArg::V4 => Family::V4,
                FamilyArg::V6 => Family::V6,
                FamilyArg::Mapped => Family::Mapped,
            },
            api: match self.api {
                ApiArg::MsgFastopen => Api::MsgFastopen,
                ApiArg::FastopenConnect => Api::FastopenConnect,
            },
            blocking: !self.non_blocking,
        }
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    match dispatch(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed the pipe, for example `head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tfo-lab: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn dispatch(args: &Args) -> Result<()> {
    let tag = args.tag.as_str();
    match &args.command {
        Command::Up => commands::up(tag),
        Command::Down => commands::down(tag),
        Command::List => commands::list(),
        Command::Run(args) => commands::run(tag, args),
        Command::Load(args) => commands::load(args),
        Command::Bulk { seconds, every } => commands::bulk(*seconds, *every),
        Command::Traffic { seconds } => commands::traffic(tag, *seconds),
        Command::VmScenario { throwaway } => commands::vm_scenario(*throwaway),
        Command::VmCrowd { count } => commands::vm_crowd(*count),
        Command::VmDenied { command } => commands::vm_denied(command),
    }
}
