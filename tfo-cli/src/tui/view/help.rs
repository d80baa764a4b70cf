//! The help: what the view shows, and every key that does something in it.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::popup::Dialog;
use crate::tui::{
    command::{COMMANDS, Command},
    state::{State, View},
};

/// Draws the help in the middle of the screen.
pub fn draw(state: &State, screen: Rect, buffer: &mut Buffer) {
    let dialog = Dialog {
        title: " Help ",
        lines: lines(state),
        width: 74,
        scroll: state.scroll,
    };
    dialog.draw(state, screen, buffer);
}

/// The lines of the help: what the view is about, then its keys.
pub fn lines(state: &State) -> Vec<Line<'static>> {
    let about: &[&str] = match state.view {
        View::Destinations => &[
            "One row per end, service, remote and port. VERDICT is the worst",
            "finding, or the outcome most attempts had; LOST what timeouts",
            "cost, SAVED what accepted data spared: one round trip each.",
        ],
        View::Services => &[
            "Destinations added up by systemd unit, container or cgroup.",
            "Enter unfolds peers and processes.",
        ],
        View::Flows => &[
            "Connections that used Fast Open, newest first. SYN is bytes",
            "acked of bytes sent. Enter shows the handshake.",
        ],
        View::Listeners => &[
            "Listening sockets. QUEUE is handshakes waiting of the limit;",
            "a limit of 0 is Fast Open off.",
        ],
        View::Findings => &[
            "What is wrong, worst first: FAIL makes connections slower or",
            "breaks them, WARN is Fast Open that does not do what it could.",
            "Enter shows evidence, cost, fix and how to take that back.",
        ],
        View::Host => &[
            "Settings, our counts against the kernel's, what was lost, what",
            "this host cannot do, and what watching it costs.",
        ],
    };
    let mut lines: Vec<Line<'static>> = about
        .iter()
        .map(|line| Line::from(*line).style(state.theme.dim))
        .collect();
    lines.push(Line::default());
    let shown = COMMANDS.iter().filter(|info| applies(state, info.command));
    lines.extend(shown.filter_map(|info| {
        let keys = state.keys.label(info.command);
        (!keys.is_empty()).then(|| {
            Line::from(vec![
                Span::styled(format!("{keys:<12} "), state.theme.accent),
                Span::raw(info.help),
            ])
        })
    }));
    lines
}

/// Whether a command does something in this view.
fn applies(state: &State, command: Command) -> bool {
    match command {
        Command::SortNext => matches!(state.view, View::Destinations | View::Services),
        Command::Networks => !state.snapshot.networks.is_empty(),
        Command::SortReverse | Command::Filter | Command::Export => state.view != View::Host,
        Command::Open | Command::AddRule | Command::ExpireRule | Command::RemoveRule => {
            matches!(
                state.view,
                View::Destinations | View::Services | View::Flows | View::Findings
            )
        }
        _ => true,
    }
}
