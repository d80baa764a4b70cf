//! The dashboard. A key becomes an `Action`, `update` turns an action into a new state and effects, and `view` draws
//! the state. No other module knows ratatui.

mod action;
mod command;
mod effects;
mod filter_line;
mod list_state;
mod options;
pub mod picture;
mod policy;
mod state;
mod table;
mod terminal;
mod theme;
mod update;
mod view;

use std::time::Duration;

use anyhow::Context as _;
use crossterm::event;
use tfo_common::DestKey;

use self::{
    action::Action,
    effects::Effects,
    state::State,
    terminal::{Input, Screen},
};
use crate::{
    model::{Snapshot, history::History},
    signals::{JobControl, Stop},
};

pub use self::{
    command::{COMMANDS, Command, Key, Keys},
    options::{Appearance, Options, Permission, ThemeChoice},
    policy::{Answer, Enforcer, Job},
    terminal::abandon,
};

/// How long the loop waits for a key: a signal or a new reading is noticed this much later at most.
const POLL: Duration = Duration::from_millis(100);

/// How long crossterm looks for events once something may have come. Not zero, or it does not look at all; and no longer,
/// because it rounds what is left below a millisecond to nothing, and asks the kernel again and again until it is over.
const LOOK: Duration = Duration::from_micros(20);

/// The model that the dashboard shows: of the live kernel, or of a recording.
pub trait ModelHandle {
    /// A number that grows whenever the model changes; the dashboard asks for the state when it has grown.
    fn generation(&self) -> u64;
    /// The present state of the model.
    fn state(&self) -> ModelState;
    /// Sets every total to zero. The counters of the kernel side stay as they are.
    fn clear(&self);
    /// Tells which destination has its page open, so that the policy on it is read soon; `None` when no such page is
    /// open.
    fn set_open_destination(&self, _open: Option<DestKey>) {}
}

/// What the model holds at one instant.
#[derive(Debug)]
pub struct ModelState {
    /// Rows, totals and everything else that was counted up to this instant.
    pub snapshot: Snapshot,
    /// The readings before this instant, for charts and for stepping back in time.
    pub history: History,
    /// Remarks about the source of the data, for the first line of the screen. Those that begin with a blank are
    /// short signs such as ` REC ` and are highlighted, the others are sentences.
    pub status: Vec<String>,
}

/// Shows the dashboard until the user leaves it or `stop` is raised. The terminal is as before afterwards, also after
/// a panic. Without an enforcer no key changes the policy.
pub fn run(
    options: &Options,
    handle: &dyn ModelHandle,
    enforcer: Option<&dyn Enforcer>,
    stop: &Stop,
    job_control: &JobControl,
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
            actions.push(Action::Snapshot(Box::new(handle.state())));
        }
        if job_control.suspended() {
            screen.suspend()?;
            dirty = true;
        }
        if job_control.continued() {
            screen.resume()?;
            dirty = true;
        }
        for action in actions {
            dirty = true;
            let requested = update::update(&mut state, action);
            effects.apply(requested, &mut state, &mut screen)?;
        }
        effects.report_open_destination(&state);
        if dirty {
            match screen.draw(|frame| view::draw(frame, &state)) {
                Err(error) if terminal::is_gone(&error) => return Ok(()),
                drawn => drawn?,
            }
            dirty = false;
        }
        // Nobody is left to look. SIGHUP says so as well, unless it is ignored.
        if screen.wait_for_input(POLL)? == Input::Gone {
            return Ok(());
        }
        // All events that have arrived are handled before the next frame is drawn; a resize is none of the input.
        while !stop.raised() && event::poll(LOOK).context("look for keys")? {
            let event = event::read().context("read keys")?;
            let Some(action) = action::from_event(&event, &state) else {
                continue;
            };
            dirty = true;
            let requested = update::update(&mut state, action);
            if effects.apply(requested, &mut state, &mut screen)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Times the drawing of a model, for the subcommand `bench-model`.
pub mod bench {
    use std::time::{Duration, Instant};

    use ratatui::{Terminal, backend::TestBackend};

    use super::{Action, ModelState, Options, State, update::update, view};
    use crate::model::Model;

    /// The mean time of one frame on a screen of `size` columns and lines: takes a snapshot, works out the table and
    /// draws it, `frames` times.
    pub fn frame(model: &Model, size: (u16, u16), frames: u32) -> Duration {
        let mut state = State::new(&Options::default());
        update(&mut state, Action::Resize(size.0, size.1));
        let Ok(mut terminal) = Terminal::new(TestBackend::new(size.0, size.1));
        let start = Instant::now();
        for _ in 0..frames {
            let model_state = ModelState {
                snapshot: model.snapshot(),
                history: model.history(),
                status: Vec::new(),
            };
            update(&mut state, Action::Snapshot(Box::new(model_state)));
            let Ok(_) = terminal.draw(|frame| view::draw(frame, &state));
        }
        start.elapsed() / frames.max(1)
    }
}

#[cfg(test)]
mod tests;
