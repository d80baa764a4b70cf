//! Everything the dashboard remembers.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use tfo_common::{DestKey, Outcome};

use super::{
    Options, Permission,
    command::Keys,
    filter_line::FilterLine,
    lines::{Line, LineKey, Lines, Wanted},
    list::List,
    policy::{Asked, Form},
    theme::{Glyphs, Theme},
    view::{self, layout},
};
use crate::{
    model::{
        DestRow, Flow, Snapshot, SortKey,
        diagnosis::{Finding, Id, Subject},
        history::{Frame, History},
    },
    output::column::Column,
};

/// Readings a chart shows.
const SERIES: usize = 600;

/// A tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Who is talked to.
    Destinations,
    /// Who talks.
    Services,
    /// The latest connections.
    Flows,
    /// Listening sockets.
    Listeners,
    /// Settings, counters, losses, cost.
    Host,
    /// What is wrong.
    Findings,
}

impl View {
    /// Every view, in the order of the tabs.
    pub const ALL: [(View, &'static str); 6] = [
        (View::Destinations, "Destinations"),
        (View::Services, "Services"),
        (View::Flows, "Flows"),
        (View::Listeners, "Listeners"),
        (View::Host, "Host"),
        (View::Findings, "Findings"),
    ];

    /// The view that many tabs further.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()].0
    }
}

/// One thing, in place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A destination.
    Destination(DestKey),
    /// A finding, by what it says about what.
    Finding(Id, Subject),
    /// A flow, as it was when it was opened: the ring forgets.
    Flow(Flow),
}

/// Something in front of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popup {
    /// Keys and what they do.
    Help,
    /// Whether to count from zero.
    Clear,
    /// Which format.
    Export,
    /// What a rule should say.
    Rule(Form),
    /// The plan is on its way.
    Planning,
    /// Whether to do what the plan says.
    Plan,
}

/// One reading of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// `CLOCK_MONOTONIC` ns of its end.
    pub at_ns: u64,
    /// Its length.
    pub interval_ns: u64,
    /// Handshakes that ended in it, by outcome.
    pub gained: [u32; Outcome::COUNT],
}

/// The state.
pub struct State {
    /// What is shown: now, or a moment of the past.
    pub snapshot: Snapshot,
    /// The past, up to `present` or to now.
    pub history: History,
    /// Where the clock was stopped.
    pub present: Option<Snapshot>,
    /// How many readings before that moment is shown.
    pub back: usize,
    /// Remarks about where the data come from.
    pub status: Vec<String>,
    /// The tab.
    pub view: View,
    /// What is open.
    pub page: Option<Page>,
    /// What is in front.
    pub popup: Option<Popup>,
    /// Whether keys may change the policy.
    pub permission: Permission,
    /// What they ask for.
    pub asked: Asked,
    /// Columns and lines of the terminal.
    pub size: (u16, u16),
    /// Order of destinations and services.
    pub sort: SortKey,
    /// Turned around.
    pub reverse: bool,
    /// What passes.
    pub filter: FilterLine,
    /// The filter as it was before it is edited now.
    pub editing: Option<FilterLine>,
    /// Unfolded services.
    pub unfolded: HashSet<u64>,
    /// The table.
    pub table: Lines,
    lists: [List<LineKey>; View::ALL.len()],
    /// First line shown of what has no rows.
    pub scroll: u16,
    /// Chart of the open destination, oldest first.
    pub series: Vec<Point>,
    /// Widths contents need.
    pub widths: Widths,
    /// Host names instead of addresses.
    pub names: bool,
    /// Names known; `None` for addresses without.
    pub hosts: HashMap<IpAddr, Option<String>>,
    /// Something to tell, until the next key.
    pub message: Option<String>,
    /// Columns of destinations and services, if not all.
    pub columns: Option<Vec<Column>>,
    /// Styles.
    pub theme: Theme,
    /// Characters.
    pub glyphs: Glyphs,
    /// Which key does what.
    pub keys: Keys,
    start: (SortKey, String),
}

/// Widths of columns whose contents differ in length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Widths {
    /// Of service labels.
    pub service: u16,
    /// Of remote addresses.
    pub remote: u16,
    /// Of local addresses.
    pub local: u16,
}

impl State {
    /// The state a dashboard starts with.
    pub fn new(options: &Options) -> Self {
        Self {
            snapshot: Snapshot::default(),
            history: History::default(),
            present: None,
            back: 0,
            status: Vec::new(),
            view: View::Destinations,
            page: None,
            popup: None,
            permission: options.permission,
            asked: Asked::default(),
            size: (80, 24),
            sort: options.sort,
            reverse: false,
            filter: FilterLine::new(&options.filter),
            editing: None,
            unfolded: HashSet::new(),
            table: Lines::default(),
            lists: std::array::from_fn(|_| List::default()),
            scroll: 0,
            series: Vec::new(),
            widths: Widths::default(),
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
            start: (options.sort, options.filter.clone()),
        }
    }

    /// Whether the clock is stopped.
    pub fn is_paused(&self) -> bool {
        self.present.is_some()
    }

