//! The commands of the dashboard: their names in the configuration file, their default keys and their help.

use std::{fmt, str::FromStr};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Show or hide the help.
    Help,
    /// Close the popup; without one, the page; without either, quit the program.
    Close,
    /// Close the popup or the page, or else drop the filter; never quits the program.
    Back,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// First row.
    Top,
    /// Last row.
    Bottom,
    /// Open the page of the row under the cursor; in the view of services, fold or unfold the service.
    Open,
    /// The view after this one.
    NextView,
    /// The view before this one.
    PreviousView,
    /// Show the view of destinations.
    Destinations,
    /// Show the view of services.
    Services,
    /// Shows the services added up by network, or no longer.
    Networks,
    /// Show the view of the latest connections.
    Flows,
    /// Show the view of listening sockets.
    Listeners,
    /// Show the view of the host.
    Host,
    /// Show the view of findings.
    Findings,
    /// Edit the filter.
    Filter,
    /// Sort by the next column that has an order.
    SortNext,
    /// Reverse the order.
    SortReverse,
    /// Freeze what is shown, or go on.
    Pause,
    /// While paused: show the reading before this one.
    Earlier,
    /// While paused: show the reading after this one.
    Later,
    /// While paused: go 60 readings back.
    MuchEarlier,
    /// While paused: go 60 readings forward.
    MuchLater,
    /// Set filter, order and cursor to what they were at the start.
    ResetView,
    /// Set the totals that are shown to zero, after a question.
    ClearCounters,
    /// Show host names instead of addresses, or addresses again.
    Names,
    /// Copy the row, or the text of the page, to the clipboard.
    Copy,
    /// Write the table into a file.
    Export,
    /// Write an HTML report of the instant that is shown.
    Report,
    /// Add a policy rule for the service and destination of the row.
    AddRule,
    /// Give the policy rule that decides on the row an end.
    ExpireRule,
    /// Remove the policy rule that decides on the row.
    RemoveRule,
    /// Draw the whole screen again.
    Redraw,
    /// Stop the program until the shell continues it (`fg`).
    Suspend,
    /// Quit the program, whatever is open.
    Quit,
}

/// A key with or without Ctrl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

