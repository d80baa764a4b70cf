//! A tool that comes and goes while a load runs.

use std::time::Duration;

use anyhow::Result;

use crate::bench::observer::{Observer, Tool};
use crate::bench::slices::Switched;
use crate::interrupt;

/// As starting it takes more than a second.
const SLICE: Duration = Duration::from_millis(600);
/// Detaching frees programs in the background.
const FREED: Duration = Duration::from_millis(300);

/// A tool, started anew each time it is attached: each time its programs have other places in memory.
pub struct Restarted {
    tool: Tool,
    running: Option<Observer>,
}

impl Restarted {
    /// Not running yet.
    pub const fn new(tool: Tool) -> Self {
        Self { tool, running: None }
    }
}

impl Switched for Restarted {
    fn set(&mut self, on: bool) -> Result<()> {
        match (self.running.take(), on) {
            (Some(observer), false) => {
                observer.stop()?;
                interrupt::sleep(FREED)?;
            }
            (None, true) => self.running = Some(Observer::start(self.tool)?),
            (as_it_is, _) => self.running = as_it_is,
        }
        Ok(())
    }

    fn slice(&self) -> Duration {
        SLICE
    }
}
