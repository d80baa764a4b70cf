//! Locates where on the path SYNs are lost or changed: sends plain SYNs and those under suspicion, with a TTL that ends at
//! each hop in turn.
//!
//! A hop that reports a plain SYN but not the other has not received the other. A router that reports neither leaves the
//! range wider; one that does not report a SYN that a later hop reports was only silent.

use std::net::IpAddr;

use super::{Kind, SynAnswer};

/// Most hops.
pub const MOST_HOPS: u8 = 30;
/// Most SYNs of a kind for each hop, while there is no answer.
pub const TRIES: u32 = 3;
/// Hops in a row without a report of a kind, after which that kind is not sent any more.
const GIVEN_UP: usize = 2;
/// Silent hops in a row after which the search ends.
const SILENT: usize = 6;

/// The answers for one TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The TTL, which is the number of the router on the path.
    pub ttl: u8,
    /// The answer to a plain SYN.
    pub plain: SynAnswer,
    /// The answer to each of [`Kind::SUSPECTS`]; `None` where none was sent.
    pub suspects: [Option<SynAnswer>; 2],
}

/// A hop, by number and, when it is known, address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The TTL; 0 is this host.
    pub ttl: u8,
    /// Its address; `None` when it has not reported anything.
    pub address: Option<IpAddr>,
}

/// What happens to SYNs of a kind on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They arrive unchanged, as far as can be seen.
    Arrive,
    /// They are dropped.
    Dropped,
    /// Their option is stripped.
    Stripped,
    /// They are answered by a RST, and plain SYNs are not.
    Reset,
    /// They are refused by an ICMP message, and plain SYNs are not.
    Refused,
    /// Unknown, because plain SYNs do not arrive either, or no router reports anything.
    Unknown,
}

impl Fate {
    /// The name that every output uses, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrive => "arrive",
            Self::Dropped => "dropped",
            Self::Stripped => "stripped",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// The fate of a kind, and the hops between which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The kind of SYNs.
    pub kind: Kind,
    /// What happens to them.
    pub fate: Fate,
    /// The last hop at which they were unchanged.
    pub after: Place,
    /// The first hop that they did not reach, or reached changed; `None` when they arrive or nothing is known.
    pub before: Option<Place>,
}

/// The path, as far as it was explored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Hops in the order of their TTL.
    pub hops: Vec<Hop>,
}

impl Hop {
    fn place(&self, target: IpAddr) -> Place {
        Place {
            ttl: self.ttl,
            address: match self.plain {
                SynAnswer::Hop { address, .. } | SynAnswer::Unreachable { address } => Some(address),
                SynAnswer::SynAck { .. } | SynAnswer::Reset => Some(target),
                SynAnswer::Nothing => None,
            },
        }
    }

    fn of(&self, kind: Kind) -> Option<SynAnswer> {
        let place = Kind::SUSPECTS.iter().position(|suspect| *suspect == kind)?;
        self.suspects[place]
    }
}

impl Walk {
    /// Whether the destination is reached, or nothing more can be learnt.
    pub fn is_over(&self) -> bool {
        let ended = self
            .hops
            .last()
            .is_some_and(|hop| !matches!(hop.plain, SynAnswer::Hop { .. } | SynAnswer::Nothing));
        let silent = self
            .hops
            .iter()
            .rev()
            .take_while(|hop| hop.plain == SynAnswer::Nothing)
            .count();
        ended || silent >= SILENT || self.hops.len() >= usize::from(MOST_HOPS)
    }

    /// Whether to send SYNs of this kind to the next hop: not when their fate is known.
    pub fn is_wanted(&self, kind: Kind) -> bool {
        let mut told = self
            .hops
            .iter()
            .rev()
            .filter(|hop| hop.plain != SynAnswer::Nothing);
        let missing = told
            .by_ref()
            .take_while(|hop| hop.of(kind).is_none_or(|seen| seen == SynAnswer::Nothing))
            .count();
        let is_decided = self.hops.iter().any(|hop| decided(hop, kind).is_some());
        missing < GIVEN_UP && !is_decided
    }

    /// The fate of SYNs of a kind.
    pub fn locate(&self, kind: Kind, target: IpAddr) -> Located {
        let mut after = Place {
            ttl: 0,
            address: None,
        };
        let mut missing: Option<Place> = None;
        for hop in &self.hops {
            let found = |fate, after, before| Located {
                kind,
                fate,
                after,
                before,
            };
            match (decided(hop, kind), hop.of(kind)) {
                (Some(Fate::Arrive), _) => return found(Fate::Arrive, hop.place(target), None),
                (Some(fate), _) => return found(fate, after, Some(hop.place(target))),
                (None, Some(SynAnswer::Hop { address, .. })) => {
                    after = Place {
                        ttl: hop.ttl,
                        address: Some(address),
                    };
                    missing = None;
                }
                // It came nowhere near, or this hop tells nothing of such SYNs: the next ones show which.
                (None, _) if hop.plain != SynAnswer::Nothing => missing = missing.or(Some(hop.place(target))),
                (None, _) => {}
            }
        }
        let fate = if missing.is_some() {
            Fate::Dropped
        } else {
            Fate::Unknown
        };
        Located {
            kind,
            fate,
            after,
            before: missing,
        }
    }
}

