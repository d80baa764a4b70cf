//! The command line: what the user typed ([`Cli`]) and what it means ([`Command`]). Resolving is pure.

mod analyze;
mod attach;
mod bench;
mod cookies;
mod debug;
mod diagnose;
mod doctor;
mod filters;
mod guard;
mod keys;
mod listeners;
mod overhead;
mod policy;
mod probe;
mod recordings;
mod report;
mod run;
mod scope;
mod top;
mod trace;
mod value;

use std::{ffi::OsString, path::Path};

use clap::{CommandFactory as _, Parser, Subcommand};

pub use self::{
    analyze::{AnalyzeArgs, AnalyzeConfig, check_filter as check_packet_filter},
    attach::AttachArgs,
    bench::BenchArgs,
    cookies::{CookiesArgs, CookiesConfig, CookiesWhat},
    debug::{DebugArgs, DebugWhat},
    diagnose::{DiagnoseArgs, DiagnoseConfig, DiagnoseFormat},
    doctor::{DoctorArgs, DoctorConfig},
    guard::{GuardArgs, GuardCommand, GuardWhat},
    keys::{KeySource, KeysArgs, KeysConfig, RotateStep},
    listeners::{ListenersArgs, ListenersConfig, ListenersWhat, SetQueue},
    policy::{FileConfig, ListFormat, PolicyArgs, PolicyConfig, PolicyWhat, WatchConfig},
    probe::{Payload, ProbeArgs, ProbeConfig, ProbeFormat},
    report::{ReportArgs, ReportConfig, ReportFormat},
    run::{RunArgs, RunConfig},
    top::{TopArgs, TopConfig, TopFormat},
    trace::{TraceArgs, TraceConfig},
};
use crate::{
    config::Config,
    exit::{self, Failure},
};

/// Exit codes, as every `--help` ends.
const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, or something was lost; 2 wrong usage; 3 a permission or kernel feature is missing; 4 Fast Open does not work: a finding of severity fail.";

/// Shows what TCP Fast Open does on this host, connection by connection, and what it costs when it does not
/// work.
#[derive(Debug, Parser)]
#[command(name = "tfo-cli", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: RawCommand,
}

#[derive(Debug, Subcommand)]
enum RawCommand {
    /// Shows destinations in a live dashboard, the worst first; on a pipe or with --once, prints a table.
    ///
    /// Changes nothing on the system except the rules that are confirmed under --allow-policy. Needs root, except with --replay.
    #[command(after_help = EXIT_CODES)]
    Top(TopArgs),
    /// Prints one line per connection that used Fast Open.
    ///
    /// Changes nothing on the system. Needs root, except with --replay. The handshakes of one CPU are printed in the order in
    /// which they ended; between CPUs the order is that of arrival. All times are wall clock in UTC. A summary ends the
    /// output: on stderr, and with --format json as the last line.
    #[command(after_help = EXIT_CODES)]
    Trace(TraceArgs),
    /// Says what is wrong with Fast Open here: named findings with evidence, cost and fix.
    ///
    /// Changes nothing on the system. Needs root, except with --replay. Watches for a while, then prints one line per finding,
    /// the worst first; docs/diagnoses.md explains each name. What could not be looked at is listed, and counts neither for
    /// nor against Fast Open.
    #[command(after_help = EXIT_CODES)]
    Diagnose(DiagnoseArgs),
    /// Finds Fast Open in packet captures: what `trace` would have printed, and the names of what a capture cannot know.
    ///
    /// Needs neither root nor a kernel with BPF. A summary ends the output: after the lines of text, and with
    /// --format json as the last line.
    #[command(after_help = EXIT_CODES)]
    Analyze(AnalyzeArgs),
    /// Writes one document for a ticket: verdict, what to do, cost, evidence, what could not be seen.
    ///
    /// The source is this host, a recording or a capture. Changes nothing on the system. Needs root, except with --replay.
    /// The document never contains cookies or keys; --redact takes addresses and names out.
    #[command(after_help = EXIT_CODES)]
    Report(ReportArgs),
    /// Switches Fast Open off for destinations and services, and on again.
    ///
    /// Applications do not notice: their calls return what they return with Fast Open, and nothing is delayed. Rules stay in
    /// force after the command has ended. Where several cgroups have a rule with a matching prefix, the cgroup nearest to
    /// the socket decides, and within it the longest prefix. Needs root.
    Policy(PolicyArgs),
    /// Switches Fast Open off by itself where it fails, and on again when it works.
    ///
    /// A guard is a circuit breaker per destination inside the kernel: it acts before the next connection, and no process
    /// has to run for it. A rule for the same connection comes first. Needs root.
    Guard(GuardArgs),
    /// Connects to one destination with and without Fast Open, and says what became of it.
    ///
    /// Makes ordinary connections, which need no special rights, and says beforehand what it will send.
    #[command(after_help = probe::NOTES)]
    Probe(ProbeArgs),
    /// Runs a command and says what Fast Open did for it: connections, outcomes, time saved and lost, findings.
    ///
    /// The command runs in a cgroup of its own below the caller's, so that limits, rules and guards still apply to it. Exit
    /// code, output and signals are those of the command. Needs root; --user runs the command with the rights of a user.
    #[command(after_help = run::NOTES)]
    Run(RunArgs),
    /// Checks whether Fast Open is on here, whether it works, and what stands in its way, with the fix for each.
    ///
    /// Changes nothing, and is useful without root: it says what it could not look at. The first line says whether Fast Open
    /// is on for clients and for servers, and whether it worked within the last seconds. Of the firewall, it finds rules
    /// that match the TCP option or the length of SYNs; it does not follow sets, maps and jumps.
    #[command(after_help = EXIT_CODES)]
    Doctor(DoctorArgs),
    /// Lists every listening socket: its Fast Open queue, whether Fast Open can work on it, and why not.
    ///
    /// With root, sockets of every network namespace are listed, with their processes. The length of a queue is read by a BPF
    /// iterator program, which is loaded, run once and removed.
    #[command(after_help = EXIT_CODES)]
    Listeners(ListenersArgs),
    /// Lists the kernel's cookie cache: which servers gave a cookie, and where SYNs with data were lost.
    ///
    /// There is one entry per pair of addresses: all ports of a destination share its cookie. Cookies are shown as short
    /// hashes with a salt that changes at every boot. Without root, only the caller's own network namespace is listed.
    #[command(after_help = EXIT_CODES)]
    Cookies(CookiesArgs),
    /// Shows Fast Open keys as fingerprints, and rotates them without a refused cookie.
    #[command(after_help = format!("{}\n\n{EXIT_CODES}", keys::PROCEDURE))]
    Keys(KeysArgs),
    /// Measures the user side.
    #[command(hide = true)]
    BenchModel(BenchArgs),
    /// What only those who work on the program need.
    #[command(hide = true)]
    Debug(DebugArgs),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page (roff), of the program or of one command: `man policy add`.
    Man {
        /// The command.
        command: Vec<String>,
    },
}

