//! One line of `trace`, and [`TraceWriter`], which each format implements.

use std::io::{self, Write};

use tfo_common::{Loss, Outcome, Role, counters::Stat, flags::Shed};

use crate::{
    fingerprint::Fingerprint,
    model::{
        Flow, Snapshot,
        diagnosis::Finding,
        snapshot,
        source::{CgroupName, Totals},
    },
};

/// One flow, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct FlowLine<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// Where its cgroup leads.
    pub cgroup: Option<&'a CgroupName>,
    /// What the network of the other end is called.
    pub network: Option<&'a str>,
    /// Salted hash of the cookie that the kernel keeps for the pair of addresses, where it was asked.
    pub cookie: Option<Fingerprint>,
    /// ns of wall clock minus the kernel's clock.
    pub wall_offset_ns: i64,
}

impl FlowLine<'_> {
    /// Wall clock of the verdict, ns since 1970.
    pub fn wall_ns(&self) -> i128 {
        i128::from(self.flow.event().end_ns) + i128::from(self.wall_offset_ns)
    }
}

/// The end of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Flow records that arrived, whether they passed the filters or not.
    pub events: u64,
    /// Flows printed.
    pub printed: u64,
    /// Flows the filter could not judge: it asks for the name of a cgroup that nobody can tell.
    pub unjudged: u64,
    /// What did not arrive, by reason.
    pub losses: [u64; Loss::COUNT],
    /// Handshakes the kernel side counted, by role and outcome.
    pub totals: Totals,
    /// Bookkeeping of the BPF programs, where there are any.
    pub stats: Option<[u64; Stat::COUNT]>,
    /// The most that was given up to keep within `--max-overhead`.
    pub shed: Shed,
    /// How many findings there are of what severity, where they were asked for.
    pub found: Option<String>,
}

impl Summary {
    /// One line for a person.
    pub fn line(&self) -> String {
        let counts: Vec<String> = Role::ALL
            .into_iter()
            .flat_map(|role| Outcome::ALL.into_iter().map(move |outcome| (role, outcome)))
            .filter(|(role, outcome)| self.totals[*role as usize][*outcome as usize] > 0)
            .map(|(role, outcome)| {
                format!(
                    "{} {} {}",
                    role.name(),
                    outcome.name(),
                    self.totals[role as usize][outcome as usize]
                )
            })
            .collect();
        let counted = if counts.is_empty() {
            "no handshake".to_owned()
        } else {
            counts.join(", ")
        };
        format!(
            "{} flows printed of {} seen; counted: {counted}",
            self.printed, self.events
        )
    }

    /// What the filter could not judge; `None` when it could judge every flow.
    pub fn unjudged_line(&self) -> Option<String> {
        (self.unjudged > 0).then(|| {
            format!(
                "{} flows could not be judged by the filter: their cgroup was gone before its name was known",
                self.unjudged
            )
        })
    }

    /// The most that was given up on the way; `None` when nothing was.
    pub fn shed_line(&self) -> Option<String> {
        let (name, what) = (self.shed.name(), self.shed.describe());
        (self.shed != Shed::Nothing)
            .then(|| format!("given up at times to keep within --max-overhead: {name} ({what})"))
    }

    /// What was lost, by reason; `None` when nothing was.
    pub fn lost_line(&self) -> Option<String> {
        let reasons: Vec<String> = snapshot::losses_by_reason(&self.losses)
            .map(|(loss, count)| format!("{count} {} ({})", loss.name(), loss.describe()))
            .collect();
        (!reasons.is_empty()).then(|| format!("incomplete: {}", reasons.join("; ")))
    }
}

/// A format of `trace`.
pub trait TraceWriter {
    /// Written before the first flow.
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;
    /// One flow.
    fn flow(&mut self, line: &FlowLine<'_>, out: &mut dyn Write) -> io::Result<()>;
    /// What was found, where that was asked for. Formats that have no place for it write nothing.
    fn findings(&mut self, found: &[&Finding], snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()>;
    /// The end. Formats that have no place for it in their data write nothing: stderr has it too.
    fn end(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()>;
}