/// What a hop proves.
fn decided(hop: &Hop, kind: Kind) -> Option<Fate> {
    match (hop.plain, hop.of(kind)?) {
        (_, SynAnswer::SynAck { .. }) | (SynAnswer::Reset, SynAnswer::Reset) => Some(Fate::Arrive),
        (SynAnswer::Unreachable { .. }, SynAnswer::Unreachable { .. }) => Some(Fate::Unknown),
        (
            _,
            SynAnswer::Hop {
                option: Some(false), ..
            },
        ) => Some(Fate::Stripped),
        (_, SynAnswer::Reset) => Some(Fate::Reset),
        (_, SynAnswer::Unreachable { .. }) => Some(Fate::Refused),
        (_, SynAnswer::Hop { .. } | SynAnswer::Nothing) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN_ACK: SynAnswer = SynAnswer::SynAck {
        cookie: None,
        data_acked: false,
    };

    fn router(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    fn target() -> IpAddr {
        IpAddr::from([198, 51, 100, 7])
    }

    fn at(number: u8) -> SynAnswer {
        SynAnswer::Hop {
            address: router(number),
            option: Some(true),
        }
    }

    fn place(ttl: u8) -> Place {
        Place {
            ttl,
            address: Some(if ttl == 4 { target() } else { router(ttl) }),
        }
    }

    /// Three routers, then the destination; plain SYNs are told of by all that are not named.
    fn walk(data: [Option<SynAnswer>; 4], silent: &[u8]) -> Walk {
        let hops = (1..=4).zip(data).map(|(ttl, data)| Hop {
            ttl,
            plain: match ttl {
                4 => SYN_ACK,
                ttl if silent.contains(&ttl) => SynAnswer::Nothing,
                ttl => at(ttl),
            },
            suspects: [None, data],
        });
        Walk { hops: hops.collect() }
    }

    fn located(data: [Option<SynAnswer>; 4], silent: &[u8]) -> (Fate, u8, Option<Place>) {
        let found = walk(data, silent).locate(Kind::CookieData, target());
        (found.fate, found.after.ttl, found.before)
    }

    #[test]
    fn the_hops_around_the_loss_are_named() {
        let none = Some(SynAnswer::Nothing);
        assert_eq!(
            located([Some(at(1)), none, none, None], &[]),
            (Fate::Dropped, 1, Some(place(2)))
        );
        assert_eq!(
            located([none, none, None, None], &[]),
            (Fate::Dropped, 0, Some(place(1)))
        );
        let last = located([Some(at(1)), Some(at(2)), Some(at(3)), none], &[]);
        assert_eq!(last, (Fate::Dropped, 3, Some(place(4))));
        let whole = located([Some(at(1)), Some(at(2)), Some(at(3)), Some(SYN_ACK)], &[]);
        assert_eq!(whole, (Fate::Arrive, 4, None));
    }

    #[test]
    fn silent_hops_widen_the_range_and_do_not_mislead() {
        let none = Some(SynAnswer::Nothing);
        // The second router tells nothing at all, the third nothing of SYNs with data: it may be either.
        assert_eq!(
            located([Some(at(1)), None, none, none], &[2]),
            (Fate::Dropped, 1, Some(place(3)))
        );
        // A router that limits its messages.
        assert_eq!(
            located([Some(at(1)), none, Some(at(3)), Some(SYN_ACK)], &[]),
            (Fate::Arrive, 4, None)
        );
        let nobody = Walk {
            hops: vec![Hop {
                ttl: 1,
                plain: SynAnswer::Nothing,
                suspects: [None; 2],
            }],
        };
        assert_eq!(nobody.locate(Kind::Request, target()).fate, Fate::Unknown);
    }

    #[test]
    fn what_is_changed_or_refused_is_located_too() {
        let stripped = SynAnswer::Hop {
            address: router(2),
            option: Some(false),
        };
        assert_eq!(
            located([Some(at(1)), Some(stripped), None, None], &[]),
            (Fate::Stripped, 1, Some(place(2)))
        );
        let reset = Some(SynAnswer::Reset);
        assert_eq!(
            located([Some(at(1)), Some(at(2)), reset, None], &[]),
            (Fate::Reset, 2, Some(place(3)))
        );
        let refused = Some(SynAnswer::Unreachable { address: router(2) });
        assert_eq!(
            located([Some(at(1)), refused, None, None], &[]),
            (Fate::Refused, 1, Some(place(2)))
        );
        // A short quote shows nothing about the option.
        let short = SynAnswer::Hop {
            address: router(2),
            option: None,
        };
        let found = located([Some(at(1)), Some(short), Some(at(3)), Some(SYN_ACK)], &[]);
        assert_eq!(found.0, Fate::Arrive);
    }

    #[test]
    fn the_walk_ends_when_nothing_more_can_be_learnt() {
        let none = Some(SynAnswer::Nothing);
        let mut walk = walk([Some(at(1)), none, none, None], &[]);
        assert!(walk.is_over(), "the destination");
        walk.hops.pop();
        assert!(
            !walk.is_over() && !walk.is_wanted(Kind::CookieData),
            "missing twice"
        );
        walk.hops.pop();
        assert!(walk.is_wanted(Kind::CookieData), "missing once");
        walk.hops = (1..=MOST_HOPS)
            .map(|ttl| Hop {
                ttl,
                plain: at(1),
                suspects: [None; 2],
            })
            .collect();
        assert!(walk.is_over(), "a loop of routers");
        walk.hops = (1..=6)
            .map(|ttl| Hop {
                ttl,
                plain: SynAnswer::Nothing,
                suspects: [None; 2],
            })
            .collect();
        assert!(walk.is_over(), "silence");
    }
}
