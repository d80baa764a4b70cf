//! The form of a rule: its lines, what can be chosen in each, and the request that comes out.

use std::time::Duration;

use tfo_common::PolicyAction;

use crate::policy::{
    Request,
    request::{Operation, Target},
};

/// Times a rule may live.
const TIMES: [(&str, Option<Duration>); 4] = [
    ("10m", Some(Duration::from_mins(10))),
    ("1h", Some(Duration::from_hours(1))),
    ("1d", Some(Duration::from_hours(24))),
    ("until removed", None),
];
/// A line of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The action.
    Action,
    /// One port or all.
    Port,
    /// The time to live.
    Time,
}

/// A rule to be made, or the end of one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The service and the destination.
    pub target: Target,
    /// Whether a rule is to be added; if not, the one that decides is to end.
    pub adds: bool,
    /// The line that keys change.
    pub field: Field,
    /// Place in [`PolicyAction::ALL`].
    pub action: usize,
    /// 0: this port, 1: all.
    pub port: usize,
    /// Place in [`TIMES`].
    pub time: usize,
}

impl Form {
    /// An hour by default: a rule made in a hurry must not outlive the memory of it. Where the path still eats SYN
    /// data then, the dashboard shows it again.
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

    /// The shortest time by default.
    pub fn expire(target: Target) -> Self {
        Self {
            adds: false,
            field: Field::Time,
            time: 0,
            ..Self::add(target)
        }
    }

    /// The lines of this form.
    pub fn fields(&self) -> &'static [Field] {
        if self.adds {
            &[Field::Action, Field::Port, Field::Time]
        } else {
            &[Field::Time]
        }
    }

    /// The choices in a line, and the index of the chosen one.
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

    /// Moves to another line.
    pub fn go(&mut self, by: isize) {
        let fields = self.fields();
        let here = fields.iter().position(|field| *field == self.field).unwrap_or(0);
        self.field = fields[step(here, by, fields.len())];
    }

    /// Moves to another choice in this line.
    pub fn choose(&mut self, by: isize) {
        let count = self.choices(self.field).0.len();
        let chosen = match self.field {
            Field::Action => &mut self.action,
            Field::Port => &mut self.port,
            Field::Time => &mut self.time,
        };
        *chosen = step(*chosen, by, count);
    }

    /// The operation that the form describes.
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

/// Moves an index within its bounds.
fn step(here: usize, by: isize, places: usize) -> usize {
    here.saturating_add_signed(by).min(places.saturating_sub(1))
}

/// A key in the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormKey {
    /// Moves to another line.
    Go(isize),
    /// Moves to another choice in this line.
    Choose(isize),
    /// The form is complete.
    Done,
}
