//! Errors and remarks on stderr, one write each. While the dashboard owns the terminal, and stderr is that terminal,
//! they wait until it is given back: nothing is lost, and nothing is written across the screen.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::{Mutex, PoisonError},
};

use crate::clean::clean_lines;

/// Lines that wait; `None` while nobody owns the terminal.
static WAITING: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Writes an error or a remark to stderr, as one write.
pub fn complain(what: &dyn fmt::Display) -> io::Result<()> {
    // Messages quote what users and other programs chose.
    let line = format!("{}\n", clean_lines(&what.to_string()));
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lines) = &mut *waiting {
        lines.push(line);
        return Ok(());
    }
    // Whoever takes or gives back the terminal must not wait for a reader of stderr.
    drop(waiting);
    write(&line)
}

#[cfg(not(test))]
fn write(line: &str) -> io::Result<()> {
    use std::io::Write as _;

    io::stderr().lock().write_all(line.as_bytes())
}

#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "as above")]
/// The harness shows it where a test fails, and only there.
fn write(line: &str) -> io::Result<()> {
    eprint!("{line}");
    Ok(())
}

/// Holds everything back from now on, where it would go to a terminal.
pub fn hold_back() {
    if io::stderr().is_terminal() {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get_or_insert_default();
    }
}

/// Writes what was held back, and whatever comes from now on at once.
pub fn let_go() {
    let lines = WAITING.lock().unwrap_or_else(PoisonError::into_inner).take();
    for line in lines.into_iter().flatten() {
        // Nobody is left to tell about an error.
        let _ = write(&line);
    }
}
