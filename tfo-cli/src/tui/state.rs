//! Everything that the dashboard remembers between two frames.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use ratatui::layout::Size;
use tfo_common::{DestKey, Outcome};

use super::{
    Options, Permission,
    command::Keys,
    filter_line::FilterLine,
    list_state::ListState,
    policy::{Form, PolicyDialog},
    table::{LineKey, Table, TableLine, TableQuery},
    theme::{Glyphs, Theme},
    view::{self, layout},
};
use crate::{
    model::{
        DestRow, Flow, Snapshot, SortKey,
        diagnosis::{Finding, Id, Subject},
        history::{Frame, History},
        names::Names,
        services::Group,
    },
    output::column::Column,
};

/// Readings that a chart shows at most.
const SERIES: usize = 600;

/// A view, which has a tab of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// One row for each remote host or network and each local service.
    Destinations,
    /// Destinations added up by service, or by network; each can be unfolded.
    Services,
    /// The latest connections.
    Flows,
    /// The listening sockets of the host.
    Listeners,
    /// Settings, kernel counters, losses and the cost of observing; text instead of a table.
    Host,
    /// What the diagnosis found wrong.
    Findings,
}

impl View {
    /// Every view, in the order of the tabs.
    pub const ALL: [View; 6] = [
        View::Destinations,
        View::Services,
        View::Flows,
        View::Listeners,
        View::Host,
        View::Findings,
    ];

    /// The title of its tab.
    pub fn title(self) -> &'static str {
        match self {
            View::Destinations => "Destinations",
            View::Services => "Services",
            View::Flows => "Flows",
            View::Listeners => "Listeners",
            View::Host => "Host",
            View::Findings => "Findings",
        }
    }

    /// The view that is `by` tabs further to the right; after the last tab comes the first.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// A page about one thing, shown in place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A destination, by its key.
    Destination(DestKey),
    /// A finding, by the diagnosis and what it is about.
    Finding(Id, Subject),
    /// A flow, copied when the page was opened: the snapshot keeps only the latest flows.
    Flow(Flow),
}

/// A box in front of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popup {
    /// The help: every key and what it does.
    Help,
    /// The question whether to set the totals to zero.
    Clear,
    /// The question in which format to export the table.
    Export,
    /// The form of a rule.
    Rule(Form),
    /// The note that a plan is being worked out.
    Planning,
    /// The plan, and the question whether to make its changes.
    Plan,
}

/// One reading in a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// End of the reading, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Time from the reading before, in ns.
    pub interval_ns: u64,
    /// Handshakes that ended in this time, by [`Outcome`].
    pub gained: [u32; Outcome::COUNT],
}

/// Everything that decides what the screen shows. Only `update` changes it.
pub struct State {
    /// The snapshot that is shown: the newest one or, while paused, a past one.
    pub snapshot: Snapshot,
    /// The readings up to `present` while paused, otherwise up to `snapshot`.
    pub history: History,
    /// The snapshot that was the newest when the user paused; `None` while not paused.
    pub present: Option<Snapshot>,
    /// How many readings before `present` the shown one lies; 0 while not paused.
    pub readings_back: usize,
    /// Remarks about the source of the data, see [`ModelState`](super::ModelState).
    pub status: Vec<String>,
    /// The view whose tab is selected.
    pub view: View,
    /// The page that is open in place of the table.
    pub page: Option<Page>,
    /// The box in front of the view.
    pub popup: Option<Popup>,
    /// Whether keys may change the policy.
    pub permission: Permission,
    /// The change of the policy that the user has requested.
    pub policy_dialog: PolicyDialog,
    /// Size of the terminal, in columns and lines.
    pub size: Size,
    /// The order of destinations and services.
    pub sort: SortKey,
    /// Whether the order of the table is reversed.
    pub reverse: bool,
    /// The filter, applied to the tables of all views.
    pub filter: FilterLine,
    /// The filter from before it was edited; `None` while nobody edits it.
    pub editing: Option<FilterLine>,
    /// Whether the view of services adds up by network instead ([`Command::Networks`](super::Command::Networks)).
    pub by_network: bool,
    /// The services and networks that are unfolded.
    pub unfolded: HashSet<Group>,
    /// The table of the view.
    pub table: Table,
    /// The cursor of each view, by [`View`].
    lists: [ListState<LineKey>; View::ALL.len()],
    /// Index of the first line shown of a page, a long popup or the view of the host.
    pub scroll: u16,
    /// Chart of the destination whose page is open, oldest reading first.
    pub series: Vec<Point>,
    /// Widths that the contents of the table need.
    pub widths: Widths,
    /// The widths of all rows, which are looked at once for as long as they stand still.
    measured: Option<Measured>,
    /// Whether host names are shown instead of addresses.
    pub names: bool,
    /// Host names by address; `None` for an address without a name, or whose name is being looked up.
    pub hosts: HashMap<IpAddr, Option<String>>,
    /// A message to the user, shown until the next key.
    pub message: Option<String>,
    /// The columns of destinations and services; `None` for all.
    pub columns: Option<Vec<Column>>,
    /// The styles of text.
    pub theme: Theme,
    /// The characters for drawing.
    pub glyphs: Glyphs,
    /// Which key is bound to which command.
    pub keys: Keys,
    /// The order at the start, for [`Command::ResetView`](super::Command::ResetView).
    initial_sort: SortKey,
    /// The filter at the start, for the same.
    initial_filter: String,
}

