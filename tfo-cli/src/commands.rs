//! One file per subcommand: each wires kernel, model and output together and has no logic of its own.

mod analyze;
mod attach;
mod bench_model;
mod completions;
mod cookies;
mod debug;
mod diagnose;
mod doctor;
mod guard;
mod keys;
mod listeners;
mod man;
mod networks;
mod observe;
mod overhead;
mod policy;
mod probe;
mod record;
mod replay;
mod report;
mod run;
mod top;
mod trace;

use crate::{args::Command, exit::Failure};

/// Runs a command; returns its exit code.
pub fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Top(config) => top::run(&config),
        Command::Trace(config) => trace::run(&config),
        Command::Diagnose(config) => diagnose::run(&config),
        Command::Analyze(config) => analyze::run(&config),
        Command::Report(config) => report::run(&config),
        Command::Policy(config) => policy::run(&config),
        Command::Guard(command) => guard::run(&command),
        Command::Probe(config) => probe::run(&config),
        Command::Run(config) => run::run(&config),
        Command::Doctor(config) => doctor::run(&config),
        Command::Listeners(config) => listeners::run(&config),
        Command::Cookies(config) => cookies::run(&config),
        Command::Keys(config) => keys::run(&config),
        Command::BenchModel(config) => bench_model::run(&config),
        Command::Debug(args) => debug::run(&args),
        Command::Completions(shell) => completions::run(shell),
        Command::Man(command) => man::run(&command),
    }
}

pub use self::trace::trace_source;
