//! Action in, new state and effects out. Nothing here touches the terminal.

use super::{
    action::Action,
    state::{Popup, State},
};

/// Something the state cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Leave.
    Quit,
    /// Draw the whole screen anew.
    Redraw,
}

/// Applies an action.
pub fn update(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Quit => return vec![Effect::Quit],
        Action::Close if state.popup.is_none() => return vec![Effect::Quit],
        Action::Close | Action::Back => state.popup = None,
        Action::Help => {
            state.popup = if state.popup.is_none() {
                Some(Popup::Help)
            } else {
                None
            }
        }
        Action::Step(by) => moved(state, |list, key_at| list.step(by, key_at)),
        Action::Page(by) => moved(state, |list, key_at| list.page(by, key_at)),
        Action::Bottom => moved(state, |list, key_at| list.go(usize::MAX, key_at)),
        Action::Top => state.list.top(),
        Action::SortNext => {
            state.sort = state.sort.next();
            state.refresh();
        }
        Action::SortReverse => {
            state.reverse = !state.reverse;
            state.refresh();
        }
        Action::Pause => state.paused = !state.paused,
        Action::Redraw => return vec![Effect::Redraw],
        Action::Resize(width, height) => {
            state.size = (width, height);
            state.resize();
        }
        Action::Snapshot(snapshot) => {
            if !state.paused {
                state.snapshot = *snapshot;
                state.refresh();
            }
        }
    }
    Vec::new()
}

type KeyAt<'a> = &'a dyn Fn(usize) -> Option<tfo_common::DestKey>;

fn moved(state: &mut State, apply: impl FnOnce(&mut super::list::List<tfo_common::DestKey>, KeyAt<'_>)) {
    let mut list = std::mem::take(&mut state.list);
    apply(&mut list, &|place| state.row(place).map(|row| row.key));
    state.list = list;
}
