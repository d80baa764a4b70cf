//! Draws the state. One file per region of the screen:
//!
//! ```text
//! +--------------------------------------------------+
//! | header: host, sysctl, totals, losses, cross-check|
//! |                                                  |
//! | body: the table, worst first                     |
//! |   ...                                            |
//! | footer: keys that do something now               |
//! +--------------------------------------------------+
//! ```

mod destinations;
mod footer;
mod header;
mod help;
pub mod layout;

use ratatui::Frame;

use super::state::{Popup, State};

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let regions = layout::split((area.width, area.height), layout::header_lines(state));
    let buffer = frame.buffer_mut();
    header::draw(state, regions.header, buffer);
    destinations::draw(state, regions.body, buffer);
    footer::draw(state, regions.footer, buffer);
    match state.popup {
        Some(Popup::Help) => help::draw(state, area, buffer),
        None => {}
    }
}
