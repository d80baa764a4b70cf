//! Columns of the destination table: one definition for the dashboard, the text table and every export.

use tfo_common::{Outcome, outcome::Group};

use crate::model::{DestRow, Snapshot, SortKey, diagnosis::Severity};

use super::{clean, number};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Container, unit or cgroup.
    Service,
    /// Which end this host is.
    Role,
    /// The other end, or the block it lies in.
    Remote,
    /// Port of the service.
    Port,
    /// The worst finding, else the outcome most attempts had.
    Verdict,
    /// Handshakes with Fast Open.
    Attempts,
    /// Accepted of the attempts.
    Hit,
    /// Attempts that did not work.
    Failures,
    /// SYNs or answers that were lost.
    Timeouts,
    /// The other end answered and did not take the data.
    Refused,
    /// RSTs and handshakes that never completed.
    Broken,
    /// Data that something on this host other than a policy kept from leaving.
    Held,
    /// Data that a policy kept from leaving.
    Denied,
    /// SYN-ACKs that brought a cookie: a new one each time is a key mismatch.
    Cookies,
    /// SYN payload bytes.
    Syn,
    /// Round-trip time.
    Rtt,
    /// Time saved.
    Saved,
    /// Time lost.
    Lost,
    /// Saved minus lost.
    Net,
    /// Attempts per interval.
    Trend,
    /// Handshakes without Fast Open.
    Plain,
    /// What the network of the other end is called.
    Network,
}

/// What a column is called, and how it stands in a table.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSpec {
    /// The column.
    pub column: Column,
    /// Name in `--columns` and in exports.
    pub name: &'static str,
    /// Heading.
    pub title: &'static str,
    /// Narrowest width it is shown at.
    pub width: u16,
    /// Numbers are aligned to the right.
    pub right: bool,
    /// Columns with high numbers are hidden first when room runs out; those with 0 never.
    pub hide_order: u8,
    /// What clicking its heading sorts by.
    pub sort: Option<SortKey>,
}

impl ColumnSpec {
    /// A column of words that is never hidden.
    const fn text(column: Column, name: &'static str, title: &'static str, width: u16) -> Self {
        Self {
            column,
            name,
            title,
            width,
            right: false,
            hide_order: 0,
            sort: None,
        }
    }

    /// A column of numbers that is never hidden.
    const fn number(column: Column, name: &'static str, title: &'static str, width: u16) -> Self {
        let mut spec = Self::text(column, name, title, width);
        spec.right = true;
        spec
    }

    const fn hidden(mut self, order: u8) -> Self {
        self.hide_order = order;
        self
    }

    const fn sorts_by(mut self, key: SortKey) -> Self {
        self.sort = Some(key);
        self
    }
}

/// Every column, in the order they stand.
pub const COLUMNS: [ColumnSpec; 22] = [
    ColumnSpec::text(Column::Service, "service", "SERVICE", 14),
    ColumnSpec::text(Column::Role, "role", "ROLE", 6).hidden(9),
    ColumnSpec::text(Column::Remote, "remote", "REMOTE", 15).sorts_by(SortKey::Remote),
    ColumnSpec::number(Column::Port, "port", "PORT", 5).hidden(4),
    ColumnSpec::text(Column::Verdict, "verdict", "VERDICT", 15).hidden(1),
    ColumnSpec::number(Column::Attempts, "attempts", "TRIED", 6)
        .hidden(3)
        .sorts_by(SortKey::Attempts),
    ColumnSpec::number(Column::Hit, "hit", "HIT", 4)
        .hidden(2)
        .sorts_by(SortKey::Hit),
    ColumnSpec::number(Column::Failures, "failures", "FAILED", 6)
        .hidden(8)
        .sorts_by(SortKey::Failures),
    ColumnSpec::number(Column::Timeouts, "timeouts", "T/OUT", 6).hidden(11),
    ColumnSpec::number(Column::Refused, "refused", "REFUSED", 7).hidden(12),
    ColumnSpec::number(Column::Broken, "broken", "BROKEN", 6).hidden(13),
    ColumnSpec::number(Column::Held, "held", "HELD", 6).hidden(17),
    ColumnSpec::number(Column::Denied, "denied", "DENIED", 6).hidden(18),
    ColumnSpec::number(Column::Cookies, "cookies", "COOKIES", 7).hidden(15),
    ColumnSpec::number(Column::Syn, "syn", "SYNDATA", 7)
        .hidden(14)
        .sorts_by(SortKey::Syn),
    ColumnSpec::number(Column::Rtt, "rtt", "RTT", 7)
        .hidden(7)
        .sorts_by(SortKey::Rtt),
    ColumnSpec::number(Column::Saved, "saved", "SAVED", 7)
        .hidden(5)
        .sorts_by(SortKey::Saved),
    ColumnSpec::number(Column::Lost, "lost", "LOST", 7).sorts_by(SortKey::Lost),
    ColumnSpec::number(Column::Net, "net", "NET", 8)
        .hidden(10)
        .sorts_by(SortKey::Net),
    ColumnSpec::number(Column::Trend, "trend", "TREND", 8).hidden(6),
    ColumnSpec::number(Column::Plain, "plain", "PLAIN", 6).hidden(16),
    ColumnSpec::text(Column::Network, "network", "NETWORK", 8)
        .hidden(6)
        .sorts_by(SortKey::Network),
];

