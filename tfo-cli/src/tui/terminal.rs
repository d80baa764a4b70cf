//! The terminal: set to raw mode and the alternate screen, and set back on every way out.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Stdout},
    mem::ManuallyDrop,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use crossterm::{
    clipboard::CopyToClipboard,
    cursor,
    event::{DisableMouseCapture, EnableMouseCapture},
    execute,
    terminal::{self as raw, EnterAlternateScreen, LeaveAlternateScreen},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, raise},
};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    layout::{Rect, Size},
};

use crate::output::stderr;

/// Whether the terminal is in the state of the dashboard.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen of the dashboard. Dropping it restores the terminal.
pub struct Screen {
    /// Never dropped: it would show the cursor, which [`restore`] does, and panic where neither that nor its complaint can be
    /// written, because the terminal has gone away.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    /// Where keys come from if not from stdin.
    tty: Option<File>,
}

/// What [`Screen::wait_for_input`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Something to read, or a signal, or nothing.
    There,
    /// The terminal has gone away: a connection that broke, a window that was closed.
    Gone,
}

impl Screen {
    /// Enters raw mode and the alternate screen. A panic from here on restores the terminal before its message is printed.
    pub fn enter() -> anyhow::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        take().inspect_err(|_| restore()).context("take the terminal")?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).context("take the terminal")?;
        let tty = if io::stdin().is_terminal() {
            None
        } else {
            Some(File::open("/dev/tty").context("open the terminal for keys (/dev/tty)")?)
        };
        Ok(Self {
            terminal: ManuallyDrop::new(terminal),
            tty,
        })
    }

    /// Size of the terminal, in columns and lines.
    pub fn size(&self) -> anyhow::Result<Size> {
        self.terminal.size().context("ask the terminal for its size")
    }

    /// Waits until there is something to read, at most this long. A signal ends it early.
    pub fn wait_for_input(&self, timeout: Duration) -> anyhow::Result<Input> {
        let stdin = io::stdin();
        let input = self.tty.as_ref().map_or(stdin.as_fd(), File::as_fd);
        let mut fds = [PollFd::new(input, PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for keys"),
        }
        let is_gone = fds[0]
            .revents()
            .is_some_and(|found| found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR));
        Ok(if is_gone { Input::Gone } else { Input::There })
    }

    /// Draws one frame.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        self.terminal.draw(draw).context("draw")?;
        Ok(())
    }

    /// Makes the next frame draw every cell, not only those that changed.
    pub fn clear(&mut self) -> anyhow::Result<()> {
        // Ratatui's `clear` asks the terminal where its cursor is, and a slow terminal does not answer in time.
        let size = self.size()?;
        let whole = Rect::new(0, 0, size.width, size.height);
        self.terminal.resize(whole).context("clear the screen")
    }
}

impl Screen {
    /// Restores the terminal, stops the process until it is continued (SIGCONT), and sets the terminal up again.
    pub fn suspend(&mut self) -> anyhow::Result<()> {
        restore();
        raise(Signal::SIGSTOP).context("stop")?;
        self.resume()
    }

    /// Sets the terminal up again: while the process was stopped, the shell has changed it.
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

/// Whether that is what a terminal says that has gone away.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let code = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    code == Some(libc::EIO)
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

/// Restores the terminal, once: leaving the alternate screen a second time would move the cursor onto the message of a
/// panic. Errors are ignored, because there is no place left to print them.
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

/// Ends raw mode without writing to the terminal: all that a dashboard can do whose terminal does not take output.
pub fn abandon() {
    let _ = raw::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_text_is_encoded_for_the_clipboard_and_controls_nothing() {
        let mut out = Vec::new();
        let text = "\x1b[2J 192.0.2.1:443\n";
        crossterm::queue!(out, CopyToClipboard::to_clipboard_from(text)).expect("memory takes it");
        assert_eq!(out, b"\x1b]52;c;G1sySiAxOTIuMC4yLjE6NDQzCg==\x1b\\");
    }
}
