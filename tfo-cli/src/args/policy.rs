//! `tfo-cli policy`.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser},
};
use tfo_common::PolicyAction;

use super::{
    EXIT_CODES,
    scope::{InterfaceArgs, PinArgs, ScopeArgs},
    value,
};
use crate::{
    exit::Failure,
    policy::{CgroupSelector, Interfaces, RuleSpec, file, rule},
};

/// A look reads all rules, and scans /proc for network namespaces.
const SHORTEST_WATCH: Duration = Duration::from_millis(100);

/// The options of `tfo-cli policy`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    command: RawPolicy,
}

#[derive(Clone, Debug, Subcommand)]
enum RawPolicy {
    /// Adds one rule; it holds until it is removed, its time is up or the host restarts.
    #[command(after_help = EXIT_CODES)]
    Add(AddArgs),
    /// Lists rules: how often each applied, since when, how long it still holds, who made it and why.
    #[command(after_help = EXIT_CODES)]
    List {
        /// Format of the output.
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        pins: PinArgs,
    },
    /// Removes rules by their numbers.
    #[command(after_help = EXIT_CODES)]
    Remove {
        /// Numbers of rules, as `list` shows them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u32>,
        #[command(flatten)]
        pins: PinArgs,
    },
    /// Removes everything: rules, guards, programs, maps and pins.
    #[command(after_help = EXIT_CODES)]
    Flush {
        #[command(flatten)]
        pins: PinArgs,
    },
    /// Replaces the programs in force by those of this build, as after an upgrade. Rules, guards and what guards learnt
    /// stay, and no connection goes without them.
    #[command(after_help = EXIT_CODES)]
    Reload {
        #[command(flatten)]
        pins: PinArgs,
    },
    /// Shows what `apply` would change, and changes nothing.
    #[command(after_help = format!("{}\n\n{EXIT_CODES}", file::FORMAT))]
    Plan(FileArgs),
    /// Makes rules and guards exactly those of a file: what it does not list is removed.
    #[command(after_help = format!("{}\n\n{EXIT_CODES}", file::FORMAT))]
    Apply {
        #[command(flatten)]
        file: FileArgs,
        #[command(flatten)]
        interfaces: InterfaceArgs,
    },
    /// Keeps running and looks after the policy: strips the option on interfaces that come up, prints what guards do, and
    /// removes rules whose time is up. Rules and guards also work without it.
    #[command(after_help = EXIT_CODES)]
    Watch(WatchArgs),
}

#[derive(Args, Clone, Debug)]
struct WatchArgs {
    /// Longest time between two looks at rules and interfaces.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    interval: String,
    /// Add the rules and guards of this file to cgroups when they appear, as a service that restarts gets a new one. Never
    /// changes or removes rules; `apply` does.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    interfaces: InterfaceArgs,
    #[command(flatten)]
    pins: PinArgs,
}

#[derive(Args, Clone, Debug)]
struct AddArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Destinations: `203.0.113.0/24`, `2001:db8::/32`, `192.0.2.1`.
    #[arg(long, value_name = "PREFIX", help_heading = "Where")]
    dst: String,
    /// Destination ports: `443`, `8000-8999`. Default: all.
    #[arg(
        long,
        value_name = "PORT[-PORT],...",
        value_delimiter = ',',
        help_heading = "Where"
    )]
    port: Vec<String>,
    /// What happens to SYNs.
    #[arg(long, value_name = "ACTION", default_value = PolicyAction::NoData.name(), value_parser = actions())]
    action: String,
    /// The rule ends by itself after this time, also when no tfo-cli runs.
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// A note for those who find the rule later: why it is there.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    interfaces: InterfaceArgs,
    #[command(flatten)]
    pins: PinArgs,
}

#[derive(Args, Clone, Debug)]
struct FileArgs {
    /// The file (TOML).
    file: PathBuf,
    /// Leave out rules whose cgroup does not exist (a service that is not running) instead of failing.
    #[arg(long)]
    skip_missing: bool,
    /// Format of the plan.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    #[command(flatten)]
    pins: PinArgs,
}

/// The actions with what they mean, for help and completions.
fn actions() -> PossibleValuesParser {
    PossibleValuesParser::new(
        PolicyAction::ALL.map(|action| PossibleValue::new(action.name()).help(action.describe())),
    )
}