    /// Cursor of the view.
    pub fn list(&self) -> &List<LineKey> {
        &self.lists[self.view as usize]
    }

    /// The line under the cursor.
    pub fn line(&self) -> Option<Line> {
        self.table.lines.get(self.list().index()?).copied()
    }

    /// Moves the cursor of the view.
    pub fn with_list(&mut self, apply: impl FnOnce(&mut List<LineKey>, &dyn Fn(usize) -> Option<LineKey>)) {
        let mut list = std::mem::take(&mut self.lists[self.view as usize]);
        apply(&mut list, &|place| {
            self.table.key(*self.table.lines.get(place)?, &self.snapshot)
        });
        self.lists[self.view as usize] = list;
    }

    /// Row of a destination, while it is there.
    pub fn row(&self, wanted: &DestKey) -> Option<&DestRow> {
        self.snapshot.rows.iter().find(|row| row.key == *wanted)
    }

    /// A finding, while it is there.
    pub fn finding(&self, id: Id, subject: &Subject) -> Option<&Finding> {
        let mut findings = self.snapshot.diagnosis.findings.iter();
        findings.find(|finding| finding.id == id && finding.subject == *subject)
    }

    /// Goes back to how everything was when the dashboard started.
    pub fn reset_view(&mut self) {
        (self.sort, self.reverse) = (self.start.0, false);
        self.filter = FilterLine::new(&self.start.1);
        self.unfolded.clear();
        self.lists = std::array::from_fn(|_| List::default());
    }

    /// Works out the table anew: after a snapshot, another view, order or filter.
    pub fn refresh(&mut self) {
        let wanted = Wanted {
            view: self.view,
            filter: self.filter.filter(),
            sort: self.sort,
            reverse: self.reverse,
            unfolded: &self.unfolded,
        };
        self.table = Lines::new(&self.snapshot, &wanted);
        self.widths = Widths::of(self);
        self.series = match self.page {
            Some(Page::Destination(key)) => series(&self.history, self.back, &key),
            _ => Vec::new(),
        };
        let (table, snapshot) = (&self.table, &self.snapshot);
        let keys = table.lines.iter().map(|line| table.key(*line, snapshot));
        let mut list = std::mem::take(&mut self.lists[self.view as usize]);
        list.refresh(&keys.map(|key| key.unwrap_or(LineKey::Service(0))));
        self.lists[self.view as usize] = list;
        self.resize();
    }

    /// Tells the cursor how many rows fit.
    pub fn resize(&mut self) {
        let height = layout::split(self).body.height.saturating_sub(1);
        self.lists[self.view as usize].resize(height.into());
    }

    /// The other end of a row: by name where names are on and known.
    pub fn remote(&self, row: &DestRow) -> String {
        self.host_name(row.remote())
            .filter(|_| row.role() == tfo_common::Role::Client)
            .map_or_else(|| self.snapshot.remote(row), str::to_owned)
    }

    /// The name of an address, where names are on and it has one.
    pub fn host_name(&self, ip: IpAddr) -> Option<&str> {
        if !self.names {
            return None;
        }
        self.hosts.get(&ip)?.as_deref()
    }

    /// Addresses on the screen whose names are not known.
    pub fn unnamed(&self) -> Vec<IpAddr> {
        if !self.names {
            return Vec::new();
        }
        let mut wanted: Vec<IpAddr> = view::visible(self).filter_map(|line| self.ip_of(line)).collect();
        wanted.retain(|ip| !self.hosts.contains_key(ip));
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    fn ip_of(&self, line: Line) -> Option<IpAddr> {
        match line {
            Line::Destination(index) | Line::OfService(index) => {
                let row = self.snapshot.rows.get(index as usize)?;
                (row.role() == tfo_common::Role::Client).then(|| row.remote())
            }
            Line::Flow(index) => Some(self.snapshot.flows.get(index as usize)?.remote_ip()),
            _ => None,
        }
    }
}

fn series(history: &History, back: usize, key: &DestKey) -> Vec<Point> {
    let point = |frame: &Frame| Point {
        at_ns: frame.at_ns,
        interval_ns: frame.interval_ns,
        gained: frame.gained(key),
    };
    let mut series: Vec<Point> = history.frames(back).take(SERIES).map(point).collect();
    series.reverse();
    series
}

impl Widths {
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
                for row in state.snapshot.rows.iter() {
                    label(row.key.cgroup_id, &mut widths);
                    widths.remote = widths.remote.max(remote_width(row, state));
                }
            }
            View::Flows => {
                for line in view::visible(state) {
                    let Line::Flow(index) = line else { continue };
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

/// IPv4 addresses, of which there may be thousands, are measured without making text of them.
fn remote_width(row: &DestRow, state: &State) -> u16 {
    let digits = |byte: u8| 1 + u16::from(byte >= 10) + u16::from(byte >= 100);
    match row.remote() {
        IpAddr::V4(v4) if row.role() == tfo_common::Role::Client && !state.names => {
            v4.octets().into_iter().map(digits).sum::<u16>() + 3
        }
        _ => width(&state.remote(row)),
    }
}