/// A command with its checked options.
#[derive(Debug)]
pub enum Command {
    /// `top`
    Top(TopConfig),
    /// `trace`
    Trace(TraceConfig),
    /// `diagnose`
    Diagnose(DiagnoseConfig),
    /// `analyze`
    Analyze(AnalyzeConfig),
    /// `report`
    Report(ReportConfig),
    /// `policy`
    Policy(PolicyConfig),
    /// `guard`
    Guard(GuardCommand),
    /// `probe`
    Probe(ProbeConfig),
    /// `run`
    Run(RunConfig),
    /// `doctor`
    Doctor(DoctorConfig),
    /// `listeners`
    Listeners(ListenersConfig),
    /// `cookies`
    Cookies(CookiesConfig),
    /// `keys`
    Keys(KeysConfig),
    /// `bench-model`
    BenchModel(BenchArgs),
    /// `debug`
    Debug(DebugArgs),
    /// `completions`
    Completions(clap_complete::Shell),
    /// `man`
    Man(Vec<String>),
}

/// What to do about a command line.
#[derive(Debug)]
pub enum Parsed {
    /// Run this command.
    Run(Box<Command>),
    /// Print this text, the help or the version.
    Print(String),
}

/// Reads a command line. `load` reads the configuration file, the named one or the usual one; only commands that have
/// one call it.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    load: impl FnOnce(Option<&Path>) -> Result<Config, Failure>,
) -> Result<Parsed, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    match Cli::try_parse_from(&args) {
        Ok(cli) => cli
            .command
            .resolve(load)
            .map(|command| Parsed::Run(Box::new(command))),
        Err(error) if error.use_stderr() => Err(Failure {
            code: run::usage_code(args.iter()),
            ..usage(&error)
        }),
        Err(error) => Ok(Parsed::Print(error.to_string())),
    }
}

/// An error of clap as a failure: `tfo-cli: why`, then clap's own advice.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    match text.split_once("\n\n") {
        Some((why, advice)) => Failure::new(exit::USAGE, why.trim_end()).hint(
            advice
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
                .join("\n  "),
        ),
        None => Failure::new(exit::USAGE, text),
    }
}

/// The parser, for completions and the manual page.
pub fn parser() -> clap::Command {
    Cli::command()
}

impl RawCommand {
    fn resolve(
        self,
        load: impl FnOnce(Option<&Path>) -> Result<Config, Failure>,
    ) -> Result<Command, Failure> {
        match self {
            RawCommand::Top(args) => {
                let config = load(args.config.as_deref())?;
                args.resolve(&config).map(Command::Top)
            }
            RawCommand::Trace(args) => args.resolve().map(Command::Trace),
            RawCommand::Diagnose(args) => args.resolve().map(Command::Diagnose),
            RawCommand::Analyze(args) => args.resolve().map(Command::Analyze),
            RawCommand::Report(args) => args.resolve().map(Command::Report),
            RawCommand::Policy(args) => args.resolve().map(Command::Policy),
            RawCommand::Guard(args) => args.resolve().map(Command::Guard),
            RawCommand::Probe(args) => args.resolve().map(Command::Probe),
            RawCommand::Run(args) => Ok(Command::Run(args.resolve())),
            RawCommand::Doctor(args) => args.resolve().map(Command::Doctor),
            RawCommand::Listeners(args) => args.resolve().map(Command::Listeners),
            RawCommand::Cookies(args) => args.resolve().map(Command::Cookies),
            RawCommand::Keys(args) => args.resolve().map(Command::Keys),
            RawCommand::BenchModel(args) => args.resolve().map(Command::BenchModel),
            RawCommand::Debug(args) => Ok(Command::Debug(args)),
            RawCommand::Completions { shell } => Ok(Command::Completions(shell)),
            RawCommand::Man { command } => Ok(Command::Man(command)),
        }
    }
}

/// The command of a line, without a configuration file. A line that asks for help has none.
#[cfg(test)]
pub fn command(line: &str) -> Result<Command, Failure> {
    let args = std::iter::once("tfo-cli").chain(line.split_whitespace());
    match parse(args.map(Into::into), |_| Ok(Config::default()))? {
        Parsed::Run(command) => Ok(*command),
        Parsed::Print(text) => Err(Failure::new(exit::DONE, text)),
    }
}

#[cfg(test)]
mod tests;
