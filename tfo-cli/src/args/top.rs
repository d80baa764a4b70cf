//! `tfo-cli top`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    AttachArgs, filters::FilterArgs, overhead::OverheadArgs, recordings::RecordingArgs, scope::PinArgs, value,
};
use crate::{
    config::Config,
    exit::{self, Failure},
    model::{SortKey, filter::Filter},
    options::AttachOptions,
    output::column::{COLUMNS, Column},
    tui::{self, Appearance, Permission, ThemeChoice},
};

/// Shortest interval: with a shorter one, the whole destination table would be read more often than a person can follow.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL: &str = "1s";

/// The options of `tfo-cli top`, as the user typed them.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct TopArgs {
    /// Print the table after one interval and end.
    #[arg(long)]
    pub once: bool,
    /// Format of --once.
    #[arg(long, value_enum, default_value_t = TopFormat::Text)]
    pub format: TopFormat,
    /// Time between two readings [default: 1s].
    #[arg(long, value_name = "TIME")]
    pub interval: Option<String>,
    /// What to sort by: lost, hit, failures, attempts, net, saved, rtt, syn, last, remote or network [default: lost].
    #[arg(long, value_name = "ORDER")]
    pub sort: Option<String>,
    /// Columns of the table: service,remote,verdict,lost,... [default: as many as fit].
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,
    /// Which connections.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Recordings.
    #[command(flatten)]
    pub recordings: RecordingArgs,
    /// Replay this many times as fast as it was recorded.
    #[arg(
        long,
        value_name = "FACTOR",
        default_value_t = 1.0,
        requires = "replay",
        help_heading = "Recordings"
    )]
    pub speed: f64,
    /// Colours: auto, dark, light or mono [default: auto].
    #[arg(long, value_name = "THEME", help_heading = "Appearance")]
    pub theme: Option<String>,
    /// Use no colours; `NO_COLOR` in the environment does the same.
    #[arg(long, help_heading = "Appearance")]
    pub no_color: bool,
    /// Use ASCII characters only.
    #[arg(long, help_heading = "Appearance")]
    pub ascii: bool,
    /// Show host names instead of addresses; the name server is asked for every address on the screen.
    #[arg(long, help_heading = "Appearance")]
    pub names: bool,
    /// Configuration file [default: ~/.config/tfo-cli/config.toml, under sudo that of the caller].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let keys add, expire and remove rules for the selected destination. The plan of every change is shown and has to
    /// be confirmed.
    #[arg(long, conflicts_with_all = ["once", "replay"], help_heading = "Policy")]
    pub allow_policy: bool,
    /// Where the policy is.
    #[command(flatten, next_help_heading = "Policy")]
    pub pins: PinArgs,
    /// Where to look.
    #[command(flatten)]
    pub attach: AttachArgs,
    /// What it may cost.
    #[command(flatten)]
    pub overhead: OverheadArgs,
}

/// Formats of `top --once`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopFormat {
    /// A table for people.
    Text,
    /// One JSON object, schema 1.
    Json,
}

/// The checked options of `tfo-cli top`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// Whether to print the table once and end.
    pub once: bool,
    /// Format of that table.
    pub format: TopFormat,
    /// Time between two readings.
    pub interval: Duration,
    /// The order of destinations and services.
    pub sort: SortKey,
    /// The filter.
    pub filter: Filter,
    /// The filter as text, for editing.
    pub filter_text: String,
    /// File that names networks.
    pub networks: Option<PathBuf>,
    /// File to record into.
    pub record: Option<PathBuf>,
    /// Recording to show.
    pub replay: Option<PathBuf>,
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// Whether keys may change the policy.
    pub allow_policy: bool,
    /// Colours, columns and keys.
    pub appearance: Appearance,
}

impl TopConfig {
    /// How the dashboard starts.
    pub fn dashboard(&self) -> tui::Options {
        tui::Options {
            permission: match (&self.replay, self.allow_policy) {
                (Some(_), _) => Permission::Recording,
                (None, true) => Permission::Allowed,
                (None, false) => Permission::ReadOnly,
            },
            sort: self.sort,
            filter: self.filter_text.clone(),
            appearance: self.appearance.clone(),
        }
    }
}

impl TopArgs {
    /// Checks every value; options that the user did not type come from the configuration file.
    pub fn resolve(self, config: &Config) -> Result<TopConfig, Failure> {
        if !(0.01..=1_000.0).contains(&self.speed) {
            return Err(Failure::usage("--speed", self.speed, "must be 0.01 to 1000"));
        }
        if self.allow_policy && self.format == TopFormat::Json {
            let why = "--allow-policy: only the dashboard can change rules, and --format json prints once";
            return Err(Failure::new(exit::USAGE, why).hint("use `tfo-cli policy add`, `remove` or `apply`"));
        }
        let appearance = Appearance {
            theme: if self.no_color {
                ThemeChoice::Mono
            } else {
                theme(self.theme.as_ref().or(config.theme.as_ref()))?
            },
            ascii: self.ascii || config.ascii,
            columns: self
                .columns
                .or(config.columns.clone())
                .map(|names| columns(&names))
                .transpose()?,
            names: self.names || config.names,
            keys: config.keys(),
        };
        let interval = self
            .interval
            .or(config.interval.clone())
            .unwrap_or_else(|| INTERVAL.to_owned());
        let (filter, filter_text) = self.filters.resolve_with_text(config.filter.as_deref())?;
        Ok(TopConfig {
            // JSON is one object, which only a table that is printed once can be.
            once: self.once || self.format == TopFormat::Json,
            format: self.format,
            interval: value::duration_at_least("--interval", &interval, SHORTEST_INTERVAL)?,
            sort: sort(self.sort.or(config.sort.clone()))?,
            filter,
            filter_text,
            networks: self.filters.packet.networks,
            record: self.recordings.record,
            replay: self.recordings.replay,
            speed: self.speed,
            allow_policy: self.allow_policy,
            appearance,
            attach: AttachOptions {
                bpffs: self.pins.bpffs,
                ..self.overhead.resolve(self.attach.resolve(false)?)?
            },
        })
    }
}

fn sort(name: Option<String>) -> Result<SortKey, Failure> {
    let Some(name) = name else {
        return Ok(SortKey::default());
    };
    SortKey::from_name(&name).ok_or_else(|| {
        let names = SortKey::ALL.map(|(name, _)| name).join(", ");
        Failure::usage("--sort", &name, format!("not one of {names}"))
    })
}

fn theme(name: Option<&String>) -> Result<ThemeChoice, Failure> {
    match name.map(String::as_str) {
        None | Some("auto") => Ok(ThemeChoice::Auto),
        Some("dark") => Ok(ThemeChoice::Dark),
        Some("light") => Ok(ThemeChoice::Light),
        Some("mono") => Ok(ThemeChoice::Mono),
        Some(other) => Err(Failure::usage(
            "--theme",
            other,
            "not one of auto, dark, light, mono",
        )),
    }
}

fn columns(names: &[String]) -> Result<Vec<Column>, Failure> {
    let column = |name: &String| {
        Column::from_name(name).ok_or_else(|| {
            let known = COLUMNS.map(|spec| spec.name).join(", ");
            Failure::usage("--columns", name, format!("not one of {known}"))
        })
    };
    names.iter().map(column).collect()
}
