//! What one connection of a probe did, as facts.

use std::time::Duration;

/// What an attempt was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An ordinary `connect()`: the baseline.
    Plain,
    /// `sendto(MSG_FASTOPEN)`: the kernel sends a cookie request, or a cookie with data, as its cache tells it.
    FastOpen,
}

impl Step {
    /// The word every output uses.
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
    /// An empty option: a request for a cookie (RFC 7413 section 4.1.1).
    Request,
    /// This many bytes of data.
    Data(usize),
}

/// What became of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was completed without a SYN being sent again.
    AtOnce,
    /// It was completed after a SYN was sent again.
    Late,
    /// A RST came (ECONNREFUSED).
    Reset,
    /// Nothing came for as long as was waited.
    Nothing,
    /// The kernel gave another error, such as EHOSTUNREACH.
    Error(String),
}

impl Answer {
    /// The word every output uses.
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

/// What became of the data in the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFate {
    /// The SYN-ACK acknowledged all of it (`TCPI_OPT_SYN_DATA`).
    Acked,
    /// The SYN-ACK did not (`TFO_DATA_NOT_ACKED`).
    NotAcked,
    /// A SYN had to be sent again, without data (`TFO_SYN_RETRANSMITTED`).
    Lost,
}

/// The kernel's cookie for the destination before and after an attempt. Only hashes: a cookie identifies its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cookie {
    /// The cache could not be looked at.
    #[default]
    NotLookedAt,
    /// There is none.
    None,
    /// Its salted hash.
    Hash(String),
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it was asked to do.
    pub step: Step,
    /// What its first SYN carried.
    pub carried: Carried,
    /// What came back.
    pub answer: Answer,
    /// What became of the data, where there was some and the handshake was completed.
    pub data: Option<DataFate>,
    /// The kernel's smoothed round trip time.
    pub rtt: Option<Duration>,
    /// First call to the completed handshake.
    pub handshake: Option<Duration>,
    /// First call to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// The cookie before it.
    pub cookie_before: Cookie,
    /// The cookie after it.
    pub cookie_after: Cookie,
}

impl Attempt {
    /// Whether the cache got another cookie from this connection.
    pub fn got_new_cookie(&self) -> Option<bool> {
        match (&self.cookie_before, &self.cookie_after) {
            (Cookie::NotLookedAt, _) | (_, Cookie::NotLookedAt) => None,
            (before, after) => Some(matches!(after, Cookie::Hash(_)) && before != after),
        }
    }

    /// Whether the first SYN found no answer: it had to be sent again, or nothing ever came.
    pub const fn is_unanswered(&self) -> bool {
        matches!(self.answer, Answer::Late | Answer::Nothing)
    }
}

/// Builds attempts for tests, and nothing else.
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
