//! Fixes as commands, quoted for a shell.

use super::{Facts, Finding, Fix};
use crate::model::DestRow;

/// How long a suggested rule lives: the path may be mended by then.
const TTL: &str = "7d";

/// What a suggested rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// No SYN carries data.
    NoData,
    /// Nor the option; for all ports, because the option goes with cookie requests too.
    Strip,
}

/// A policy rule for one destination of one service.
pub fn rule(facts: &Facts<'_>, row: &DestRow, action: Action) -> Fix {
    let path = facts
        .names
        .get(row.key.cgroup_id)
        .map_or("/", |name| name.path.as_str());
    let action_flag = match action {
        Action::NoData => "",
        Action::Strip => " --action strip",
    };
    let without = match action {
        Action::NoData => "data",
        Action::Strip => "data and without the option",
    };
    Fix {
        command: Some(format!(
            "tfo-cli policy add --cgroup {} --dst {} --port {}{action_flag} --ttl {TTL}",
            quoted(path),
            row.remote(),
            row.key.port,
        )),
        what: format!(
            "SYNs of this service to this destination leave without {without}; applications notice nothing"
        ),
        undo: format!(
            "tfo-cli policy remove ID (`tfo-cli policy list` shows it); it ends by itself after {TTL}"
        ),
        is_rule: true,
    }
}

/// A word as a POSIX shell takes it for one. Control characters are left to whoever prints it.
pub fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-:@%+=,".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Finding {
    /// The command that mends it, if there is one.
    pub fn command(&self) -> Option<&str> {
        self.fix.as_ref()?.command.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        let table = [
            ("/system.slice/web.service", "/system.slice/web.service"),
            ("/a b", "'/a b'"),
            ("/x\\x2dy", "'/x\\x2dy'"),
            ("/it's;rm -rf $HOME", "'/it'\\''s;rm -rf $HOME'"),
            ("", "''"),
        ];
        for (word, want) in table {
            assert_eq!(quoted(word), want);
        }
    }
}
