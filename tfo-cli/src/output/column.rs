//! Columns of the destination table: one definition for the dashboard, the text table and every export.

use tfo_common::{Outcome, outcome::Group};

use crate::model::{DestRow, Snapshot, SortKey};

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
    /// The outcome most attempts had.
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
    /// Mean round-trip time.
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
}

/// How a column looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
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
    pub give_way: u8,
    /// What clicking its heading sorts by.
    pub sort: Option<SortKey>,
}

const fn look(
    column: Column,
    name: &'static str,
    title: &'static str,
    width: u16,
    right: bool,
    give_way: u8,
    sort: Option<SortKey>,
) -> Look {
    Look {
        column,
        name,
        title,
        width,
        right,
        give_way,
        sort,
    }
}

/// Every column, in the order they stand.
pub const COLUMNS: [Look; 21] = [
    look(Column::Service, "service", "SERVICE", 14, false, 0, None),
    look(Column::Role, "role", "ROLE", 6, false, 9, None),
    look(
        Column::Remote,
        "remote",
        "REMOTE",
        15,
        false,
        0,
        Some(SortKey::Remote),
    ),
    look(Column::Port, "port", "PORT", 5, true, 4, None),
    look(Column::Verdict, "verdict", "VERDICT", 15, false, 1, None),
    look(
        Column::Attempts,
        "attempts",
        "TRIED",
        6,
        true,
        3,
        Some(SortKey::Attempts),
    ),
    look(Column::Hit, "hit", "HIT", 4, true, 2, Some(SortKey::Hit)),
    look(
        Column::Failures,
        "failures",
        "FAILED",
        6,
        true,
        8,
        Some(SortKey::Failures),
    ),
    look(Column::Timeouts, "timeouts", "T/OUT", 6, true, 11, None),
    look(Column::Refused, "refused", "REFUSED", 7, true, 12, None),
    look(Column::Broken, "broken", "BROKEN", 6, true, 13, None),
    look(Column::Held, "held", "HELD", 6, true, 17, None),
    look(Column::Denied, "denied", "DENIED", 6, true, 18, None),
    look(Column::Cookies, "cookies", "COOKIES", 7, true, 15, None),
    look(Column::Syn, "syn", "SYNDATA", 7, true, 14, Some(SortKey::Syn)),
    look(Column::Rtt, "rtt", "RTT", 7, true, 7, Some(SortKey::Rtt)),
    look(Column::Saved, "saved", "SAVED", 7, true, 5, Some(SortKey::Saved)),
    look(Column::Lost, "lost", "LOST", 7, true, 0, Some(SortKey::Lost)),
    look(Column::Net, "net", "NET", 8, true, 10, Some(SortKey::Net)),
    look(Column::Trend, "trend", "TREND", 8, true, 6, None),
    look(Column::Plain, "plain", "PLAIN", 6, true, 16, None),
];

impl Column {
    /// How it looks.
    pub fn look(self) -> &'static Look {
        &COLUMNS[self as usize]
    }

    /// The column with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        COLUMNS
            .iter()
            .find(|look| look.name == name)
            .map(|look| look.column)
    }

    /// What it says about a row. The trend is drawn by whoever can draw; here it is numbers.
    pub fn cell(self, row: &DestRow, snapshot: &Snapshot) -> String {
        let group = |group: Group| number::count(row.count_group(group));
        match self {
            Column::Service => clean(&snapshot.names.label(row.key.cgroup_id)),
            Column::Role => row.role().name().to_owned(),
            Column::Remote => snapshot.remote(row),
            Column::Port => row.key.port.to_string(),
            Column::Verdict => row.verdict().map_or("-", Outcome::name).to_owned(),
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
        }
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
        for (index, look) in COLUMNS.iter().enumerate() {
            assert_eq!(look.column as usize, index, "{}", look.name);
            assert_eq!(Column::from_name(look.name), Some(look.column));
            assert!(look.title.len() <= usize::from(look.width), "{}", look.name);
        }
    }
}
