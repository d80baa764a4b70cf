//! The end of `analyze`: what the capture had, what came of it, and what could not be known.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use tfo_common::{Outcome, Role};

use super::{json, names::ByRole, number, snapshot_json::SumOf, time};
use crate::{
    capture::{Counts, Unknown},
    model::source::Totals,
};

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct JudgedSummary {
    /// Ends of connections judged, whether they passed the filters or not.
    pub events: u64,
    /// Lines printed.
    pub printed: u64,
    /// By role and outcome.
    pub totals: Totals,
    /// What the capture had.
    pub counts: Counts,
    /// How files ended, where not at the end of a packet: the file, and after how many packets why.
    pub endings: Vec<(String, String)>,
    /// One of them was damaged, not only cut.
    pub damaged: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    r#type: &'static str,
    events: u64,
    printed: u64,
    totals: ByRole<'a>,
    unknown: ByUnknown<'a>,
    capture: CaptureCounts,
    endings: &'a [(String, String)],
    /// Destinations by network (`--networks`).
    networks: Vec<SumOf>,
}

#[derive(Serialize)]
struct CaptureCounts {
    first: Option<String>,
    last: Option<String>,
    packets: u64,
    wire_bytes: u64,
    segments: u64,
    tunnelled: u64,
    duplicates: u64,
    other: u64,
    fragments: u64,
    cut: u64,
    malformed: u64,
    foreign_link: u64,
    connections: u64,
    not_local: u64,
    plain_unanswered: u64,
}

/// `{"snaplen": 0, ...}`; every reason.
struct ByUnknown<'a>(&'a Counts);

impl Serialize for ByUnknown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reasons = Unknown::ALL.iter();
        serializer.collect_map(reasons.map(|reason| (reason.name(), self.0.unknown[*reason as usize])))
    }
}

impl JudgedSummary {
    /// Whether connections are missing that should be there.
    pub fn is_incomplete(&self) -> bool {
        self.damaged || self.counts.unknown[Unknown::TableFull as usize] > 0
    }

    /// The last line of `--format json`, with the destinations of each network added up.
    pub fn write_json(&self, networks: Vec<SumOf>, out: &mut dyn Write) -> io::Result<()> {
        let counts = &self.counts;
        let record = Record {
            schema: json::SCHEMA,
            r#type: "summary",
            events: self.events,
            printed: self.printed,
            totals: ByRole(&self.totals),
            unknown: ByUnknown(counts),
            capture: CaptureCounts {
                first: counts.first_ns.map(|ns| time::rfc3339(ns.into())),
                last: counts.first_ns.map(|_| time::rfc3339(counts.last_ns.into())),
                packets: counts.packets,
                wire_bytes: counts.wire_bytes,
                segments: counts.segments,
                tunnelled: counts.tunnelled,
                duplicates: counts.duplicates,
                other: counts.other,
                fragments: counts.fragments,
                cut: counts.cut,
                malformed: counts.malformed,
                foreign_link: counts.foreign_link,
                connections: counts.connections,
                not_local: counts.not_local,
                plain_unanswered: counts.plain_unanswered,
            },
            endings: &self.endings,
            networks,
        };
        json::write_line(&record, out)
    }

    /// For people: one fact a line.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let counts = &self.counts;
        if let Some(first) = counts.first_ns {
            writeln!(
                out,
                "{} packets, {} to {}",
                counts.packets,
                time::rfc3339(first.into()),
                time::rfc3339(counts.last_ns.into())
            )?;
        } else {
            writeln!(out, "no packets")?;
        }
        writeln!(
            out,
            "{} TCP connections; {} ends judged, {} printed",
            counts.connections, self.events, self.printed
        )?;
        for role in Role::ALL {
            let each: Vec<String> = Outcome::ALL
                .into_iter()
                .map(|outcome| (outcome, self.totals[role as usize][outcome as usize]))
                .filter(|(_, count)| *count > 0)
                .map(|(outcome, count)| format!("{} {count}", outcome.name()))
                .collect();
            if !each.is_empty() {
                writeln!(out, "{}: {}", role.name(), each.join(", "))?;
            }
        }
        for reason in Unknown::ALL {
            match counts.unknown[*reason as usize] {
                0 => {}
                count => writeln!(
                    out,
                    "not known: {count} {} ({})",
                    reason.name(),
                    reason.describe()
                )?,
            }
        }
        for (count, what) in [
            (counts.not_local, "connections with neither end in --local"),
            (
                counts.plain_unanswered,
                "connections without Fast Open that were never established",
            ),
            (counts.duplicates, "segments seen twice, counted once"),
            (counts.tunnelled, "segments out of a tunnel"),
            (counts.fragments, "fragments not looked at"),
            (counts.cut, "packets cut inside their headers"),
            (counts.malformed, "packets with impossible headers"),
        ] {
            if count > 0 {
                writeln!(out, "{count} {what}")?;
            }
        }
        if counts.foreign_link > 0 {
            let number = counts.foreign_link_number.unwrap_or_default();
            writeln!(
                out,
                "{} packets of a link layer this program does not know (LINKTYPE {number})",
                counts.foreign_link
            )?;
        }
        Ok(())
    }

    /// One line for a person.
    pub fn line(&self) -> String {
        format!(
            "{} lines printed of {} judged; {} packets, {}",
            self.printed,
            self.events,
            self.counts.packets,
            number::bytes(self.counts.wire_bytes)
        )
    }
}
