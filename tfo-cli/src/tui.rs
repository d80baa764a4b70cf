//! The dashboard: keys -> `Action` -> `update` -> state and effects;
//! `view` draws the state and nothing else. The only place that knows ratatui.

mod action;
mod command;
mod effects;
mod filter_line;
mod lines;
mod list;
mod options;
pub mod picture;
mod policy;
mod state;
mod terminal;
mod theme;
mod update;
mod view;

use std::time::Duration;

use anyhow::Context as _;
use crossterm::event;
use tfo_common::DestKey;

use self::{
    action::{Action, Fresh},
    effects::Effects,
    state::State,
    terminal::Screen,
};
use crate::{
    model::{Snapshot, history::History},
    signals::{Jobs, Stop},
};

pub use self::{
    command::{COMMANDS, Command, Key, Keys},
    options::{Appearance, Options, Permission, ThemeChoice},
    policy::{Answer, Enforcer, Job},
    terminal::abandon,
};

/// How long the loop sleeps when nothing happens: how late a signal or a new reading is noticed.
const POLL: Duration = Duration::from_millis(100);

/// Where the dashboard gets its snapshots from.
pub trait ModelHandle {
    /// Grows whenever there is something new.
    fn generation(&self) -> u64;
    /// The latest, and the past up to it.
    fn history(&self) -> (Snapshot, History);
    /// Starts counting anew.
    fn clear(&self);
    /// Sets the destination that is open, so that the policy on it is read soon.
    fn look_at(&self, _open: Option<DestKey>) {}
    /// Remarks about where the data come from. Those that begin with a blank are signs, the others texts.
    fn status(&self) -> Vec<String>;
}

/// Shows the dashboard until the user or the flag ends it. The terminal is as before afterwards, also after a
/// panic. Without an enforcer no key changes the policy.
pub fn run(
    options: &Options,
    handle: &dyn ModelHandle,
    enforcer: Option<&dyn Enforcer>,
    stop: &Stop,
    jobs: &Jobs,
) -> anyhow::Result<()> {
    let mut screen = Screen::enter()?;
    let mut state = State::new(options);
    let mut effects = Effects::new(handle, enforcer);
    let size = screen.size()?;
    update::update(&mut state, Action::Resize(size.width, size.height));
    let mut seen = None;
    let mut dirty = true;
    while !stop.raised() {
        let mut actions = effects.finished();
        let generation = handle.generation();
        if seen != Some(generation) {
            seen = Some(generation);
            let (snapshot, history) = handle.history();
            let fresh = Fresh {
                snapshot,
                history,
                status: handle.status(),
            };
            actions.push(Action::Snapshot(Box::new(fresh)));
        }
        if jobs.suspended() {
            screen.suspend()?;
            dirty = true;
        }
        if jobs.continued() {
            screen.resume()?;
            dirty = true;
        }
        for action in actions {
            dirty = true;
            let wanted = update::update(&mut state, action);
            effects.apply(wanted, &mut state, &mut screen)?;
        }
        effects.follow(&state);
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
            let wanted = update::update(&mut state, action);
            if effects.apply(wanted, &mut state, &mut screen)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// CPU time of drawing a model, for `bench-model`.
pub mod bench {
    use std::time::{Duration, Instant};

    use ratatui::{Terminal, backend::TestBackend};

    use super::{Action, Fresh, Options, State, update::update, view};
    use crate::model::Model;

    /// Takes a snapshot, works out the table and draws it, that many times; the mean of one frame.
    pub fn frame(model: &Model, size: (u16, u16), frames: u32) -> Duration {
        let mut state = State::new(&Options::default());
        update(&mut state, Action::Resize(size.0, size.1));
        let Ok(mut terminal) = Terminal::new(TestBackend::new(size.0, size.1));
        let start = Instant::now();
        for _ in 0..frames {
            let fresh = Fresh {
                snapshot: model.snapshot(),
                history: model.history(),
                status: Vec::new(),
            };
            update(&mut state, Action::Snapshot(Box::new(fresh)));
            let Ok(_) = terminal.draw(|frame| view::draw(frame, &state));
        }
        start.elapsed() / frames.max(1)
    }
}

#[cfg(test)]
mod tests;
