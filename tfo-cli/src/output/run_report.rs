//! What there is to say about a command that has ended: the same for every format.

use std::{ffi::OsString, time::Duration};

use tfo_common::Role;

use crate::model::Snapshot;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exit(u8),
    /// By this signal.
    Signal(i32),
}

/// All of it.
#[derive(Debug)]
pub struct RunReport<'a> {
    /// Program and arguments.
    pub command: &'a [OsString],
    /// How it ended.
    pub ended: Ended,
    /// From its start to its end.
    pub elapsed: Duration,
    /// Processes it left behind.
    pub left_behind: usize,
    /// Why something may be missing.
    pub trouble: Option<String>,
    /// What was counted and found.
    pub snapshot: &'a Snapshot,
}

/// What one end of its connections added up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Connections.
    pub connections: u64,
    /// SYN payload bytes sent or received.
    pub syn_bytes: u64,
    /// Those of them that were accepted.
    pub syn_bytes_accepted: u64,
    /// Time saved, us.
    pub saved_us: u64,
    /// Time lost, us.
    pub lost_us: u64,
}

impl RunReport<'_> {
    /// The sums of one end.
    pub fn sums(&self, role: Role) -> Sums {
        let zero = Sums {
            connections: self.snapshot.total(role, |_| true),
            ..Sums::default()
        };
        let rows = self.snapshot.rows.iter().filter(|row| row.role() == role);
        rows.fold(zero, |sums, row| Sums {
            connections: sums.connections,
            syn_bytes: sums.syn_bytes.saturating_add(row.syn_bytes),
            syn_bytes_accepted: sums.syn_bytes_accepted.saturating_add(row.syn_bytes_acked),
            saved_us: sums.saved_us.saturating_add(row.saved_us),
            lost_us: sums.lost_us.saturating_add(row.lost_us),
        })
    }

    /// The command as one line, for people.
    pub fn command_line(&self) -> String {
        let words = self.command.iter().map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }
}
