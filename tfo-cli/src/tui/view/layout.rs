//! Where the regions lie.

use ratatui::layout::Rect;

use crate::tui::state::State;

/// The regions of the screen, from top to bottom.
#[derive(Clone, Copy, Debug)]
pub struct Regions {
    /// Lines about the host.
    pub header: Rect,
    /// The view.
    pub body: Rect,
    /// One line of keys.
    pub footer: Rect,
}

/// Lines the header wants.
pub fn header_lines(state: &State) -> u16 {
    u16::try_from(super::header::lines(state).len()).unwrap_or(0)
}

/// Splits a screen. The footer stays on the smallest one, then the body, then the header.
pub fn split((width, height): (u16, u16), header: u16) -> Regions {
    let footer = height.min(1);
    let header = (header + 1).min(height.saturating_sub(footer + 4));
    let body = height - footer - header;
    Regions {
        header: Rect::new(0, 0, width, header),
        body: Rect::new(0, header, width, body),
        footer: Rect::new(0, header + body, width, footer),
    }
}
