//! A screen of the dashboard as an SVG picture for the documents, in the dark theme. Its text is text in the picture, too.

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

use super::{
    Appearance, ModelHandle, Options, Permission, ThemeChoice, action::Action, state::State, update::update,
    view,
};

/// Width and height of a character cell, in units of the picture.
const CELL: (u16, u16) = (8, 17);
/// Distance from the top of a cell to the base line of its text, in units of the picture.
const BASE_LINE: u16 = 13;
/// Background colour of a dark terminal.
const BACKGROUND: &str = "#1b1d21";
/// Text colour of a dark terminal.
const FOREGROUND: &str = "#d4d7dd";

/// The first screen that this model gives, `size` columns and lines large.
pub fn svg(handle: &dyn ModelHandle, size: (u16, u16)) -> String {
    let mut state = State::new(&Options {
        permission: Permission::Recording,
        appearance: Appearance {
            theme: ThemeChoice::Dark,
            ..Appearance::default()
        },
        ..Options::default()
    });
    update(&mut state, Action::Resize(size.0, size.1));
    update(&mut state, Action::Snapshot(Box::new(handle.state())));
    let Ok(mut terminal) = Terminal::new(TestBackend::new(size.0, size.1));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, &state));
    draw(terminal.backend().buffer())
}

fn draw(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let (width, height) = (columns * CELL.0, rows * CELL.1);
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"title\">"
        ),
        "<title id=\"title\">The dashboard of tfo-cli, showing a recording of its lab</title>".to_owned(),
        "<style>text { font: 13px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; }</style>"
            .to_owned(),
        format!("<rect width=\"{width}\" height=\"{height}\" fill=\"{BACKGROUND}\"/>"),
    ];
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let first = &buffer[(column, row)];
            let mut end = column;
            let mut text = String::new();
            while end < columns && is_alike(first, &buffer[(end, row)]) {
                text.push_str(buffer[(end, row)].symbol());
                end += 1;
            }
            draw_cells(&mut lines, first, &text, (column, row), end - column);
            column = end;
        }
    }
    lines.push("</svg>\n".to_owned());
    lines.join("\n")
}

fn is_alike(one: &Cell, other: &Cell) -> bool {
    one.style() == other.style()
}

/// Draws neighbouring cells of one style, the first of them at the column and row `at`. The length of each word is
/// fixed, so that columns are aligned in any font.
fn draw_cells(lines: &mut Vec<String>, cell: &Cell, text: &str, at: (u16, u16), cells: u16) {
    let (x, y) = (at.0 * CELL.0, at.1 * CELL.1);
    let width = cells * CELL.0;
    let is_reversed = cell.modifier.contains(Modifier::REVERSED);
    let (mut ink, mut paper) = (hex(cell.fg, FOREGROUND), hex(cell.bg, BACKGROUND));
    if is_reversed {
        std::mem::swap(&mut ink, &mut paper);
    }
    if paper != BACKGROUND {
        lines.push(format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{paper}\"/>",
            CELL.1
        ));
    }
    let weight = if cell.modifier.contains(Modifier::BOLD) {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let opacity = if cell.modifier.contains(Modifier::DIM) {
        " opacity=\"0.65\""
    } else {
        ""
    };
    for (offset, word) in words(text) {
        let width = CELL.0 * count(word);
        lines.push(format!(
            "<text x=\"{}\" y=\"{}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\" \
             fill=\"{ink}\"{weight}{opacity}>{}</text>",
            x + CELL.0 * offset,
            y + BASE_LINE,
            escape(word)
        ));
    }
}

/// The words of a text, each with the column it begins in: renderers differ in how they draw blanks.
fn words(text: &str) -> impl Iterator<Item = (u16, &str)> {
    text.split_whitespace().map(move |word| {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        (count(&text[..at]), word)
    })
}

fn count(text: &str) -> u16 {
    u16::try_from(text.chars().count()).unwrap_or(u16::MAX)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A colour of the terminal as SVG writes it. `default` stands for the colour that the terminal would use.
fn hex(color: Color, default: &str) -> String {
    let known = match color {
        Color::Reset | Color::Indexed(_) => default,
        Color::Black => "#1b1d21",
        Color::Red | Color::LightRed => "#f2777a",
        Color::Green | Color::LightGreen => "#9acd7f",
        Color::Yellow | Color::LightYellow => "#f0c36d",
        Color::Blue | Color::LightBlue => "#7aa6e0",
        Color::Magenta | Color::LightMagenta => "#c99ae0",
        Color::Cyan | Color::LightCyan => "#6fc3cf",
        Color::Gray | Color::White => FOREGROUND,
        Color::DarkGray => "#7d828c",
        Color::Rgb(red, green, blue) => return format!("#{red:02x}{green:02x}{blue:02x}"),
    };
    known.to_owned()
}
