//! `probe --raw` and `--locate`: SYNs made by hand, one at a time.

use std::thread;

use super::{random, source_of};
use crate::{
    exit::Failure,
    output,
    probe::{
        PAUSE,
        connect::Destination,
        raw::{
            Kind, SynAnswer,
            locate::{Hop, MOST_HOPS, TRIES, Walk},
            socket::{FAR, RawSockets},
            tally::Tally,
        },
        report::Report,
    },
    signals::Stop,
};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `--raw`.
    pub raw: bool,
    /// `--locate`.
    pub locate: bool,
    /// SYNs of each kind.
    pub count: u32,
}

impl Wanted {
    /// Whether this host lets us: asked before anything is sent.
    pub fn check(self, destinations: &[Destination]) -> anyhow::Result<()> {
        match destinations.first().filter(|_| self.raw || self.locate) {
            Some(destination) => open(destination).map(drop),
            None => Ok(()),
        }
    }

    /// Says beforehand what will be sent.
    pub fn announce(self, destinations: &[Destination]) -> Result<(), Failure> {
        for destination in destinations {
            if self.raw {
                let kinds: Vec<&str> = Kind::RAW.iter().map(|kind| kind.describe()).collect();
                output::complain(&format_args!(
                    "tfo-cli: probe --raw: {} gets {} each of: {}; no connection comes of them",
                    destination.address,
                    self.count,
                    kinds.join(", ")
                ))?;
            }
            if self.locate {
                output::complain(&format_args!(
                    "tfo-cli: probe --locate: the way to {} gets at most {TRIES} plain SYNs for each of at most \
                     {MOST_HOPS} hops, and as many with option 34, without and with data",
                    destination.address,
                ))?;
            }
        }
        Ok(())
    }

    /// Does it, and puts it into the report.
    pub fn add(self, destination: &Destination, report: &mut Report, stop: &Stop) -> anyhow::Result<()> {
        if !self.raw && !self.locate {
            return Ok(());
        }
        let mut by_hand = ByHand {
            sockets: open(destination)?,
            stop,
        };
        if self.raw {
            report.raw = by_hand.raw(self.count)?;
        }
        if self.locate {
            report.walk = by_hand.walk()?;
        }
        Ok(())
    }
}

fn open(destination: &Destination) -> anyhow::Result<RawSockets> {
    let local = source_of(destination)
        .ok_or_else(|| anyhow::anyhow!("probe {}: there is no route", destination.address))?;
    let [a, b, c, d, ..] = random()?;
    RawSockets::open(
        local,
        destination.address,
        &destination.payload,
        u32::from_be_bytes([a, b, c, d]),
    )
}

struct ByHand<'a> {
    sockets: RawSockets,
    stop: &'a Stop,
}

impl ByHand<'_> {
    /// Kinds in turns, so that all meet the same network.
    fn raw(&mut self, count: u32) -> anyhow::Result<Vec<Tally>> {
        let mut tallies = Kind::RAW.map(Tally::new);
        for _ in 0..count {
            for tally in &mut tallies {
                tally.add(self.ask(tally.kind, FAR)?);
            }
        }
        Ok(tallies.to_vec())
    }

    fn walk(&mut self) -> anyhow::Result<Walk> {
        let mut walk = Walk::default();
        for ttl in 1..=MOST_HOPS {
            let wanted = Kind::SUSPECTS.map(|kind| walk.is_wanted(kind));
            let mut hop = Hop {
                ttl,
                plain: self.ask_until_told(Kind::Plain, ttl)?,
                suspects: [None; 2],
            };
            // Where a plain SYN is not told of nothing is learnt from others.
            if hop.plain != SynAnswer::Nothing {
                for ((kind, wanted), seen) in Kind::SUSPECTS.into_iter().zip(wanted).zip(&mut hop.suspects) {
                    if wanted {
                        *seen = Some(self.ask_until_told(kind, ttl)?);
                    }
                }
            }
            walk.hops.push(hop);
            if walk.is_over() {
                break;
            }
        }
        Ok(walk)
    }

    fn ask_until_told(&mut self, kind: Kind, ttl: u8) -> anyhow::Result<SynAnswer> {
        for _ in 0..TRIES {
            let seen = self.ask(kind, ttl)?;
            if seen != SynAnswer::Nothing {
                return Ok(seen);
            }
        }
        Ok(SynAnswer::Nothing)
    }

    fn ask(&mut self, kind: Kind, ttl: u8) -> anyhow::Result<SynAnswer> {
        anyhow::ensure!(!self.stop.raised(), "probe: interrupted");
        let seen = self.sockets.ask(kind, ttl)?;
        thread::sleep(PAUSE);
        Ok(seen)
    }
}
