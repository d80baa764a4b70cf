//! Handshakes whose end a guard waits for.

use core::mem::offset_of;

use crate::slots::near;

/// An attempt the application gave up without a second SYN says something after so many round trips, where one is known.
pub const GIVE_UP_RTTS: u64 = 4;
/// And never earlier than after this.
pub const GIVE_UP_NS: u64 = 50 * 1_000_000;

/// A handshake a guard wants to know the end of: in an array at the place its socket hashes to. Socket storage costs
/// more than everything else that is done for a connection; where the place is taken the handshake is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Watch {
    /// Address of the socket; 0 for none.
    pub sk: u64,
    /// cgroup id of the guard; 0 where none watches it, and as long as it is [`watch::EARLY`].
    pub guard: u64,
    /// cgroup id of the socket, where there is a guard.
    pub own: u64,
    /// Where it goes, by [`slot_hash`](super::slot_hash).
    pub destination: u64,
    /// By which network, likewise.
    pub network: u64,
    /// Successes counted for this destination when the SYN left: of SYNs with data, and of bare ones.
    pub seen: [u32; 2],
    /// When it began, in ticks of the kernel (the low half of `jiffies_64`).
    pub born: u32,
    /// When it has ended: what a failure cost, us, to a tick.
    pub lost_us: u32,
    /// Bits of [`watch`].
    pub flags: u8,
    /// `sock_ops` callback flags we added and have to take back.
    pub added: u8,
    /// Which of its four entries it is the trial of, from 1; 0 for none.
    pub trial: u8,
    /// When it has ended: [`Evidence`](super::Evidence) code, or [`watch::NOTHING`].
    pub evidence: u8,
    /// When it has ended: which of its four entries is judged next.
    pub entry: u8,
    /// When it has ended: 1 if the entry before has opened.
    pub opened: u8,
    /// Zero.
    pub pad: [u8; 2],
}

impl Watch {
    /// What [`Watch::flags`] to [`Watch::pad`] are when it begins, as one word of the memory they lie in.
    pub const BEGIN: u64 =
        (watch::NOTHING as u64) << (8 * (offset_of!(Watch, evidence) - offset_of!(Watch, flags)));
}

/// Bits of [`Watch::flags`].
pub mod watch {
    /// The SYN that left carries data.
    pub const DATA: u8 = 1;
    /// The first SYN that left carries the TFO option.
    pub const OPTION: u8 = 2;
    /// The SYN with data was denied.
    pub const DENIED: u8 = 4;
    /// The option is taken out on the way.
    pub const STRIPPED: u8 = 8;
    /// Nothing had ever failed and there was no rule when it began ([`Birth`](super::Birth)): nobody looked at its SYN, and who its guard
    /// is is found out when it is judged.
    pub const EARLY: u8 = 16;
    /// An early one: other SYNs of its kind, later ones for all that is known, were answered at once. How many is not known.
    pub const OVERTAKEN: u8 = 32;
    /// As evidence: none.
    pub const NOTHING: u8 = 255;
}

/// A handshake that began when nothing had ever failed and there was no rule: all that is kept of it, and written without a look at
/// what was there. What its SYN was like the socket itself says when it has ended.
///
/// One number: what [`Watch::born`] is in the lower half, above it a bit that says whether it was asked for changes of state, and
/// above that bits 6 to 36 of the socket's address, of which the lower six are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Birth(u64);

impl Birth {
    /// None.
    pub const NONE: Self = Self(0);
    const ASKED: u64 = 1 << 32;

    /// Of the socket at this address, in this tick; `asked`: we added the `sock_ops` callback flag for changes of state, and have to
    /// take it back.
    #[inline(always)]
    pub const fn new(sk: u64, born: u32, asked: bool) -> Self {
        Self(Self::tag(sk) | (asked as u64) << 32 | born as u64)
    }

    /// As a map has it.
    pub const fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// Whether it is of the socket at this address.
    #[inline(always)]
    pub const fn is_of(self, sk: u64) -> bool {
        (self.0 ^ Self::tag(sk)) >> 33 == 0 && self.0 != 0
    }

    /// Whether there is one.
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Whether we have to take the flag back.
    #[inline(always)]
    pub const fn asked(self) -> bool {
        self.0 & Self::ASKED != 0
    }

    /// As [`Watch::born`].
    #[inline(always)]
    pub const fn born(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn tag(sk: u64) -> u64 {
        sk >> 6 << 33
    }
}

/// Places of [`Birth`]s, a power of two: many more than of [`Watch`]es, for one takes the place of another without a look.
pub const BIRTHS: u32 = 65_536;

/// The place of a socket's [`Birth`].
#[inline(always)]
pub const fn birth_of(sk: u64) -> u32 {
    near(sk) & (BIRTHS - 1)
}

/// Places of [`Watch`]es, a power of two.
pub const WATCHES: u32 = 8_192;

/// The place of a socket's [`Watch`]: near those of sockets that are near it. At random places a connect waited 67 ns for its line.
#[inline(always)]
pub const fn watch_of(sk: u64) -> u32 {
    near(sk) & (WATCHES - 1)
}

/// Whether a handshake the application gave up after its only SYN shows anything: after [`GIVE_UP_RTTS`] round trips,
/// where the round trip is known (`rtt_us`, 0 for not).
#[inline(always)]
pub const fn waited_long_enough(waited_ns: u64, rtt_us: u32) -> bool {
    rtt_us != 0 && waited_ns >= GIVE_UP_NS && waited_ns >= rtt_us as u64 * 1_000 * GIVE_UP_RTTS
}

// One cache line, of which what is cleared together lies together.
const _: () = assert!(size_of::<Watch>() == 64);
const _: () = assert!(offset_of!(Watch, born) == 48 && offset_of!(Watch, flags) == 56);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birth_is_its_sockets_alone() {
        let sk = 0xffff_8881_2345_6780_u64;
        for (born, asked) in [(0, false), (u32::MAX, true)] {
            let birth = Birth::new(sk, born, asked);
            assert_eq!((birth.born(), birth.asked()), (born, asked));
            assert!(birth.is_some() && birth.is_of(sk));
            assert!(!birth.is_of(sk + 64) && !birth.is_of(sk - 64) && !birth.is_of(sk + (1 << 32)));
        }
        assert!(!Birth::NONE.is_some() && !Birth::NONE.is_of(sk) && !Birth::NONE.is_of(0));
    }

    #[test]
    fn sockets_of_one_slab_are_watched_within_two_pages() {
        let slab = 0xffff_8881_0000_0000_u64;
        let places: [u32; 13] = core::array::from_fn(|index| watch_of(slab + index as u64 * 2_432));
        let page = |place: u32| place as usize * size_of::<Watch>() / 4_096;
        let mut pages = places.map(page);
        pages.sort_unstable();
        assert!(pages[12] - pages[0] <= 1, "{places:?}");
        for (index, place) in places.iter().enumerate() {
            assert!(!places[..index].contains(place), "{places:?}");
        }
    }
}
