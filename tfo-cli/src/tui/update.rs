//! How an action changes the state, and which effects it has. No terminal and no other I/O is needed.

use std::net::IpAddr;

use ratatui::layout::Size;

use super::{
    ModelState,
    action::{Action, Edit, Format},
    command::Command,
    filter_line::FilterLine,
    policy::{self, Job},
    state::{Page, Popup, State, View},
    table::TableLine,
    view::{self, Hit},
};
use crate::model::SortKey;

/// Readings that the big steps through time go.
const BIG_STEP: isize = 60;
/// Host names remembered at most; beyond that, all are forgotten and looked up again.
const MAX_HOSTS: usize = 16_384;

/// What an action asks for beyond a change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End the dashboard.
    Quit,
    /// Draw every cell of the screen again.
    Redraw,
    /// Stop the program and give the terminal to the shell.
    Suspend,
    /// Set the totals of the model to zero.
    Clear,
    /// Put this text into the clipboard.
    Copy(String),
    /// Write the table of the view into a file.
    Export(Format),
    /// Write a report of the instant that is shown.
    Report,
    /// Look up the host names of these addresses.
    Resolve(Vec<IpAddr>),
    /// Give this job to the thread that changes the policy.
    Policy(Job),
}

/// Changes the state as the action says; returns what has to be done besides.
pub fn update(state: &mut State, action: Action) -> Vec<Effect> {
    let mut effects = match action {
        Action::Command(command) => {
            state.message = None;
            state.resize();
            apply(state, command)
        }
        Action::Edit(change) => edit(state, change),
        Action::Export(format) => {
            state.popup = None;
            vec![Effect::Export(format)]
        }
        Action::Confirm => confirm(state),
        Action::Form(key) => policy::fill(state, key),
        Action::Policy(answer) => {
            policy::answered(state, answer);
            Vec::new()
        }
        Action::Wheel(by) => step(state, by),
        Action::Click(x, y) => click(state, x, y),
        Action::Resize(width, height) => {
            state.size = Size::new(width, height);
            state.resize();
            Vec::new()
        }
        Action::Snapshot(model_state) => show(state, *model_state),
        Action::Resolved(ip, name) => {
            state.hosts.insert(ip, name);
            state.refresh();
            Vec::new()
        }
        Action::Message(text) => {
            state.message = Some(text);
            // The message may take more than one line from the table.
            state.resize();
            Vec::new()
        }
    };
    let unnamed = state.unnamed();
    if !unnamed.is_empty() {
        if state.hosts.len() > MAX_HOSTS {
            state.hosts.clear();
        }
        // An entry without a name keeps the address from being looked up twice.
        state.hosts.extend(unnamed.iter().map(|ip| (*ip, None)));
        effects.push(Effect::Resolve(unnamed));
    }
    effects
}

/// The user has answered the question of the popup with yes.
fn confirm(state: &mut State) -> Vec<Effect> {
    if state.popup.take() == Some(Popup::Plan) {
        return policy::confirm(state);
    }
    resume(state);
    vec![Effect::Clear]
}

fn apply(state: &mut State, command: Command) -> Vec<Effect> {
    match command {
        Command::Quit => return vec![Effect::Quit],
        Command::Close if state.popup.is_none() && state.page.is_none() => return vec![Effect::Quit],
        Command::Close => close(state),
        Command::Back => back(state),
        Command::Help => {
            state.popup = if state.popup.is_none() {
                Some(Popup::Help)
            } else {
                None
            };
            state.scroll = 0;
        }
        Command::Up => return step(state, -1),
        Command::Down => return step(state, 1),
        Command::PageUp => page(state, -1),
        Command::PageDown => page(state, 1),
        Command::Top => top(state),
        Command::Bottom => bottom(state),
        Command::Open => open(state),
        Command::NextView => go(state, state.view.step(1)),
        Command::PreviousView => go(state, state.view.step(View::ALL.len() - 1)),
        Command::Destinations => go(state, View::Destinations),
        Command::Services => {
            state.by_network = false;
            go(state, View::Services);
        }
        Command::Networks => by_network(state),
        Command::Flows => go(state, View::Flows),
        Command::Listeners => go(state, View::Listeners),
        Command::Host => go(state, View::Host),
        Command::Findings => go(state, View::Findings),
        Command::Filter => {
            state.page = None;
            state.editing = Some(state.filter.clone());
            state.resize();
        }
        Command::SortNext => {
            state.sort = state.sort.next();
            if state.sort == SortKey::Network && state.snapshot.networks.is_empty() {
                state.sort = state.sort.next();
            }
            state.refresh();
        }
        Command::SortReverse => {
            state.reverse = !state.reverse;
            state.refresh();
        }
        Command::Pause => {
            if state.is_paused() {
                resume(state);
            } else {
                state.present = Some(state.snapshot.clone());
            }
        }
        Command::Earlier => travel(state, 1),
        Command::Later => travel(state, -1),
        Command::MuchEarlier => travel(state, BIG_STEP),
        Command::MuchLater => travel(state, -BIG_STEP),
        Command::ResetView => {
            state.reset_view();
            state.refresh();
        }
        Command::ClearCounters => state.popup = Some(Popup::Clear),
        Command::Names => {
            state.names = !state.names;
            state.refresh();
        }
        Command::Copy => {
            return view::selected_text(state).map(Effect::Copy).into_iter().collect();
        }
        Command::Export => state.popup = Some(Popup::Export),
        Command::Report => return vec![Effect::Report],
        Command::AddRule | Command::ExpireRule | Command::RemoveRule => return policy::apply(state, command),
        Command::Redraw => return vec![Effect::Redraw],
        Command::Suspend => return vec![Effect::Suspend],
    }
    Vec::new()
}

