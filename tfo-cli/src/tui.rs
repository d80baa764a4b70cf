//! The dashboard: keys -> [`Action`](action::Action) -> [`update`](update::update) -> state and effects;
//! [`view`] draws the state and nothing else. The only place that knows ratatui.

mod action;
mod list;
mod state;
mod terminal;
mod theme;
mod update;
mod view;

use std::time::Duration;

use anyhow::Context as _;
use crossterm::event;

use self::{action::Action, state::State, terminal::Screen, update::Effect};
use crate::{
    args::TopConfig,
    model::{Snapshot, history::History},
    signals::Stop,
};

pub use self::terminal::abandon;

/// How long the loop sleeps when nothing happens: how late a signal or a new reading is noticed.
const POLL: Duration = Duration::from_millis(100);

/// Where the dashboard gets its snapshots from.
pub trait Feed {
    /// Grows whenever there is something new.
    fn generation(&self) -> u64;
    /// The latest.
    fn snapshot(&self) -> Snapshot;
    /// The latest, and the past up to it.
    fn history(&self) -> (Snapshot, History);
    /// Starts counting anew.
    fn clear(&self);
    /// Remarks about where the data come from.
    fn status(&self) -> Vec<String>;
}

/// Shows the dashboard until the user or the flag ends it. The terminal is as before afterwards, also after a
/// panic.
pub fn run(config: &TopConfig, feed: &dyn Feed, stop: &Stop) -> anyhow::Result<()> {
    let mut screen = Screen::enter()?;
    let mut state = State::new(config);
    let size = screen.size()?;
    update::update(&mut state, Action::Resize(size.width, size.height));
    let mut seen = None;
    let mut dirty = true;
    while !stop.raised() {
        let generation = feed.generation();
        if seen != Some(generation) {
            seen = Some(generation);
            update::update(&mut state, Action::Snapshot(Box::new(feed.snapshot())));
            dirty = true;
        }
        if dirty {
            screen.draw(|frame| view::draw(frame, &state))?;
            dirty = false;
        }
        if !event::poll(POLL).context("wait for keys")? {
            continue;
        }
        // Everything typed meanwhile, then one frame.
        while event::poll(Duration::ZERO).context("wait for keys")? {
            let event = event::read().context("read keys")?;
            let Some(action) = action::from_event(&event, &state) else {
                continue;
            };
            dirty = true;
            for effect in update::update(&mut state, action) {
                match effect {
                    Effect::Quit => return Ok(()),
                    Effect::Redraw => screen.clear()?,
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
