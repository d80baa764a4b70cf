//! Colours: the terminal's own, and one accent. Whatever a colour says, a word or a sign says too.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

use super::ThemeChoice;

/// A set of styles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Headings and what is chosen.
    pub accent: Style,
    /// What needs attention.
    pub alert: Style,
    /// Labels and what is unimportant.
    pub dim: Style,
    /// What stands out without colour.
    pub strong: Style,
    /// The row under the cursor.
    pub cursor: Style,
    /// What is wrong with an input.
    pub wrong: Style,
}

/// Characters for what is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// From nothing to full.
    pub bars: [char; 9],
    /// Horizontal bar of a histogram.
    pub block: char,
    /// What was cut off.
    pub cut: char,
    /// Line of an arrow.
    pub line: char,
    /// Line of an arrow that never arrives.
    pub lost: char,
    /// Left and right end of an arrow.
    pub ends: (char, char),
    /// Vertical line.
    pub wall: char,
    /// Folded and unfolded.
    pub fold: (char, char),
    /// Where the axes of a chart meet.
    pub corner: char,
    /// A mark of the value axis.
    pub value: char,
    /// A mark of the time axis.
    pub mark: char,
}

impl Glyphs {
    /// For every terminal with a Unicode font; no private-use characters.
    pub const UNICODE: Glyphs = Glyphs {
        bars: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        block: '█',
        cut: '…',
        line: '─',
        lost: '╌',
        ends: ('◀', '▶'),
        wall: '│',
        fold: ('▸', '▾'),
        corner: '└',
        value: '┤',
        mark: '┬',
    };
    /// For all others.
    pub const ASCII: Glyphs = Glyphs {
        bars: [' ', '.', '.', ':', ':', '-', '=', '+', '#'],
        block: '#',
        cut: '~',
        line: '-',
        lost: '.',
        ends: ('<', '>'),
        wall: '|',
        fold: ('+', '-'),
        corner: '+',
        value: '+',
        mark: '+',
    };
}

impl Theme {
    /// For dark backgrounds.
    pub const DARK: Theme = Theme::with(Style::new().fg(Color::Cyan));
    /// For light backgrounds.
    pub const LIGHT: Theme = Theme::with(Style::new().fg(Color::Blue));
    /// No colour at all.
    pub const MONO: Theme = Theme::with(Style::new());

    /// The theme of this choice.
    pub fn of(choice: ThemeChoice) -> Self {
        match choice {
            ThemeChoice::Dark => Self::DARK,
            ThemeChoice::Light => Self::LIGHT,
            ThemeChoice::Mono => Self::MONO,
            ThemeChoice::Auto => {
                let variable = |name| std::env::var_os(name);
                Self::of_environment(variable("NO_COLOR").as_deref(), variable("COLORFGBG").as_deref())
            }
        }
    }

    /// The theme for a terminal described by these environment variables.
    pub fn of_environment(no_color: Option<&OsStr>, colorfgbg: Option<&OsStr>) -> Self {
        if no_color.is_some_and(|value| !value.is_empty()) {
            return Self::MONO;
        }
        // `foreground;background` as the terminal set it: 7 and 9 to 15 are light.
        let background = colorfgbg
            .and_then(OsStr::to_str)
            .and_then(|value| value.rsplit(';').next()?.parse().ok());
        match background {
            Some(7u8 | 9..=15) => Self::LIGHT,
            _ => Self::DARK,
        }
    }

    const fn with(accent: Style) -> Self {
        Self {
            accent: accent.add_modifier(Modifier::BOLD),
            alert: accent
                .add_modifier(Modifier::BOLD)
                .add_modifier(Modifier::REVERSED),
            dim: Style::new().add_modifier(Modifier::DIM),
            strong: Style::new().add_modifier(Modifier::BOLD),
            cursor: Style::new().add_modifier(Modifier::REVERSED),
            wrong: accent.add_modifier(Modifier::UNDERLINED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let table = [
            (None, None, Theme::DARK),
            (Some(""), Some("15;0"), Theme::DARK),
            (None, Some("0;15"), Theme::LIGHT),
            (None, Some("0;default;7"), Theme::LIGHT),
            (None, Some("nonsense"), Theme::DARK),
            (Some("1"), Some("0;15"), Theme::MONO),
        ];
        for (no_color, colorfgbg, want) in table {
            let theme = Theme::of_environment(no_color.map(OsStr::new), colorfgbg.map(OsStr::new));
            assert_eq!(theme, want, "{no_color:?} {colorfgbg:?}");
        }
    }
}
