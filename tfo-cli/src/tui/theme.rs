//! Styles and characters. Besides the terminal's own colours there is one accent. Whatever a colour says, a word or a
//! sign says too.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

use super::ThemeChoice;

/// The styles that the dashboard draws with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Headings, keys and the column that sorts.
    pub accent: Style,
    /// Signs that need attention, such as ` PAUSED ` and ` LOST `.
    pub alert: Style,
    /// Labels and other unimportant text.
    pub dim: Style,
    /// Text that stands out without colour.
    pub strong: Style,
    /// The row under the cursor.
    pub cursor: Style,
    /// The part of the filter that is wrong.
    pub wrong: Style,
}

/// The characters that the dashboard draws with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// A cell filled from the bottom, from empty to full in eighths.
    pub bars: [char; 9],
    /// One cell of a horizontal bar in a histogram.
    pub block: char,
    /// The end of a text that was cut, or the beginning of a path.
    pub cut: char,
    /// The shaft of an arrow, and the time axis of a chart.
    pub line: char,
    /// The shaft of the arrow of a segment that was lost.
    pub lost: char,
    /// The points of an arrow to the left and to the right.
    pub ends: (char, char),
    /// A vertical line: an end in the ladder of a handshake, and the value axis of a chart.
    pub wall: char,
    /// The signs of a folded and of an unfolded service.
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
    /// For all other terminals.
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
    /// Without colours, for `NO_COLOR` as well.
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
