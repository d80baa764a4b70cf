//! What one handshake showed.

/// What a handshake says about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Evidence {
    /// SYN data was answered at once, taken or not: it passes.
    TfoOk = 0,
    /// SYN data was lost (`syn-timeout`), and the bare SYN that was sent again was answered.
    TfoFailed = 1,
    /// A bare SYN with the TFO option was answered at once.
    BareOk = 2,
    /// A bare SYN with the TFO option was not.
    BareFailed = 3,
    /// A SYN without TFO was answered at once.
    PlainOk = 4,
    /// A SYN without TFO had to be sent again, was reset or never answered.
    PlainFailed = 5,
    /// SYN data was reset or never answered (`failed`). A destination that is down does the same to every SYN.
    TfoDead = 6,
}

impl Evidence {
    /// The evidence with this code.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::TfoOk),
            1 => Some(Self::TfoFailed),
            2 => Some(Self::BareOk),
            3 => Some(Self::BareFailed),
            4 => Some(Self::PlainOk),
            5 => Some(Self::PlainFailed),
            6 => Some(Self::TfoDead),
            _ => None,
        }
    }
}

/// The result of one handshake.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The evidence it gives.
    pub evidence: Evidence,
    /// Whether it was the trial.
    pub trial: bool,
    /// Successes of its kind counted since its SYN left.
    pub later: u32,
    /// Time a failure cost, us; 0 where unknown.
    pub lost_us: u32,
}
