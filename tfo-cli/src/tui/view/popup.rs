//! Boxes in front of the view. The only boxes there are.

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

/// Draws a box in the middle of the screen, as high as its text.
pub fn draw(
    state: &State,
    title: &'static str,
    lines: Vec<Line<'static>>,
    width: u16,
    scroll: u16,
    screen: Rect,
    buffer: &mut Buffer,
) {
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
    // The box may lie over the line of keys.
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

/// Lines of the highest box.
pub fn room(state: &State) -> u16 {
    state.size.1.saturating_sub(2)
}

/// Asks whether to count from zero.
pub fn clear(state: &State, screen: Rect, buffer: &mut Buffer) {
    let lines = vec![
        "Count from zero? What was counted so far is not".into(),
        "shown any more. The kernel counts on.".into(),
        Line::default(),
        Line::from("y Enter  count from zero      any other key  no").style(state.theme.strong),
    ];
    draw(state, " Clear counters ", lines, 54, 0, screen, buffer);
}

/// Asks for a format.
pub fn export(state: &State, screen: Rect, buffer: &mut Buffer) {
    let lines = vec![
        "m  Markdown, for a ticket".into(),
        "c  CSV".into(),
        "j  JSON".into(),
        Line::default(),
        Line::from("into a new file in the current directory").style(state.theme.dim),
    ];
    draw(state, " Export this view ", lines, 46, 0, screen, buffer);
}
