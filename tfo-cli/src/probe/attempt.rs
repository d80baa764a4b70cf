//! The facts about one connection of a probe.

use std::time::Duration;

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An ordinary `connect()`, for comparison.
    Plain,
    /// `sendto(MSG_FASTOPEN)`: the kernel sends a cookie request, or a cookie with data when its cache has one.
    FastOpen,
}

impl Step {
    /// The name that every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::FastOpen => "fast-open",
        }
    }
}

/// What the first SYN carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// No Fast Open option.
    Nothing,
    /// An empty option, which requests a cookie (RFC 7413 section 4.1.1).
    Request,
    /// This many bytes of data.
    Data(usize),
}

/// How the handshake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was completed without a retransmitted SYN.
    AtOnce,
    /// It was completed after the SYN had been retransmitted.
    Late,
    /// A RST came (ECONNREFUSED).
    Reset,
    /// Nothing came within the time limit.
    Nothing,
    /// The kernel returned another error, such as EHOSTUNREACH.
    Error(String),
}

impl Answer {
    /// The name that every output uses.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::Late => "late",
            Self::Reset => "reset",
            Self::Nothing => "nothing",
            Self::Error(_) => "error",
        }
    }

    /// Whether the handshake was completed.
    pub const fn is_established(&self) -> bool {
        matches!(self, Self::AtOnce | Self::Late)
    }
}

/// Whether the data in the SYN was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFate {
    /// The SYN-ACK acknowledged all of it (`TCPI_OPT_SYN_DATA`).
    Acked,
    /// The SYN-ACK did not acknowledge all of it (`TFO_DATA_NOT_ACKED`).
    NotAcked,
    /// The SYN had to be retransmitted, without data (`TFO_SYN_RETRANSMITTED`).
    Lost,
}

/// The kernel's cookie for the destination, before or after an attempt. Only its hash is kept, because a cookie identifies
/// its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cookie {
    /// The cache could not be read.
    #[default]
    NotLookedAt,
    /// The cache has no cookie.
    None,
    /// The salted hash of the cookie.
    Hash(String),
}

/// An attempt: one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The kind of the attempt.
    pub step: Step,
    /// What the first SYN carried.
    pub carried: Carried,
    /// How the handshake ended.
    pub answer: Answer,
    /// Whether the data in the SYN was accepted; `None` without data, or without a completed handshake.
    pub data: Option<DataFate>,
    /// The kernel's smoothed round trip time.
    pub rtt: Option<Duration>,
    /// Time from the first call to the completed handshake.
    pub handshake: Option<Duration>,
    /// Time from the first call to the first byte of the reply.
    pub first_byte: Option<Duration>,
    /// The cookie before the attempt.
    pub cookie_before: Cookie,
    /// The cookie after the attempt.
    pub cookie_after: Cookie,
}

impl Attempt {
    /// Whether the kernel has another cookie after this attempt.
    pub fn got_new_cookie(&self) -> Option<bool> {
        match (&self.cookie_before, &self.cookie_after) {
            (Cookie::NotLookedAt, _) | (_, Cookie::NotLookedAt) => None,
            (before, after) => Some(matches!(after, Cookie::Hash(_)) && before != after),
        }
    }

    /// Whether the first SYN was not answered: it was retransmitted, or nothing came at all.
    pub const fn is_unanswered(&self) -> bool {
        matches!(self.answer, Answer::Late | Answer::Nothing)
    }
}

/// Attempts for tests.
#[cfg(test)]
pub mod build {
    use super::{Answer, Attempt, Carried, Cookie, DataFate, Step};

    /// A plain attempt.
    pub fn plain(answer: Answer) -> Attempt {
        Attempt {
            step: Step::Plain,
            carried: Carried::Nothing,
            answer,
            data: None,
            rtt: None,
            handshake: None,
            first_byte: None,
            cookie_before: Cookie::NotLookedAt,
            cookie_after: Cookie::NotLookedAt,
        }
    }

    /// A cookie request.
    pub fn request(answer: Answer) -> Attempt {
        Attempt {
            step: Step::FastOpen,
            carried: Carried::Request,
            ..plain(answer)
        }
    }

    /// A SYN with data.
    pub fn data(fate: DataFate) -> Attempt {
        let answer = if matches!(fate, DataFate::Lost) {
            Answer::Late
        } else {
            Answer::AtOnce
        };
        Attempt {
            step: Step::FastOpen,
            carried: Carried::Data(100),
            data: Some(fate),
            ..plain(answer)
        }
    }

    /// The same with the cookies around it.
    pub fn with_cookies(attempt: Attempt, before: &str, after: &str) -> Attempt {
        let cookie = |text: &str| match text {
            "" => Cookie::None,
            hash => Cookie::Hash(hash.to_owned()),
        };
        Attempt {
            cookie_before: cookie(before),
            cookie_after: cookie(after),
            ..attempt
        }
    }
}
