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
/// What a form asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Which action.
    Action,
    /// This port, or all.
    Port,
    /// How long.
    Time,
}

/// A rule to be made, or the end of one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// About what.
    pub target: Target,
    /// Whether a rule is to be added; if not, the one that decides is to end.
    pub adds: bool,
    /// Which line the keys change.
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

    /// The soonest by default: whoever wants a rule to go on can choose so.
    pub fn expire(target: Target) -> Self {
        Self {
            adds: false,
            field: Field::Time,
            time: 0,
            ..Self::add(target)
        }
    }

    /// Lines it has.
    pub fn fields(&self) -> &'static [Field] {
        if self.adds {
            &[Field::Action, Field::Port, Field::Time]
        } else {
            &[Field::Time]
        }
    }

    /// What can be chosen in a line, and what is.
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

    /// Another line.
    pub fn go(&mut self, by: isize) {
        let fields = self.fields();
        let here = fields.iter().position(|field| *field == self.field).unwrap_or(0);
        self.field = fields[step(here, by, fields.len())];
    }

    /// Another choice in this line.
    pub fn choose(&mut self, by: isize) {
        let count = self.choices(self.field).0.len();
        let chosen = match self.field {
            Field::Action => &mut self.action,
            Field::Port => &mut self.port,
            Field::Time => &mut self.time,
        };
        *chosen = step(*chosen, by, count);
    }

    /// What it asks for.
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

/// As far as there are places.
fn step(here: usize, by: isize, places: usize) -> usize {
    here.saturating_add_signed(by).min(places.saturating_sub(1))
}

/// A key in the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormKey {
    /// Another line.
    Go(isize),
    /// Another choice in this line.
    Choose(isize),
    /// It is filled in.
    Done,
}
