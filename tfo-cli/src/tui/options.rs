//! How the dashboard begins: what a command line and a configuration file can say about it.

use super::Keys;
use crate::{model::SortKey, output::column::Column};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Whether keys may change the policy.
    pub permission: Permission,
    /// What to sort by.
    pub sort: SortKey,
    /// What to show, as text to be edited.
    pub filter: String,
    /// How it looks.
    pub appearance: Appearance,
}

/// Whether keys may change the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permission {
    /// They may: `--allow-policy`.
    Allowed,
    /// They may not.
    #[default]
    ReadOnly,
    /// There is none: a recording is shown.
    Recording,
}

/// Appearance and keys of the dashboard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appearance {
    /// Colours.
    pub theme: ThemeChoice,
    /// No characters beyond ASCII.
    pub ascii: bool,
    /// Columns of destinations and services, if not all.
    pub columns: Option<Vec<Column>>,
    /// Host names instead of addresses.
    pub names: bool,
    /// Which key does what.
    pub keys: Keys,
}

/// Colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeChoice {
    /// As the environment says.
    #[default]
    Auto,
    /// For dark backgrounds.
    Dark,
    /// For light ones.
    Light,
    /// None.
    Mono,
}
