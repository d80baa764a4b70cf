//! How the dashboard starts: everything that the command line and the configuration file can say about it.

use super::Keys;
use crate::{model::SortKey, output::column::Column};

/// How the dashboard starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Whether keys may change the policy.
    pub permission: Permission,
    /// The order of destinations and services.
    pub sort: SortKey,
    /// The filter, as text that the user can edit; empty to show everything.
    pub filter: String,
    /// Colours, columns and keys.
    pub appearance: Appearance,
}

/// Whether keys may change the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permission {
    /// They may, because `--allow-policy` was given.
    Allowed,
    /// They may not, and say so.
    #[default]
    ReadOnly,
    /// A recording is shown, which has no policy.
    Recording,
}

/// Appearance and keys of the dashboard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appearance {
    /// The colours of the screen.
    pub theme: ThemeChoice,
    /// Whether to draw with ASCII characters only.
    pub ascii: bool,
    /// The columns of destinations and services; `None` for all.
    pub columns: Option<Vec<Column>>,
    /// Whether to show host names instead of addresses.
    pub names: bool,
    /// Which key is bound to which command.
    pub keys: Keys,
}

/// The choice of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeChoice {
    /// As the environment variables `NO_COLOR` and `COLORFGBG` say.
    #[default]
    Auto,
    /// For dark backgrounds.
    Dark,
    /// For light backgrounds.
    Light,
    /// No colours.
    Mono,
}
