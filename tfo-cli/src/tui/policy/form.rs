//! The form in which the user describes a new rule, or the end of one: its lines, the choices of each, and the request
//! that they make.

use std::time::Duration;

use tfo_common::PolicyAction;

use crate::policy::{
    Request,
    request::{Operation, Target},
};

/// Choices for the time that a rule lives, with their labels; `None` is no end.
const TIMES: [(&str, Option<Duration>); 4] = [
    ("10m", Some(Duration::from_mins(10))),
    ("1h", Some(Duration::from_hours(1))),
    ("1d", Some(Duration::from_hours(24))),
    ("until removed", None),
];

/// A line of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// What the rule does.
    Action,
    /// The port of the destination, or all ports.
    Port,
    /// How long the rule lives from now on.
    Time,
}

/// A form and what is chosen in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The service and the destination that the rule is about.
    pub target: Target,
    /// Whether a rule is added; otherwise the one in force is given an end.
    pub adds: bool,
    /// The line that the keys act on.
    pub field: Field,
    /// Index of the chosen action in [`PolicyAction::ALL`].
    pub action: usize,
    /// Index of the chosen port: 0 is the port of the target, 1 is all ports.
    pub port: usize,
    /// Index of the chosen time in [`TIMES`].
    pub time: usize,
}

impl Form {
    /// The form of a new rule. It lives an hour by default: a rule made in a hurry must not outlive the memory of it. A
    /// path that still drops SYN data then shows up again.
    pub fn add(target: Target) -> Self {
        Self {
            target,
            adds: true,
            field: Field::Action,
            action: 0,
            port: 0,
            time: 1,
        }
    }

    /// The form that gives the rule in force an end: the shortest time by default.
    pub fn expire(target: Target) -> Self {
        Self {
            adds: false,
            field: Field::Time,
            time: 0,
            ..Self::add(target)
        }
    }

    /// The lines of this form, from top to bottom.
    pub fn fields(&self) -> &'static [Field] {
        if self.adds {
            &[Field::Action, Field::Port, Field::Time]
        } else {
            &[Field::Time]
        }
    }

    /// The labels of the choices in a line, and the index of the chosen one.
    pub fn choices(&self, field: Field) -> (Vec<String>, usize) {
        match field {
            Field::Action => (
                PolicyAction::ALL.map(|action| action.name().to_owned()).to_vec(),
                self.action,
            ),
            Field::Port => (vec![self.target.port.to_string(), "all".to_owned()], self.port),
            Field::Time => (TIMES.map(|(name, _)| name.to_owned()).to_vec(), self.time),
        }
    }

    /// Moves by this many lines, negative upwards; stays within the form.
    pub fn go(&mut self, by: isize) {
        let fields = self.fields();
        let here = fields.iter().position(|field| *field == self.field).unwrap_or(0);
        self.field = fields[step(here, by, fields.len())];
    }

    /// Moves by this many choices in the line, negative to the left; stays within the line.
    pub fn choose(&mut self, by: isize) {
        let count = self.choices(self.field).0.len();
        let chosen = match self.field {
            Field::Action => &mut self.action,
            Field::Port => &mut self.port,
            Field::Time => &mut self.time,
        };
        *chosen = step(*chosen, by, count);
    }

    /// The request that the form describes.
    pub fn request(&self) -> Request {
        let ttl = TIMES[self.time].1;
        let operation = if self.adds {
            Operation::Add {
                action: PolicyAction::ALL[self.action],
                all_ports: self.port == 1,
                ttl,
            }
        } else {
            Operation::Expire(ttl)
        };
        Request {
            target: self.target,
            operation,
        }
    }
}

/// Moves an index by `by`, within a list of `len` elements.
fn step(index: usize, by: isize, len: usize) -> usize {
    index.saturating_add_signed(by).min(len.saturating_sub(1))
}

/// What a key does in the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormKey {
    /// Moves by this many lines.
    Go(isize),
    /// Moves by this many choices in the line.
    Choose(isize),
    /// Completes the form: the plan of its request is shown next.
    Done,
}
