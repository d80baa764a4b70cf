//! Where the regions of the screen lie.

use ratatui::layout::{Rect, Size};

use crate::tui::state::State;

/// Lines that the body gets before the tabs and the header get any.
const BODY_LEAST: u16 = 5;

/// The regions of the screen, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions {
    /// The lines about the host; empty on a small screen.
    pub header: Rect,
    /// The line of tabs; empty on a small screen.
    pub tabs: Rect,
    /// The table or the page.
    pub body: Rect,
    /// The filter; empty where there is none.
    pub prompt: Rect,
    /// The line of keys, or the lines of a message.
    pub footer: Rect,
}

/// Splits the screen. Where it is too small for all, the footer comes first, then the prompt, then the body.
pub fn split(state: &State) -> Regions {
    let Size { width, height } = state.size;
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
