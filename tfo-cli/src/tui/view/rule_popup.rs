//! The boxes about rules: the form, and the plan that the user has to confirm.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use tfo_common::PolicyAction;

use super::{in_force, popup::Dialog};
use crate::{
    output::{clean, policy_text},
    tui::{
        policy::{self, Field, Form, RuleInForce},
        state::State,
    },
};

/// Columns of the boxes, borders included.
const WIDTH: u16 = 78;
/// Columns that borders and padding take.
const FRAME: u16 = 4;

/// Draws the form of a rule.
pub fn form(state: &State, form: &Form, screen: Rect, buffer: &mut Buffer) {
    let theme = state.theme;
    let target = &form.target;
    let service = match state.snapshot.names.get(target.cgroup_id) {
        Some(name) => clean(&name.path),
        None => format!("cgroup {}", target.cgroup_id),
    };
    let (title, about) = if form.adds {
        (" Add a rule ", format!("{service} to {}", target.remote))
    } else {
        (
            " End of the rule in force ",
            format!("decides on {service} to {} port {}", target.remote, target.port),
        )
    };
    let mut lines = super::wrapped(&about, room(screen));
    match policy::rule_in_force(state, target) {
        RuleInForce::Rule(rule) if !form.adds => {
            lines.extend(super::wrapped(&in_force::ending(state, rule), room(screen)));
        }
        _ => {}
    }
    lines.push(Line::default());
    lines.extend(form.fields().iter().map(|field| {
        let is_here = *field == form.field;
        let label = match (field, form.adds) {
            (Field::Action, _) => "action",
            (Field::Port, _) => "port",
            (Field::Time, true) => "for",
            (Field::Time, false) => "ends in",
        };
        let mut spans = vec![Span::styled(
            format!("{} {label:<8}", if is_here { '>' } else { ' ' }),
            if is_here { theme.accent } else { theme.dim },
        )];
        let (choices, chosen) = form.choices(*field);
        spans.extend(choices.into_iter().enumerate().map(|(place, choice)| {
            if place == chosen {
                let style = if is_here { theme.cursor } else { theme.strong };
                Span::styled(format!("[{choice}]"), style)
            } else {
                Span::raw(format!(" {choice} "))
            }
        }));
        Line::from(spans)
    }));
    lines.push(Line::default());
    if form.adds {
        lines.push(Line::styled(PolicyAction::ALL[form.action].describe(), theme.dim));
        lines.push(Line::default());
    }
    let keys = if form.fields().len() > 1 {
        "Enter show the plan   Up Down line   Left Right choice   Esc cancel"
    } else {
        "Enter show the plan   Left Right choice   Esc cancel"
    };
    lines.push(Line::styled(keys, theme.strong));
    dialog(title, lines).draw(state, screen, buffer);
}

/// Draws the note that a plan is being worked out, which takes time only while another command holds the lock.
pub fn planning(state: &State, screen: Rect, buffer: &mut Buffer) {
    let lines = vec![
        "Looking at the policy ...".into(),
        Line::default(),
        Line::styled("Esc cancel", state.theme.strong),
    ];
    dialog(" Plan ", lines).draw(state, screen, buffer);
}

/// Draws the plan and the question whether to make its changes.
pub fn plan(state: &State, screen: Rect, buffer: &mut Buffer) {
    let dialog = Dialog {
        scroll: state.scroll,
        ..dialog(" Change the policy? ", plan_lines(state))
    };
    dialog.draw(state, screen, buffer);
}

fn dialog(title: &'static str, lines: Vec<Line<'static>>) -> Dialog {
    Dialog {
        title,
        lines,
        width: WIDTH,
        scroll: 0,
    }
}

/// The plan as `policy plan` prints it, and the question.
pub fn plan_lines(state: &State) -> Vec<Line<'static>> {
    let text = state
        .policy_dialog
        .plan
        .as_ref()
        .map(policy_text::plan)
        .unwrap_or_default();
    let room = room(Rect::from((Position::ORIGIN, state.size)));
    let mut lines: Vec<Line<'static>> = text.lines().flat_map(|line| super::wrapped(line, room)).collect();
    lines.push(Line::default());
    lines.push(Line::styled("y do it      any other key  no", state.theme.strong));
    lines
}

/// Columns that the text of a box has.
fn room(screen: Rect) -> u16 {
    WIDTH.min(screen.width).saturating_sub(FRAME)
}
