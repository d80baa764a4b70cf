//! The box in front of the view, and the two short questions that are asked in one.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::Line,
    widgets::{Block, Clear, Padding, Paragraph, Widget},
};

use crate::tui::{command::Command, state::State, theme::Glyphs};

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// A box in the middle of the screen, as high as its text.
pub struct Dialog {
    /// Title in the upper border.
    pub title: &'static str,
    /// The text.
    pub lines: Vec<Line<'static>>,
    /// Columns of the box, borders included; a narrower screen makes it narrower.
    pub width: u16,
    /// Lines of the text above the box that are not shown.
    pub scroll: u16,
}

impl Dialog {
    /// Draws the box in front of everything else.
    pub fn draw(self, state: &State, screen: Rect, buffer: &mut Buffer) {
        let Self {
            title,
            lines,
            width,
            scroll,
        } = self;
        let height = u16::try_from(lines.len())
            .unwrap_or(u16::MAX)
            .saturating_add(2)
            .min(screen.height);
        let width = width.min(screen.width);
        let area = Rect::new(
            (screen.width - width) / 2,
            (screen.height - height) / 2,
            width,
            height,
        );
        let set = if state.glyphs == Glyphs::ASCII {
            ASCII_BORDER
        } else {
            border::PLAIN
        };
        Clear.render(area, buffer);
        let mut block = Block::bordered()
            .border_set(set)
            .title(title)
            .padding(Padding::horizontal(1))
            .border_style(state.theme.dim);
        // The box may cover the footer, which names the key otherwise.
        if lines.len() > usize::from(scroll) + usize::from(height.saturating_sub(2))
            && let Some(key) = state.keys.first(Command::Down)
        {
            block = block.title_bottom(Line::from(format!(" {key} more ")).right_aligned());
        }
        Paragraph::new(lines)
            .block(block)
            .scroll((scroll, 0))
            .render(area, buffer);
    }
}

/// Lines of text that the highest box has room for.
pub fn room(state: &State) -> u16 {
    state.size.height.saturating_sub(2)
}

/// Asks whether to set the totals to zero.
pub fn clear(state: &State, screen: Rect, buffer: &mut Buffer) {
    let lines = vec![
        "Count from zero? What was counted so far is not".into(),
        "shown any more. The kernel counts on.".into(),
        Line::default(),
        Line::from("y Enter  count from zero      any other key  no").style(state.theme.strong),
    ];
    let dialog = Dialog {
        title: " Clear counters ",
        lines,
        width: 54,
        scroll: 0,
    };
    dialog.draw(state, screen, buffer);
}

/// Asks for the format of an export.
pub fn export(state: &State, screen: Rect, buffer: &mut Buffer) {
    let lines = vec![
        "m  Markdown, for a ticket".into(),
        "c  CSV".into(),
        "j  JSON".into(),
        Line::default(),
        Line::from("into a new file in the current directory").style(state.theme.dim),
    ];
    let dialog = Dialog {
        title: " Export this view ",
        lines,
        width: 46,
        scroll: 0,
    };
    dialog.draw(state, screen, buffer);
}