/// Formats of lists and plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// The checked options of `tfo-cli policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Pin directory.
    pub bpffs: PathBuf,
    /// What to do.
    pub what: PolicyWhat,
}

/// What to do with the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyWhat {
    /// `add`
    Add(RuleSpec<CgroupSelector>, Interfaces),
    /// `list`
    List(ListFormat),
    /// `remove`
    Remove(Vec<u32>),
    /// `flush`
    Flush,
    /// Put this build's programs in place.
    Reload,
    /// `plan`
    Plan(FileConfig),
    /// `apply`
    Apply(FileConfig, Interfaces),
    /// `watch`
    Watch(WatchConfig),
}

/// How to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Time between two rounds.
    pub interval: Duration,
    /// File whose rules and guards are added for cgroups that appear.
    pub keep: Option<PathBuf>,
    /// The interfaces on which the option is stripped, where a rule or guard needs that.
    pub interfaces: Interfaces,
}

/// A file to plan or apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Path of the file.
    pub path: PathBuf,
    /// Whether to leave out rules and guards whose cgroup does not exist.
    pub skip_missing: bool,
    /// Format of the plan.
    pub format: ListFormat,
}

impl PolicyArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<PolicyConfig, Failure> {
        let (pins, what) = match self.command {
            RawPolicy::Add(args) => {
                let pins = args.pins.clone();
                let (spec, interfaces) = args.resolve()?;
                (pins, PolicyWhat::Add(spec, interfaces))
            }
            RawPolicy::List { format, pins } => (pins, PolicyWhat::List(format)),
            RawPolicy::Remove { ids, pins } => (pins, PolicyWhat::Remove(ids)),
            RawPolicy::Flush { pins } => (pins, PolicyWhat::Flush),
            RawPolicy::Reload { pins } => (pins, PolicyWhat::Reload),
            RawPolicy::Plan(file) => (file.pins.clone(), PolicyWhat::Plan(file.resolve())),
            RawPolicy::Apply { file, interfaces } => (
                file.pins.clone(),
                PolicyWhat::Apply(file.resolve(), interfaces.interfaces()),
            ),
            RawPolicy::Watch(args) => (args.pins.clone(), PolicyWhat::Watch(args.resolve()?)),
        };
        Ok(PolicyConfig {
            bpffs: pins.bpffs,
            what,
        })
    }
}

impl WatchArgs {
    fn resolve(self) -> Result<WatchConfig, Failure> {
        let why = "says where rules of --keep strip, and there is no --keep";
        self.interfaces.only(self.keep.is_some(), why)?;
        Ok(WatchConfig {
            interval: value::duration_at_least("--interval", &self.interval, SHORTEST_WATCH)?,
            keep: self.keep,
            interfaces: self.interfaces.interfaces(),
        })
    }
}

impl AddArgs {
    fn resolve(self) -> Result<(RuleSpec<CgroupSelector>, Interfaces), Failure> {
        let bad = |flag: &'static str, text: &str| {
            let text = text.to_owned();
            move |why: String| Failure::usage(flag, text, why)
        };
        let mut ports = Vec::new();
        for text in &self.port {
            ports.push(rule::port_range(text).map_err(bad("--port", text))?);
        }
        // clap makes sure that exactly one is given.
        let cgroup = self
            .scope
            .scope()
            .ok_or_else(|| Failure::usage("--cgroup", "", "where?"))?;
        let ttl = self.ttl.as_deref();
        let action = rule::action(&self.action).map_err(bad("--action", &self.action))?;
        let why = "says where the option is stripped, and this rule does not: see --action strip";
        self.interfaces.only(action.strips_option(), why)?;
        let spec = RuleSpec {
            cgroup,
            dst: rule::destination(&self.dst).map_err(bad("--dst", &self.dst))?,
            ports: rule::ports(ports).map_err(bad("--port", &self.port.join(",")))?,
            action,
            ttl: ttl
                .map(|text| rule::ttl(text).map_err(bad("--ttl", text)))
                .transpose()?,
            note: rule::note(&self.note).map_err(bad("--note", &self.note))?,
        };
        Ok((spec, self.interfaces.interfaces()))
    }
}

impl FileArgs {
    fn resolve(self) -> FileConfig {
        FileConfig {
            path: self.file,
            skip_missing: self.skip_missing,
            format: self.format,
        }
    }
}
