//! The terminal: taken on entry, given back on every way out.

use std::io::{self, Stdout};

use anyhow::Context as _;
use crossterm::{
    cursor, execute,
    terminal::{self as raw, EnterAlternateScreen, LeaveAlternateScreen},
};
use ratatui::{Frame, Terminal, backend::CrosstermBackend, layout::Size};

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
        self.terminal.clear().context("clear the screen")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn take() -> io::Result<()> {
    raw::enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
}

/// Gives the terminal back; harmless when it is not ours. There is nobody left to tell about an error.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = raw::disable_raw_mode();
}

/// The last resort of a dashboard stuck in a write to a stopped terminal: only what needs no write.
pub fn abandon() {
    let _ = raw::disable_raw_mode();
}