/// The widest contents of the columns whose contents differ in length, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Widths {
    /// Width of the labels of services.
    pub service: u16,
    /// Width of the remote addresses or names.
    pub remote: u16,
    /// Width of the local addresses.
    pub local: u16,
}

impl State {
    /// The state a dashboard starts with.
    pub fn new(options: &Options) -> Self {
        Self {
            snapshot: Snapshot::default(),
            history: History::default(),
            present: None,
            readings_back: 0,
            status: Vec::new(),
            view: View::Destinations,
            page: None,
            popup: None,
            permission: options.permission,
            policy_dialog: PolicyDialog::default(),
            size: Size::new(80, 24),
            sort: options.sort,
            reverse: false,
            filter: FilterLine::new(&options.filter),
            editing: None,
            by_network: false,
            unfolded: HashSet::new(),
            table: Table::default(),
            lists: std::array::from_fn(|_| ListState::default()),
            scroll: 0,
            series: Vec::new(),
            widths: Widths::default(),
            measured: None,
            names: options.appearance.names,
            hosts: HashMap::new(),
            message: None,
            columns: options.appearance.columns.clone(),
            theme: Theme::of(options.appearance.theme),
            glyphs: if options.appearance.ascii {
                Glyphs::ASCII
            } else {
                Glyphs::UNICODE
            },
            keys: options.appearance.keys.clone(),
            initial_sort: options.sort,
            initial_filter: options.filter.clone(),
        }
    }

    /// Whether what is shown is frozen.
    pub fn is_paused(&self) -> bool {
        self.present.is_some()
    }

    /// The cursor of the view.
    pub fn list(&self) -> &ListState<LineKey> {
        &self.lists[self.view as usize]
    }

    /// The line under the cursor.
    pub fn line(&self) -> Option<TableLine> {
        self.table.lines.get(self.list().index()?).copied()
    }

    /// Moves the cursor of the view: `change` gets the cursor, and a function from the index of a line to its key.
    pub fn with_list(
        &mut self,
        change: impl FnOnce(&mut ListState<LineKey>, &dyn Fn(usize) -> Option<LineKey>),
    ) {
        let mut list = std::mem::take(&mut self.lists[self.view as usize]);
        change(&mut list, &|place| {
            self.table.key(*self.table.lines.get(place)?, &self.snapshot)
        });
        self.lists[self.view as usize] = list;
    }

    /// The row of a destination; `None` when the snapshot does not have it.
    pub fn row(&self, key: &DestKey) -> Option<&DestRow> {
        self.snapshot.rows.iter().find(|row| row.key == *key)
    }

    /// A finding; `None` when the snapshot does not have it.
    pub fn finding(&self, id: Id, subject: &Subject) -> Option<&Finding> {
        let mut findings = self.snapshot.diagnosis.findings.iter();
        findings.find(|finding| finding.id == id && finding.subject == *subject)
    }

    /// Sets order, filter, folding and cursors to what they were when the dashboard started.
    pub fn reset_view(&mut self) {
        (self.sort, self.reverse) = (self.initial_sort, false);
        self.filter = FilterLine::new(&self.initial_filter);
        self.by_network = false;
        self.unfolded.clear();
        self.lists = std::array::from_fn(|_| ListState::default());
    }

    /// Works the table and the chart out again: after a snapshot, another view, order or filter.
    pub fn refresh(&mut self) {
        let query = TableQuery {
            view: self.view,
            filter: self.filter.filter(),
            sort: self.sort,
            reverse: self.reverse,
            by_network: self.by_network,
            unfolded: &self.unfolded,
        };
        self.table = Table::new(&self.snapshot, &query);
        if matches!(self.view, View::Destinations | View::Services) && !self.is_measured() {
            self.measured = Some(Measured::of(self));
        }
        self.widths = Widths::of(self);
        self.series = match self.page {
            Some(Page::Destination(key)) => series(&self.history, self.readings_back, &key),
            _ => Vec::new(),
        };
        let (table, snapshot) = (&self.table, &self.snapshot);
        let keys = table.lines.iter().map(|line| table.key(*line, snapshot));
        let mut list = std::mem::take(&mut self.lists[self.view as usize]);
        list.refresh(&keys.map(|key| key.unwrap_or(LineKey::Flow(0))));
        self.lists[self.view as usize] = list;
        self.resize();
    }

    /// Whether the widths of the rows are known.
    fn is_measured(&self) -> bool {
        let snapshot = &self.snapshot;
        self.measured.as_ref().is_some_and(|measured| {
            let with_hosts = measured.with_hosts || self.names;
            !with_hosts && Arc::ptr_eq(&measured.rows, &snapshot.rows) && measured.names.are(&snapshot.names)
        })
    }

    /// Tells the cursor how many rows fit on the screen.
    pub fn resize(&mut self) {
        let height = layout::split(self).body.height.saturating_sub(1);
        self.lists[self.view as usize].resize(height.into());
    }

