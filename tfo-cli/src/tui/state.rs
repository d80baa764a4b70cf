//! Everything the dashboard remembers. What can be worked out of a snapshot is worked out once, when the
//! snapshot arrives, not in every frame.

use std::net::IpAddr;

use tfo_common::{DestKey, Role};

use super::{list::List, theme::Theme, view::layout};
use crate::{
    args::TopConfig,
    model::{DestRow, Snapshot, SortKey, filter::Filter, subject::RowSubject},
};

/// Something in front of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popup {
    /// Keys and what they do.
    Help,
}

/// The state.
pub struct State {
    /// What is shown.
    pub snapshot: Snapshot,
    /// New snapshots are ignored.
    pub paused: bool,
    /// What is in front.
    pub popup: Option<Popup>,
    /// Columns and lines of the terminal.
    pub size: (u16, u16),
    /// Order of the table.
    pub sort: SortKey,
    /// Turned around.
    pub reverse: bool,
    /// What is shown of the table.
    pub filter: Filter,
    /// Styles.
    pub theme: Theme,
    /// Rows of the snapshot that pass the filter, in their order.
    pub shown: Vec<u32>,
    /// Cursor in them.
    pub list: List<DestKey>,
    /// Widths their longest contents need.
    pub widths: Widths,
}

/// Widths of the columns whose contents differ in length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Widths {
    /// Of the service column.
    pub service: u16,
    /// Of the remote column.
    pub remote: u16,
}

impl State {
    /// The state a dashboard starts with.
    pub fn new(config: &TopConfig) -> Self {
        Self {
            snapshot: Snapshot::default(),
            paused: false,
            popup: None,
            size: (80, 24),
            sort: config.sort,
            reverse: false,
            filter: config.filter.clone(),
            theme: Theme::of_environment(
                std::env::var_os("NO_COLOR").as_deref(),
                std::env::var_os("COLORFGBG").as_deref(),
            ),
            shown: Vec::new(),
            list: List::default(),
            widths: Widths::default(),
        }
    }

    /// The row at this place of the table.
    pub fn row(&self, place: usize) -> Option<&DestRow> {
        self.snapshot.rows.get(*self.shown.get(place)? as usize)
    }

    /// Works out the table anew: after a snapshot, another order or another filter.
    pub fn refresh(&mut self) {
        let snapshot = &self.snapshot;
        let matches = |row: &DestRow| {
            let cgroup = snapshot.names.get(row.key.cgroup_id);
            let processes = snapshot.processes_of(row.key.cgroup_id);
            self.filter.matches(&RowSubject {
                row,
                cgroup,
                processes,
            })
        };
        self.shown = (0u32..)
            .zip(snapshot.rows.iter())
            .filter(|(_, row)| matches(row))
            .map(|(index, _)| index)
            .collect();
        let row = |index: &u32| &snapshot.rows[*index as usize];
        // Snapshots come in the default order.
        if self.sort != SortKey::default() {
            self.shown
                .sort_by(|left, right| self.sort.compare(row(left), row(right)));
        }
        if self.reverse {
            self.shown.reverse();
        }
        self.widths = Widths::of(snapshot);
        let keys = self.shown.iter().map(|index| snapshot.rows[*index as usize].key);
        self.list.refresh(&keys);
        self.resize();
    }

    /// Tells the cursor how many rows fit.
    pub fn resize(&mut self) {
        let height = layout::split(self.size, layout::header_lines(self))
            .body
            .height
            .saturating_sub(1);
        self.list.resize(height.into());
    }
}

impl Widths {
    fn of(snapshot: &Snapshot) -> Self {
        let mut widths = Self::default();
        let mut cgroup = None;
        for row in snapshot.rows.iter() {
            if cgroup != Some(row.key.cgroup_id) {
                cgroup = Some(row.key.cgroup_id);
                let label = snapshot.names.label(row.key.cgroup_id).chars().count();
                widths.service = widths.service.max(u16::try_from(label).unwrap_or(u16::MAX));
            }
            widths.remote = widths.remote.max(remote_width(row, snapshot));
        }
        widths
    }
}

/// IPv4 addresses, of which there may be thousands, are measured without making text of them.
fn remote_width(row: &DestRow, snapshot: &Snapshot) -> u16 {
    let digits = |byte: u8| 1 + u16::from(byte >= 10) + u16::from(byte >= 100);
    match row.remote() {
        IpAddr::V4(v4) if row.role() == Role::Client => v4.octets().into_iter().map(digits).sum::<u16>() + 3,
        _ => u16::try_from(snapshot.remote(row).len()).unwrap_or(u16::MAX),
    }
}
