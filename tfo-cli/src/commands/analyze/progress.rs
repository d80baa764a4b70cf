//! How far a long read has come, on stderr where that is a terminal: bytes, rate, time left.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::capture::input::Input;

/// Shorter reads show nothing.
const LONG: Duration = Duration::from_millis(500);

/// The bar; gone from the terminal when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    begun: Instant,
    /// Lines and bar go to the same screen.
    shares_terminal: bool,
}

impl Progress {
    /// A bar for this input; hidden where stderr is no terminal. Of a pipe nobody knows how much is to come.
    pub fn begin(input: &Input) -> Self {
        let bar = ProgressBar::with_draw_target(input.size, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template(match input.size {
            Some(_) => "{bytes} of {total_bytes} {bar:20} {bytes_per_sec}, {eta} left",
            None => "{bytes} read, {bytes_per_sec}",
        });
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            read: Arc::clone(&input.read),
            begun: Instant::now(),
            shares_terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes lines to a terminal the bar may be on.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.bar.is_hidden() || self.begun.elapsed() < LONG {
            return write();
        }
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        if self.shares_terminal {
            self.bar.suspend(write)
        } else {
            write()
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