    /// The remote end of a row: its host name where names are shown and known, otherwise its address or prefix.
    pub fn remote(&self, row: &DestRow) -> String {
        self.host_name(row.remote())
            .filter(|_| row.role() == tfo_common::Role::Client)
            .map_or_else(|| self.snapshot.remote(row), str::to_owned)
    }

    /// The name of an address; `None` where names are not shown or it has none.
    pub fn host_name(&self, ip: IpAddr) -> Option<&str> {
        if !self.names {
            return None;
        }
        self.hosts.get(&ip)?.as_deref()
    }

    /// The addresses on the screen whose names have not been looked up yet; empty where names are not shown.
    pub fn unnamed(&self) -> Vec<IpAddr> {
        if !self.names {
            return Vec::new();
        }
        let mut unnamed: Vec<IpAddr> = view::visible(self).filter_map(|line| self.ip_of(line)).collect();
        unnamed.retain(|ip| !self.hosts.contains_key(ip));
        unnamed.sort_unstable();
        unnamed.dedup();
        unnamed
    }

    fn ip_of(&self, line: TableLine) -> Option<IpAddr> {
        match line {
            TableLine::Destination(index) | TableLine::OfService(index) => {
                let row = self.snapshot.rows.get(index as usize)?;
                (row.role() == tfo_common::Role::Client).then(|| row.remote())
            }
            TableLine::Flow(index) => Some(self.snapshot.flows.get(index as usize)?.remote_ip()),
            _ => None,
        }
    }
}

/// The chart of a destination that ends `readings_back` readings before the newest one.
fn series(history: &History, readings_back: usize, key: &DestKey) -> Vec<Point> {
    let point = |frame: &Frame| Point {
        at_ns: frame.at_ns,
        interval_ns: frame.interval_ns,
        gained: frame.gained(key),
    };
    let mut series: Vec<Point> = history.frames(readings_back).take(SERIES).map(point).collect();
    series.reverse();
    series
}

/// Widths of the contents of these rows, with these names.
#[derive(Clone, Debug)]
struct Measured {
    rows: Arc<Vec<DestRow>>,
    names: Names,
    /// Whether host names were shown, of which more may come at any time.
    with_hosts: bool,
    widths: Widths,
}

impl Measured {
    /// Those of the rows of the snapshot.
    fn of(state: &State) -> Self {
        let snapshot = &state.snapshot;
        let mut widths = Widths::default();
        let mut cgroup = None;
        for row in snapshot.rows.iter() {
            if cgroup != Some(row.key.cgroup_id) {
                cgroup = Some(row.key.cgroup_id);
                widths.service = widths
                    .service
                    .max(width(&snapshot.names.label(row.key.cgroup_id)));
            }
            widths.remote = widths.remote.max(remote_width(row, state));
        }
        Self {
            rows: Arc::clone(&snapshot.rows),
            names: snapshot.names.clone(),
            with_hosts: state.names,
            widths,
        }
    }
}

impl Widths {
    /// The widths that the table of the view needs.
    fn of(state: &State) -> Self {
        let mut widths = Self::default();
        let mut cgroup = None;
        let mut label = |id: u64, widths: &mut Self| {
            if cgroup != Some(id) {
                cgroup = Some(id);
                widths.service = widths.service.max(width(&state.snapshot.names.label(id)));
            }
        };
        match state.view {
            View::Destinations | View::Services => {
                widths = state.measured.as_ref().map_or(widths, |measured| measured.widths);
                for service in &state.table.services {
                    if let Group::Network(Some(label)) = &service.group {
                        widths.service = widths.service.max(width(label));
                    }
                }
            }
            View::Flows => {
                for line in view::visible(state) {
                    let TableLine::Flow(index) = line else { continue };
                    let Some(flow) = state.snapshot.flows.get(index as usize) else {
                        continue;
                    };
                    label(flow.event().cgroup_id, &mut widths);
                    widths.remote = widths.remote.max(width(&flow.remote().to_string()));
                    widths.local = widths.local.max(width(&flow.local().to_string()));
                }
            }
            View::Listeners => {
                for one in state.snapshot.listeners.iter() {
                    label(one.cgroup_id, &mut widths);
                    let ip = crate::addr::ip(&one.local, one.family);
                    widths.local = widths.local.max(width(&ip.to_string()));
                }
            }
            View::Host | View::Findings => {}
        }
        widths
    }
}

fn width(text: &str) -> u16 {
    u16::try_from(text.chars().count()).unwrap_or(u16::MAX)
}

/// Width of the remote end of a row. IPv4 addresses, of which there may be thousands, are measured without making text
/// of them.
fn remote_width(row: &DestRow, state: &State) -> u16 {
    let digits = |byte: u8| 1 + u16::from(byte >= 10) + u16::from(byte >= 100);
    match row.remote() {
        IpAddr::V4(v4) if row.role() == tfo_common::Role::Client && !state.names => {
            v4.octets().into_iter().map(digits).sum::<u16>() + 3
        }
        _ => width(&state.remote(row)),
    }
}
