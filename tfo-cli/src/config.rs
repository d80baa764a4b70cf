//! The configuration file: the settings that `top` also has flags for, and the keys of the dashboard. A flag on the
//! command line takes precedence.
//!
//! ```toml
//! interval = "2s"
//! sort = "hit"
//! filter = "outcome:failure"
//! columns = ["service", "remote", "verdict", "lost"]
//! theme = "light"
//! ascii = false
//! names = false
//!
//! [keys]
//! pause = ["Space", "F2"]
//! export = "x"
//! ```

mod file;
pub mod owner;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use self::file::load;
use crate::tui::{Command, Key, Keys};

/// The settings of the file; `None` for those that it does not have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Time between two readings, as text such as `2s`.
    pub interval: Option<String>,
    /// Name of the order of destinations and services.
    pub sort: Option<String>,
    /// The filter.
    pub filter: Option<String>,
    /// Names of the columns of destinations and services.
    pub columns: Option<Vec<String>>,
    /// `auto`, `dark`, `light` or `mono`.
    pub theme: Option<String>,
    /// Whether to draw with ASCII characters only.
    #[serde(default)]
    pub ascii: bool,
    /// Whether to show host names instead of addresses.
    #[serde(default)]
    pub names: bool,
    /// Keys by the name of the command.
    #[serde(default)]
    keys: BTreeMap<toml::Spanned<String>, toml::Spanned<OneOrMore>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Config {
    /// Reads the text of a file. The error says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => format!("line {}: {}", line_of(text, span.start), error.message().trim()),
            None => error.message().trim().to_owned(),
        })?;
        config.bind(Some(text))?;
        Ok(config)
    }

    /// The default keys with the changes of the file.
    pub fn keys(&self) -> Keys {
        // `parse` has checked them.
        self.bind(None).unwrap_or_default()
    }

    /// Binds the keys. With the text of the file, an error says which line is wrong.
    fn bind(&self, text: Option<&str>) -> Result<Keys, String> {
        let wrong = |at: usize, why: String| match text {
            Some(text) => format!("line {}: {why}", line_of(text, at)),
            None => why,
        };
        let mut keys = Keys::default();
        for (name, bound) in &self.keys {
            let command = Command::from_name(name.get_ref()).ok_or_else(|| {
                wrong(
                    name.span().start,
                    format!("'{}' is not a command of the dashboard", name.get_ref()),
                )
            })?;
            let names = match bound.get_ref() {
                OneOrMore::One(key) => std::slice::from_ref(key),
                OneOrMore::More(keys) => keys,
            };
            let parsed: Result<Vec<Key>, String> = names.iter().map(|key| key.parse()).collect();
            keys.bind(command, &parsed.map_err(|why| wrong(bound.span().start, why))?);
        }
        Ok(keys)
    }
}

/// Number of the line that the byte offset `at` is in, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_in_the_documentation_is_right() {
        let documentation = include_str!("config.rs");
        let example: Vec<&str> = documentation
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//!").trim_start())
            .collect();
        let config = Config::parse(&example.join("\n")).expect("it is right");
        assert_eq!(config.interval.as_deref(), Some("2s"));
        assert_eq!(config.keys().label(Command::Export), "x");
        assert_eq!(config.keys().label(Command::Pause), "Space F2");
        assert_eq!(
            Config::parse("").expect("nothing is fine").keys(),
            Keys::default()
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let table = [
            (
                "interval = \"1s\"\nintervall = \"2s\"\n",
                "line 2: unknown field `intervall`",
            ),
            ("\n\nsort = 3\n", "line 3: invalid type"),
            ("[keys]\njump = \"x\"\n", "line 2: 'jump' is not a command"),
            (
                "[keys]\npause = \"x\"\nquit = [\"F40\"]\n",
                "line 3: 'F40' is not a key",
            ),
            ("theme = ", "line 1:"),
        ];
        for (text, part) in table {
            let why = Config::parse(text).expect_err(text);
            assert!(why.starts_with(part), "{text}: {why}");
        }
    }
}
