//! `tfo-cli listeners set`: asks, changes one socket after the other, reads back, and says how to undo it.

use std::io::{self, IsTerminal as _};

use crate::{
    args::SetQueue,
    exit::{self, Failure},
    inspect::listeners::{Listener, selector::undo},
    kernel::listening_socket::ListeningSocket,
    output::{self, listeners_text},
};

/// What became of one socket.
#[derive(Debug)]
struct Changed {
    inode: u64,
    old: u32,
    new: u32,
}

/// Changes what the selector means.
pub fn run(wanted: &SetQueue, netns: Option<&str>, all: &[Listener]) -> Result<u8, Failure> {
    let selected = wanted.selector.select(all, &wanted.only);
    if selected.is_empty() {
        let message = format!("{}: no socket listens there", wanted.selector);
        return Err(
            Failure::new(exit::FAILED, message).hint("see `tfo-cli listeners` for addresses as bound")
        );
    }
    if !wanted.yes {
        ask(wanted, &selected)?;
    }
    let (mut changed, mut failed) = (Vec::new(), Vec::new());
    for listener in &selected {
        match change(listener, wanted.length) {
            Ok((old, new)) => {
                output::print(&listeners_text::changed(listener, old, new, wanted.length))?;
                changed.push(Changed {
                    inode: listener.inode,
                    old,
                    new,
                });
            }
            Err(error) => failed.push((*listener, error)),
        }
    }
    let old: Vec<(u64, u32)> = changed
        .iter()
        .filter(|one| one.old != one.new)
        .map(|one| (one.inode, one.old))
        .collect();
    // A group of which a part failed, or had the length already, is undone by its sockets.
    let only = if old.len() == selected.len() {
        wanted.only.clone()
    } else {
        old.iter().map(|(inode, _)| *inode).collect()
    };
    for command in undo(&wanted.selector, netns, &only, &old) {
        output::print(&format!("undo: {command}\n"))?;
    }
    report(&failed, changed.len())
}

/// Old length, and the one the kernel made of the new one.
fn change(listener: &Listener, length: u32) -> io::Result<(u32, u32)> {
    let socket = ListeningSocket::open(listener.inode, &listener.holders)?;
    let old = socket.queue()?;
    socket.set_queue(length)?;
    Ok((old, socket.queue()?))
}

/// Shows what would be changed and waits for a yes.
fn ask(wanted: &SetQueue, selected: &[&Listener]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let message = format!("listeners set {}: nobody is there to be asked", wanted.selector);
        return Err(Failure::new(exit::USAGE, message).hint("add --yes to change it without asking"));
    }
    output::print(&listeners_text::plan(selected, wanted.length))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(exit::FAILED, "nothing was changed"))
}

/// Names the sockets that stayed as they were.
fn report(failed: &[(&Listener, io::Error)], changed: usize) -> Result<u8, Failure> {
    let Some((_, first)) = failed.first() else {
        return Ok(exit::DONE);
    };
    let names: Vec<String> = failed
        .iter()
        .map(|(listener, error)| format!("{}: {error}", listeners_text::socket(listener)))
        .collect();
    let of_all = format!(
        "{} of {} sockets not changed",
        failed.len(),
        failed.len() + changed
    );
    let is_refused = matches!(first.raw_os_error(), Some(libc::EPERM | libc::EACCES))
        || failed.iter().all(|(one, _)| one.holders.is_empty());
    let code = if changed == 0 && is_refused {
        exit::MISSING
    } else {
        exit::FAILED
    };
    let failure = Failure::new(code, format!("{of_all}: {}", names.join("; ")));
    Err(match first.raw_os_error() {
        Some(libc::EOPNOTSUPP) => {
            failure.hint("this kernel has no Fast Open queue for such a socket: MPTCP before Linux 6.2")
        }
        _ if is_refused => {
            failure.hint("sockets of others need CAP_SYS_PTRACE: sudo tfo-cli listeners set ...")
        }
        _ => failure,
    })
}