const fn key(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

const fn char(character: char) -> Key {
    key(KeyCode::Char(character))
}

const fn ctrl(character: char) -> Key {
    Key {
        code: KeyCode::Char(character),
        ctrl: true,
    }
}

/// What the configuration file and the help say about a command.
#[derive(Debug)]
pub struct Info {
    /// The command that this describes.
    pub command: Command,
    /// Name in the configuration file, such as `page-up`.
    pub name: &'static str,
    /// Keys it is bound to unless the configuration file says otherwise.
    pub keys: &'static [Key],
    /// What it does, as the help prints it.
    pub help: &'static str,
}

const fn info(command: Command, name: &'static str, keys: &'static [Key], help: &'static str) -> Info {
    Info {
        command,
        name,
        keys,
        help,
    }
}

/// Every command, in the order of the help.
pub const COMMANDS: [Info; 39] = [
    info(
        Command::Help,
        "help",
        &[char('?'), char('h'), key(KeyCode::F(1))],
        "this help",
    ),
    info(Command::Close, "close", &[char('q')], "quit; close what is open"),
    info(
        Command::Back,
        "back",
        &[key(KeyCode::Esc)],
        "close what is open, drop the filter",
    ),
    info(
        Command::Open,
        "open",
        &[key(KeyCode::Enter)],
        "details; unfold a service",
    ),
    info(Command::Up, "up", &[char('k'), key(KeyCode::Up)], "one row up"),
    info(
        Command::Down,
        "down",
        &[char('j'), key(KeyCode::Down)],
        "one row down",
    ),
    info(
        Command::PageUp,
        "page-up",
        &[key(KeyCode::PageUp), ctrl('b')],
        "one page up",
    ),
    info(
        Command::PageDown,
        "page-down",
        &[key(KeyCode::PageDown), ctrl('f')],
        "one page down",
    ),
    info(
        Command::Top,
        "top",
        &[char('g'), key(KeyCode::Home)],
        "first row, and stay there",
    ),
    info(
        Command::Bottom,
        "bottom",
        &[char('G'), key(KeyCode::End)],
        "last row",
    ),
    info(Command::NextView, "next-view", &[key(KeyCode::Tab)], "next view"),
    info(
        Command::PreviousView,
        "previous-view",
        &[key(KeyCode::BackTab)],
        "previous view",
    ),
    info(
        Command::Destinations,
        "destinations",
        &[char('1')],
        "destinations",
    ),
    info(Command::Services, "services", &[char('2')], "services"),
    info(
        Command::Networks,
        "networks",
        &[char('N')],
        "services added up by network, and back (with --networks)",
    ),
    info(Command::Flows, "flows", &[char('3')], "latest connections"),
    info(Command::Listeners, "listeners", &[char('4')], "listening sockets"),
    info(
        Command::Host,
        "host",
        &[char('5')],
        "settings, counters, losses, own cost",
    ),
    info(
        Command::Findings,
        "findings",
        &[char('f')],
        "findings: what is wrong, why, and what mends it",
    ),
    info(
        Command::Filter,
        "filter",
        &[char('/')],
        "filter: outcome:failure lost>100ms !unit:web",
    ),
    info(Command::SortNext, "sort", &[char('s')], "sort by the next order"),
    info(Command::SortReverse, "reverse", &[char('S')], "reverse the order"),
    info(
        Command::Pause,
        "pause",
        &[char(' '), char('p')],
        "freeze the view; counting goes on",
    ),
    info(
        Command::Earlier,
        "earlier",
        &[char('['), key(KeyCode::Left)],
        "paused: one reading back in time",
    ),
    info(
        Command::Later,
        "later",
        &[char(']'), key(KeyCode::Right)],
        "paused: one reading forward",
    ),
    info(
        Command::MuchEarlier,
        "much-earlier",
        &[char('{')],
        "paused: 60 readings back",
    ),
    info(
        Command::MuchLater,
        "much-later",
        &[char('}')],
        "paused: 60 readings forward",
    ),
    info(
        Command::ResetView,
        "reset-view",
        &[char('r')],
        "filter, order and cursor as at the start",
    ),
    info(
        Command::ClearCounters,
        "clear-counters",
        &[ctrl('r')],
        "count from zero; asks first",
    ),
    info(
        Command::Names,
        "names",
        &[char('n')],
        "host names instead of addresses",
    ),
    info(
        Command::Copy,
        "copy",
        &[char('y')],
        "copy the row to the clipboard (OSC 52)",
    ),
    info(
        Command::Export,
        "export",
        &[char('e')],
        "write the view into a file",
    ),
    info(
        Command::Report,
        "report",
        &[char('R')],
        "write a report of what is shown (HTML)",
    ),
    info(
        Command::AddRule,
        "add-rule",
        &[char('a')],
        "add a rule for this destination (with --allow-policy)",
    ),
    info(
        Command::ExpireRule,
        "expire-rule",
        &[char('x')],
        "let the rule in force here end (with --allow-policy)",
    ),
    info(
        Command::RemoveRule,
        "remove-rule",
        &[char('d')],
        "remove the rule in force here (with --allow-policy)",
    ),
    info(
        Command::Redraw,
        "redraw",
        &[ctrl('l'), key(KeyCode::F(5))],
        "draw everything anew",
    ),
    info(
        Command::Suspend,
        "suspend",
        &[ctrl('z')],
        "back to the shell; fg returns",
    ),
    info(Command::Quit, "quit", &[ctrl('c')], "quit at once"),
];

impl Command {
    /// The command that has this name in the configuration file.
    pub fn from_name(name: &str) -> Option<Self> {
        COMMANDS
            .iter()
            .find(|info| info.name == name)
            .map(|info| info.command)
    }
}

/// Which key is bound to which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<(Key, Command)>);

impl Default for Keys {
    fn default() -> Self {
        Self(
            COMMANDS
                .iter()
                .flat_map(|info| info.keys.iter().map(|key| (*key, info.command)))
                .collect(),
        )
    }
}

impl Keys {
    /// Binds these keys to a command, instead of those it had, and takes them away from other commands.
    pub fn bind(&mut self, command: Command, keys: &[Key]) {
        self.0
            .retain(|(key, bound)| *bound != command && !keys.contains(key));
        self.0.extend(keys.iter().map(|key| (*key, command)));
    }

    /// The command that a pressed key is bound to.
    pub fn command(&self, event: &KeyEvent) -> Option<Command> {
        let pressed = Key {
            code: event.code,
            ctrl: event.modifiers.contains(KeyModifiers::CONTROL),
        };
        self.0
            .iter()
            .find(|(key, _)| *key == pressed)
            .map(|(_, command)| *command)
    }

    /// The keys of a command separated by blanks, as the help prints them; empty when it has none.
    pub fn label(&self, command: Command) -> String {
        let keys = self.0.iter().filter(|(_, bound)| *bound == command);
        keys.map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// The first key of a command; `None` when it has none.
    pub fn first(&self, command: Command) -> Option<String> {
        self.0
            .iter()
            .find(|(_, bound)| *bound == command)
            .map(|(key, _)| key.to_string())
    }
}

/// Names of the keys that are written as words: all but printable characters and function keys.
const NAMED: [(&str, KeyCode); 14] = [
    ("Space", KeyCode::Char(' ')),
    ("Enter", KeyCode::Enter),
    ("Esc", KeyCode::Esc),
    ("Tab", KeyCode::Tab),
    ("S-Tab", KeyCode::BackTab),
    ("Up", KeyCode::Up),
    ("Down", KeyCode::Down),
    ("Left", KeyCode::Left),
    ("Right", KeyCode::Right),
    ("PgUp", KeyCode::PageUp),
    ("PgDn", KeyCode::PageDown),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
    ("Del", KeyCode::Delete),
];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("^")?;
        }
        match (NAMED.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(character)) if self.ctrl => write!(f, "{}", character.to_ascii_uppercase()),
            (None, KeyCode::Char(character)) => write!(f, "{character}"),
            (None, KeyCode::F(number)) => write!(f, "F{number}"),
            (None, _) => f.write_str("?"),
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not a key: write q, ctrl+r, F5, Space, Enter, Esc, Tab, PgUp, ...");
        let (ctrl, name) = match text.strip_prefix("ctrl+").or_else(|| text.strip_prefix('^')) {
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, text),
        };
        let named = NAMED
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, code)| *code);
        let function = || {
            let number: u8 = name.strip_prefix(['F', 'f'])?.parse().ok()?;
            (1..=12).contains(&number).then_some(KeyCode::F(number))
        };
        let single = || {
            let mut characters = name.chars();
            let first = characters.next()?;
            let first = if ctrl { first.to_ascii_lowercase() } else { first };
            characters.next().is_none().then_some(KeyCode::Char(first))
        };
        let code = named.or_else(function).or_else(single).ok_or_else(bad)?;
        Ok(Self { code, ctrl })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let keys = Keys::default();
        for (index, (key, command)) in keys.0.iter().enumerate() {
            assert!(
                keys.0[..index].iter().all(|(other, _)| other != key),
                "{key} {command:?}"
            );
        }
    }

    #[test]
    fn every_default_key_can_be_written_in_the_configuration() {
        for info in &COMMANDS {
            assert_eq!(Command::from_name(info.name), Some(info.command));
            for key in info.keys {
                assert_eq!(key.to_string().parse(), Ok(*key), "{key}");
            }
        }
        assert_eq!("ctrl+R".parse(), Ok(ctrl('r')));
        assert_eq!("^".parse(), Ok(char('^')));
        assert_eq!("f".parse(), Ok(char('f')));
        for bad in ["", "F13", "hyper+x", "Entr"] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }

    #[test]
    fn binding_takes_a_key_away_from_its_old_command() {
        let mut keys = Keys::default();
        keys.bind(Command::Export, &[char('s')]);
        assert_eq!(keys.label(Command::Export), "s");
        assert_eq!(keys.label(Command::SortNext), "");
        assert_eq!(
            keys.command(&KeyEvent::new(KeyCode::Char('e'), KeyModifiers::NONE)),
            None
        );
    }
}
