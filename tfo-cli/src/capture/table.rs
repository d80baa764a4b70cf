//! The connections under way: a table of bounded size whose clock is the capture's.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::RandomState,
};

use super::{
    connection::{Connection, Endpoint, Segment, Step, SynAck},
    tcp::{ACK, FIN, RST, SYN},
    verdict::Watched,
};

/// Connections followed at once: 64 MiB.
pub const CAPACITY: usize = 1 << 18;
/// Places looked at for one that is not needed any more, before one that is goes.
const LOOKED_AT: usize = 16;
/// Without a packet for so long a handshake has failed: Linux sends its last SYN after 63 s and gives up after
/// 127 s (`tcp_syn_retries` 6).
const HANDSHAKE_NS: u64 = 130_000_000_000;
/// How long an established connection waits for the first byte of an answer.
const FIRST_BYTE_NS: u64 = 60_000_000_000;
/// How long one that is over is remembered, so that its late packets are not taken for those of another.
const OVER_NS: u64 = 120_000_000_000;
/// Time of the capture between two looks at all connections.
const SWEEP_NS: u64 = 1_000_000_000;
/// An answer may be in the capture before its SYN, written by another CPU.
const REORDERED_NS: u64 = 50_000_000;

/// Both ends, the smaller first: packets of both directions have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(Endpoint, Endpoint);

#[derive(Debug)]
enum State {
    /// The SYN was seen.
    Under(Box<Connection>),
    /// All was said.
    Over,
    /// Its SYN was not seen.
    MidStream,
    /// An answer, and no SYN.
    Orphan(SynAck),
}

#[derive(Debug)]
struct Place {
    key: Key,
    state: State,
    last_ns: u64,
}

/// What the table says.
#[derive(Debug)]
pub enum Event {
    /// A connection whose SYN was seen is done with.
    Done(Box<Connection>, Watched),
    /// A connection without SYN was met.
    MidStream,
    /// An answer without SYN.
    SynUnseen,
    /// A packet seen twice.
    Duplicate,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    places: Vec<Option<Place>>,
    by_key: HashMap<Key, u32, RandomState>,
    free: Vec<u32>,
    capacity: usize,
    /// Where to look next for a place.
    hand: usize,
    swept_ns: u64,
    since_swept: usize,
    now_ns: u64,
}

impl Table {
    /// A table for so many connections.
    pub fn new(capacity: usize) -> Self {
        Self {
            places: Vec::new(),
            by_key: HashMap::default(),
            free: Vec::new(),
            capacity: capacity.max(1),
            hand: 0,
            swept_ns: 0,
            since_swept: 0,
            now_ns: 0,
        }
    }

    /// How many it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Connections it holds, those that are over included.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes the next segment.
    pub fn take(&mut self, segment: &Segment<'_>, emit: &mut dyn FnMut(Event)) {
        self.now_ns = self.now_ns.max(segment.at_ns);
        self.since_swept += 1;
        if self.now_ns.saturating_sub(self.swept_ns) >= SWEEP_NS && self.since_swept >= self.places.len() / 4
        {
            self.sweep(emit);
        }
        let key = if segment.from <= segment.to {
            Key(segment.from, segment.to)
        } else {
            Key(segment.to, segment.from)
        };
        let is_syn = segment.header.flags & (SYN | ACK | RST | FIN) == SYN;
        let place = match self.by_key.get(&key) {
            Some(index) => self.places[*index as usize].as_mut(),
            None => None,
        };
        let Some(place) = place else {
            self.begin(key, segment, is_syn, emit);
            return;
        };
        place.last_ns = place.last_ns.max(segment.at_ns);
        let next = match &mut place.state {
            State::Under(connection) => match connection.take(segment) {
                Step::Goes => return,
                Step::Duplicate => return emit(Event::Duplicate),
                Step::Over => State::Over,
                Step::Reused => begun(segment),
            },
            State::Over | State::MidStream if is_syn => begun(segment),
            State::Orphan(answer) if is_syn => {
                let mut connection = Box::new(Connection::new(segment));
                if segment.at_ns.abs_diff(answer.at_ns()) < REORDERED_NS {
                    connection.answered(answer);
                } else {
                    emit(Event::SynUnseen);
                }
                State::Under(connection)
            }
            State::Over | State::MidStream | State::Orphan(_) => return,
        };
        if let State::Under(done) = std::mem::replace(&mut place.state, next) {
            emit(Event::Done(done, Watched::ToTheEnd));
        }
    }

