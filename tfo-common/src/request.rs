//! Facts of a SYN that carried Fast Open, kept until its handshake ends: the value of [`crate::maps::REQUESTS`].

use crate::{Handshake, TfoOption, classify::Listener};

/// Facts of one SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Request {
    /// When it was answered, `CLOCK_MONOTONIC` ns.
    pub start_ns: u64,
    /// Its payload.
    pub syn_len: u32,
    /// [`TfoOption`] code.
    pub option: u8,
    /// 34, 254 or 0.
    pub option_kind: u8,
    /// [`Listener`] code, or [`LISTENER_UNKNOWN`].
    pub listener: u8,
    /// 1 when answered under SYN cookies.
    pub syncookie: u8,
    /// Which counter of [`crate::maps::WAITING`] it is counted by.
    pub kind: u32,
    /// 0 where its listener hands connections out at once; 1 where it waits for data (`TCP_DEFER_ACCEPT`), or nobody knows.
    pub defers: u32,
}

/// [`Request::listener`] where this kernel hides the listener's state.
pub const LISTENER_UNKNOWN: u8 = 255;

impl Request {
    /// Adds them to what is known of the handshake; false where this kernel hides what the listener could do.
    #[inline(always)]
    pub fn add_to(&self, facts: &mut Handshake) -> bool {
        facts.option = TfoOption::from_code(self.option).unwrap_or(TfoOption::None);
        facts.requested = !matches!(facts.option, TfoOption::None);
        facts.syn_data_len = self.syn_len;
        facts.syncookie = self.syncookie != 0;
        facts.listener = match self.listener {
            0 => Listener::Ready,
            1 => Listener::QueueFull,
            2 => Listener::Off,
            _ if facts.syncookie || !facts.requested => Listener::Off,
            _ => return false,
        };
        true
    }
}

const _: () = assert!(size_of::<Request>() == 24);
