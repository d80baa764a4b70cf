//! Where the regions lie.

use ratatui::layout::Rect;

use crate::tui::state::State;

/// Lines a body should have before the header gets any.
const BODY_LEAST: u16 = 5;

/// The regions of the screen, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions {
    /// Lines about the host.
    pub header: Rect,
    /// One line of tabs.
    pub tabs: Rect,
    /// The view.
    pub body: Rect,
    /// The filter, where there is one.
    pub prompt: Rect,
    /// One line of keys, or something to tell.
    pub footer: Rect,
}

/// Splits the screen. The footer stays on the smallest one, then the body, then the rest.
pub fn split(state: &State) -> Regions {
    let (width, height) = state.size;
    let mut free = height;
    let mut take = |wanted: u16, leave: u16| {
        let taken = wanted.min(free.saturating_sub(leave));
        free -= taken;
        taken
    };
    let footer = take(super::footer::height(state), 0);
    let prompt = take(super::prompt::height(state), 1);
    let tabs = take(1, BODY_LEAST);
    let header = take(super::header::height(state), BODY_LEAST);
    let mut y = 0;
    let mut region = |height: u16| {
        let area = Rect::new(0, y, width, height);
        y += height;
        area
    };
    Regions {
        header: region(header),
        tabs: region(tabs),
        body: region(free),
        prompt: region(prompt),
        footer: region(footer),
    }
}