fn show(state: &mut State, model_state: ModelState) -> Vec<Effect> {
    state.status = model_state.status;
    if !state.is_paused() {
        state.snapshot = model_state.snapshot;
        state.history = model_state.history;
        state.refresh();
    }
    Vec::new()
}

fn close(state: &mut State) {
    if state.popup.take().is_none() {
        state.page = None;
        state.refresh();
    }
    state.scroll = 0;
}

/// Closes one thing at a time: the popup, then the page, then the filter.
fn back(state: &mut State) {
    if state.popup.is_some() || state.page.is_some() {
        close(state);
    } else if !state.filter.text().is_empty() {
        state.filter = FilterLine::default();
        state.refresh();
    }
}

fn go(state: &mut State, view: View) {
    (state.view, state.page, state.scroll) = (view, None, 0);
    state.refresh();
}

/// To the sums by network, and from there back to those by service.
fn by_network(state: &mut State) {
    if state.snapshot.networks.is_empty() {
        state.message = Some("no file says what networks are called: tfo-cli top --networks FILE".to_owned());
        return state.resize();
    }
    state.by_network = state.view != View::Services || !state.by_network;
    go(state, View::Services);
}

/// Whether the arrows scroll text instead of moving the cursor.
fn scrolls(state: &State) -> bool {
    state.popup.is_some() || state.page.is_some() || state.view == View::Host
}

fn step(state: &mut State, by: isize) -> Vec<Effect> {
    if scrolls(state) {
        let by = i16::try_from(by).unwrap_or(0);
        state.scroll = state
            .scroll
            .saturating_add_signed(by)
            .min(view::max_scroll(state));
    } else {
        state.with_list(|list, key_at| list.step(by, key_at));
    }
    Vec::new()
}

fn page(state: &mut State, by: isize) {
    if scrolls(state) {
        step(state, by * 10);
    } else {
        state.with_list(|list, key_at| list.page(by, key_at));
    }
}

fn top(state: &mut State) {
    if scrolls(state) {
        state.scroll = 0;
    } else {
        state.with_list(|list, _| list.top());
    }
}

fn bottom(state: &mut State) {
    if scrolls(state) {
        state.scroll = view::max_scroll(state);
    } else {
        state.with_list(|list, key_at| list.go(usize::MAX, key_at));
    }
}

fn open(state: &mut State) {
    if state.page.is_some() {
        return;
    }
    match state.line() {
        Some(TableLine::Destination(index) | TableLine::OfService(index)) => {
            state.page = state
                .snapshot
                .rows
                .get(index as usize)
                .map(|row| Page::Destination(row.key));
        }
        Some(TableLine::Flow(index)) => {
            state.page = state.snapshot.flows.get(index as usize).copied().map(Page::Flow);
        }
        Some(TableLine::Finding(index)) => {
            let findings = &state.snapshot.diagnosis.findings;
            let found = findings.get(index as usize);
            state.page = found.map(|finding| Page::Finding(finding.id, finding.subject));
        }
        Some(TableLine::Service(index)) => {
            let group = state.table.services.get(index as usize);
            if let Some(group) = group.map(|service| service.group.clone())
                && !state.unfolded.remove(&group)
            {
                state.unfolded.insert(group);
            }
        }
        Some(TableLine::Process(..) | TableLine::Listener(_)) | None => return,
    }
    // From now on the cursor follows the row that was opened, even if it was the first one only by its place.
    state.with_list(|list, key_at| list.step(0, key_at));
    state.scroll = 0;
    state.refresh();
}

fn resume(state: &mut State) {
    if let Some(present) = state.present.take() {
        state.readings_back = 0;
        state.snapshot = present;
        state.refresh();
    }
}

/// While paused: shows the reading `by` readings further in the past, as far as the history reaches.
fn travel(state: &mut State, by: isize) {
    let Some(present) = &state.present else { return };
    let oldest = state.history.len().saturating_sub(1);
    let back = state.readings_back.saturating_add_signed(by).min(oldest);
    if back != state.readings_back {
        state.readings_back = back;
        state.snapshot = state.history.past(present, back);
        state.snapshot.diagnose();
        state.refresh();
    }
}

fn edit(state: &mut State, change: Edit) -> Vec<Effect> {
    match change {
        Edit::Accept => {
            // A wrong filter is not accepted: the error stays on the screen.
            if state.filter.accept() {
                state.editing = None;
            }
        }
        Edit::Cancel => {
            if let Some(before) = state.editing.take() {
                state.filter = before;
            }
        }
        change => state.filter.edit(change),
    }
    state.refresh();
    Vec::new()
}

fn click(state: &mut State, x: u16, y: u16) -> Vec<Effect> {
    if state.popup.take().is_some() {
        return Vec::new();
    }
    match view::hit(state, x, y) {
        Some(Hit::Tab(view)) => go(state, view),
        Some(Hit::Heading(sort)) if sort == state.sort => {
            state.reverse = !state.reverse;
            state.refresh();
        }
        Some(Hit::Heading(sort)) => {
            (state.sort, state.reverse) = (sort, false);
            state.refresh();
        }
        Some(Hit::Row(place)) if state.list().index() == Some(place) => open(state),
        Some(Hit::Row(place)) => state.with_list(|list, key_at| list.go(place, key_at)),
        None => {}
    }
    Vec::new()
}