impl Column {
    /// What it is called, and how it stands in a table.
    pub fn spec(self) -> &'static ColumnSpec {
        &COLUMNS[self as usize]
    }

    /// The column with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        COLUMNS
            .iter()
            .find(|spec| spec.name == name)
            .map(|spec| spec.column)
    }

    /// What it shows, for the documents.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Service => "container, systemd unit or path of the cgroup",
            Self::Role => "which end this host is",
            Self::Remote => "the other end; for servers the block the clients lie in",
            Self::Port => "port of the service: the remote one of a client, the local one of a server",
            Self::Verdict => "the worst finding about it; without one the outcome most attempts had",
            Self::Attempts => "handshakes in which Fast Open had a part",
            Self::Hit => "share of them that were accepted",
            Self::Failures => "attempts that did not work",
            Self::Timeouts => "attempts whose SYN, or the answer to it, was lost",
            Self::Refused => {
                "attempts that were answered at once, without taking all data or granting a cookie"
            }
            Self::Broken => "attempts that ended with a RST or never completed",
            Self::Held => "SYN data that something on this host other than a policy kept from leaving",
            Self::Denied => "SYN data that a policy kept from leaving",
            Self::Cookies => "SYN-ACKs that brought a cookie (clients only)",
            Self::Syn => "bytes of payload in SYNs",
            Self::Rtt => "round-trip time",
            Self::Saved => "time saved: one round trip for each accepted connection that carried data",
            Self::Lost => {
                "time lost: from the first SYN to the one that was answered, also where only the SYN-ACK was lost (`accepted-late`)"
            }
            Self::Net => "saved minus lost",
            Self::Trend => "attempts per reading, the latest to the right",
            Self::Plain => "handshakes without Fast Open",
            Self::Network => {
                "what the file of `--networks` calls the network of the other end; there with that file only"
            }
        }
    }

    /// The cell of a row. The trend is a list of numbers here; the dashboard draws it.
    pub fn cell(self, row: &DestRow, snapshot: &Snapshot) -> String {
        let group = |group: Group| number::count(row.count_group(group));
        match self {
            Column::Service => clean(&snapshot.names.label(row.key.cgroup_id)),
            Column::Role => row.role().name().to_owned(),
            Column::Remote => snapshot.remote(row),
            Column::Port => row.key.port.to_string(),
            Column::Verdict => verdict(row, snapshot).to_owned(),
            Column::Attempts => number::count(row.attempts()),
            Column::Hit => row.hit_rate().map_or_else(|| "-".to_owned(), number::percent),
            Column::Failures => number::count(row.failures()),
            Column::Timeouts => group(Group::Timeout),
            Column::Refused => group(Group::Refused),
            Column::Broken => group(Group::Broken),
            Column::Held => group(Group::Held),
            Column::Denied => group(Group::Denied),
            Column::Cookies => number::count(row.cookies.into()),
            Column::Syn => number::bytes(row.syn_bytes),
            Column::Rtt => row.rtt_us().map_or_else(|| "-".to_owned(), number::duration),
            Column::Saved => number::duration(row.saved_us),
            Column::Lost => number::duration(row.lost_us),
            Column::Net => number::signed_duration(row.net_us()),
            Column::Trend => row.trend.map(|attempts| attempts.to_string()).join(" "),
            Column::Plain => group(Group::Plain),
            Column::Network => snapshot.network(row).unwrap_or("-").to_owned(),
        }
    }
}

/// What is wrong with a destination, else the outcome most attempts had.
fn verdict(row: &DestRow, snapshot: &Snapshot) -> &'static str {
    let found = snapshot.diagnosis.of_row(&row.key);
    match found.filter(|finding| finding.severity > Severity::Info) {
        Some(finding) => finding.id.name(),
        None => row.verdict().map_or("-", Outcome::name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake;

    /// A group without a column would hide outcomes from the table without anybody noticing.
    #[test]
    fn columns_add_up_to_the_handshakes() {
        let mut stats = tfo_common::DestStats::ZERO;
        stats.outcomes = std::array::from_fn(|code| 1 << code);
        let row = DestRow::new(fake::dest_key(1), &stats, None);
        let groups: u64 = Group::ALL.map(|group| row.count_group(group)).iter().sum();
        assert_eq!(groups, row.handshakes());
        for group in Group::ALL {
            // Good attempts are the only ones without a count of their own: the hit rate and the verdict show them.
            let Some(column) = column_of(group) else {
                assert_eq!(group, Group::Good);
                continue;
            };
            let cell = column.cell(&row, &Snapshot::default());
            assert_eq!(cell, number::count(row.count_group(group)), "{group:?}");
        }
    }

    fn column_of(group: Group) -> Option<Column> {
        match group {
            Group::Good => None,
            Group::Plain => Some(Column::Plain),
            Group::Timeout => Some(Column::Timeouts),
            Group::Refused => Some(Column::Refused),
            Group::Broken => Some(Column::Broken),
            Group::Held => Some(Column::Held),
            Group::Denied => Some(Column::Denied),
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, spec) in COLUMNS.iter().enumerate() {
            assert_eq!(spec.column as usize, index, "{}", spec.name);
            assert_eq!(Column::from_name(spec.name), Some(spec.column));
            assert!(spec.title.len() <= usize::from(spec.width), "{}", spec.name);
        }
    }
}
