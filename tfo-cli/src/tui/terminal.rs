//! The terminal: taken on entry, given back on every way out.

use std::{
    io::{self, Stdout},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use crossterm::{
    clipboard::CopyToClipboard,
    cursor,
    event::{DisableMouseCapture, EnableMouseCapture},
    execute,
    terminal::{self as raw, EnterAlternateScreen, LeaveAlternateScreen},
};
use nix::sys::signal::{Signal, raise};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    layout::{Rect, Size},
};

use crate::output::stderr;

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen while it is ours.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal. A panic from here on gives it back before its message is printed.
    pub fn enter() -> anyhow::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        take().inspect_err(|_| restore()).context("take the terminal")?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).context("take the terminal")?;
        Ok(Self { terminal })
    }

    /// Columns and lines.
    pub fn size(&self) -> anyhow::Result<Size> {
        self.terminal.size().context("ask the terminal for its size")
    }

    /// Draws one frame.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        self.terminal.draw(draw).context("draw")?;
        Ok(())
    }

    /// Forgets what is on the screen: the next frame draws all of it.
    pub fn clear(&mut self) -> anyhow::Result<()> {
        // Not `clear`: that asks the terminal where its cursor is, and a slow one does not answer in time.
        let size = self.size()?;
        let whole = Rect::new(0, 0, size.width, size.height);
        self.terminal.resize(whole).context("clear the screen")
    }
}

impl Screen {
    /// Gives the terminal back, stops the process until somebody continues it, and takes it again.
    pub fn suspend(&mut self) -> anyhow::Result<()> {
        restore();
        raise(Signal::SIGSTOP).context("stop")?;
        self.resume()
    }

    /// Takes the terminal again: after a stop the shell has set it to its own liking.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        take().context("take the terminal again")?;
        self.clear()
    }
}

/// Puts text into the clipboard of the terminal, which may be on another host (OSC 52).
pub fn copy(text: &str) -> anyhow::Result<()> {
    execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text)).context("copy to the clipboard")
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn take() -> io::Result<()> {
    TAKEN.store(true, Ordering::Relaxed);
    stderr::hold_back();
    raw::enable_raw_mode()?;
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableMouseCapture,
        cursor::Hide
    )
}

/// Gives the terminal back, once: leaving the alternate screen again would move the cursor to where it was before
/// it, onto the message of a panic. There is nobody left to tell about an error.
fn restore() {
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = execute!(
        io::stdout(),
        DisableMouseCapture,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = raw::disable_raw_mode();
    stderr::let_go();
}

/// The last resort of a dashboard stuck in a write to a stopped terminal: only what needs no write.
pub fn abandon() {
    let _ = raw::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_for_the_clipboard_and_nothing_of_it_reaches_the_terminal_as_it_is() {
        let mut out = Vec::new();
        let text = "\x1b[2J 192.0.2.1:443\n";
        crossterm::queue!(out, CopyToClipboard::to_clipboard_from(text)).expect("memory takes it");
        assert_eq!(out, b"\x1b]52;c;G1sySiAxOTIuMC4yLjE6NDQzCg==\x1b\\");
    }
}
