//! The help: every key and what it does.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Clear, Padding, Paragraph, Widget},
};

use crate::tui::{action::BINDINGS, state::State};

/// Draws it in the middle of the screen.
pub fn draw(state: &State, screen: Rect, buffer: &mut Buffer) {
    let mut lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!("{:<9}", binding.label), state.theme.accent),
                binding.help.into(),
            ])
        })
        .collect();
    lines.push(Line::from(vec![
        Span::styled(format!("{:<9}", "Ctrl-C"), state.theme.accent),
        "quit at once".into(),
    ]));
    let height = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2)
        .min(screen.height);
    let width = 46.min(screen.width);
    let area = Rect::new(
        (screen.width - width) / 2,
        (screen.height - height) / 2,
        width,
        height,
    );
    Clear.render(area, buffer);
    let block = Block::bordered()
        .title(" Keys ")
        .padding(Padding::horizontal(1))
        .border_style(state.theme.dim);
    Paragraph::new(lines).block(block).render(area, buffer);
}