    /// The first packet of a connection.
    fn begin(&mut self, key: Key, segment: &Segment<'_>, is_syn: bool, emit: &mut dyn FnMut(Event)) {
        let flags = segment.header.flags;
        let state = if is_syn {
            begun(segment)
        } else if flags & (SYN | ACK) == SYN | ACK {
            State::Orphan(SynAck::new(segment))
        } else if flags & RST != 0 {
            // Nothing follows a RST, and scans are full of them.
            return;
        } else {
            emit(Event::MidStream);
            State::MidStream
        };
        let index = self.room(emit);
        self.places[index as usize] = Some(Place {
            key,
            state,
            last_ns: segment.at_ns,
        });
        match self.by_key.entry(key) {
            Entry::Occupied(mut entry) => *entry.get_mut() = index,
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
        }
    }

    /// An empty place, made where there is none.
    fn room(&mut self, emit: &mut dyn FnMut(Event)) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        if self.places.len() < self.capacity {
            self.places.push(None);
            return u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX);
        }
        let looked_at = (0..LOOKED_AT).map(|step| (self.hand + step) % self.capacity);
        let unneeded = looked_at.into_iter().find(|index| {
            !matches!(
                self.places[*index],
                Some(Place {
                    state: State::Under(_) | State::Orphan(_),
                    ..
                })
            )
        });
        let index = unneeded.unwrap_or(self.hand);
        self.hand = (index + 1) % self.capacity;
        self.leave(index, Watched::UntilForgotten, emit);
        self.free.pop().unwrap_or_default()
    }

    /// Empties a place.
    fn leave(&mut self, index: usize, watched: Watched, emit: &mut dyn FnMut(Event)) {
        let Some(place) = self.places[index].take() else {
            return;
        };
        self.by_key.remove(&place.key);
        self.free.push(u32::try_from(index).unwrap_or_default());
        match place.state {
            State::Under(connection) => emit(Event::Done(connection, watched)),
            State::Orphan(_) => emit(Event::SynUnseen),
            State::Over | State::MidStream => {}
        }
    }

    /// Lets go of what has waited long enough.
    fn sweep(&mut self, emit: &mut dyn FnMut(Event)) {
        (self.swept_ns, self.since_swept) = (self.now_ns, 0);
        for index in 0..self.places.len() {
            let Some(place) = &self.places[index] else {
                continue;
            };
            let patience = match &place.state {
                State::Under(connection) if connection.established_ns.is_some() => FIRST_BYTE_NS,
                State::Under(_) => HANDSHAKE_NS,
                State::Over | State::MidStream | State::Orphan(_) => OVER_NS,
            };
            if self.now_ns.saturating_sub(place.last_ns) >= patience {
                self.leave(index, Watched::ToTheEnd, emit);
            }
        }
    }

    /// The capture has ended.
    pub fn end(&mut self, emit: &mut dyn FnMut(Event)) {
        for index in 0..self.places.len() {
            let silent_ns = self.places[index]
                .as_ref()
                .map_or(0, |place| self.now_ns.saturating_sub(place.last_ns));
            let watched = if silent_ns >= HANDSHAKE_NS {
                Watched::ToTheEnd
            } else {
                Watched::UntilCaptureEnd
            };
            self.leave(index, watched, emit);
        }
    }
}

fn begun(segment: &Segment<'_>) -> State {
    State::Under(Box::new(Connection::new(segment)))
}
