//! Roles and outcomes: the vocabulary of every output. An outcome knows its name, its group, what it says to a
//! person, and whether it is a failure; the compiler asks for each when one is added.

use crate::codes::codes;

codes! {
    /// Which end of the connection this host is.
    Role: u8 {
        /// The end that sent the SYN.
        Client = 0, "client";
        /// The end that received it.
        Server = 1, "server";
    }
}

codes! {
    /// What became of Fast Open in one handshake. Codes are append-only: they are stored in recordings.
    Outcome: u8 {
        /// TFO not asked for (client), or no TFO in the SYN (server).
        Plain = 0, "plain";
        /// Client: all SYN data acked by the SYN-ACK. Server: child created from the SYN.
        Accepted = 1, "accepted";
        /// All SYN data acked, but only after a SYN retransmission: the SYN-ACK was lost, the data was not.
        AcceptedLate = 2, "accepted-late";
        /// The SYN-ACK acked some of the SYN data.
        PartlyAccepted = 3, "partly-accepted";
        /// Cookie request sent and answered (client); request seen and TFO enabled on the listener (server).
        CookieGranted = 4, "cookie-granted";
        /// Cookie request sent, SYN-ACK came without a cookie.
        CookieRefused = 5, "cookie-refused";
        /// Cookie sent without data, handshake normal.
        CookieOnly = 6, "cookie-only";
        /// SYN data sent, SYN-ACK at once, nothing acked, no new cookie.
        DataRefused = 7, "data-refused";
        /// As `data-refused` with a new cookie in the SYN-ACK (client); the cookie did not match (server).
        CookieRejected = 8, "cookie-rejected";
        /// The SYN with the TFO option got no answer; a retransmitted bare SYN did.
        SynTimeout = 9, "syn-timeout";
        /// A RST answered the SYN that carried TFO.
        Reset = 10, "reset";
        /// TFO SYN sent, the handshake never completed.
        Failed = 11, "failed";
        /// TFO asked for; the kernel's blackhole pause sent a bare SYN.
        Paused = 12, "paused";
        /// SYN data withheld by a tfo-cli policy.
        Denied = 13, "denied";
        /// SYN data dropped on this host by something else (firewall, qdisc).
        LocalDrop = 14, "local-drop";
        /// The listener's TFO queue was full.
        QueueOverflow = 15, "queue-overflow";
        /// Request or cookie seen, listener or namespace has server TFO off.
        NotEnabled = 16, "not-enabled";
        /// SYN carried data but no TFO option.
        OptionStripped = 17, "option-stripped";
        /// SYN with TFO answered under SYN cookies.
        Syncookie = 18, "syncookie";
    }
}

codes! {
    /// What outcomes have in common: every outcome is in exactly one group, and every group in exactly one column
    /// of the destination table.
    Group: u8 {
        /// Fast Open had no part in the handshake.
        Plain = 0, "plain";
        /// Fast Open did what it was asked to do, or is on its way there (a cookie was granted).
        Good = 1, "good";
        /// A SYN or its answer was lost, which cost at least one retransmission timeout.
        Timeout = 2, "timeout";
        /// The other end answered at once, and did not take all the data or gave no cookie.
        Refused = 3, "refused";
        /// The handshake was never completed.
        Broken = 4, "broken";
        /// Something on this host other than a tfo-cli policy kept the data from leaving.
        Held = 5, "held";
        /// A tfo-cli policy kept the data from leaving, as it was told to.
        Denied = 6, "denied";
    }
}

/// What became of the data of a SYN that left ([`Outcome::syn_data`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynData {
    /// All or some of it was taken.
    Taken,
    /// The server answered at once with a new cookie.
    CookieWrong,
    /// The server answered at once, took nothing and gave nothing.
    Refused,
    /// Nothing answered it; a bare SYN was answered.
    Lost,
}

impl Group {
    /// Whether Fast Open was tried and did not work: what the dashboard counts as a failure. What a policy denies
    /// is not: somebody wanted it.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Timeout | Self::Refused | Self::Broken | Self::Held => true,
            Self::Plain | Self::Good | Self::Denied => false,
        }
    }
}

impl Outcome {
    /// Its group.
    pub const fn group(self) -> Group {
        match self {
            Self::Plain => Group::Plain,
            Self::Accepted | Self::CookieGranted | Self::CookieOnly => Group::Good,
            Self::AcceptedLate | Self::SynTimeout => Group::Timeout,
            Self::PartlyAccepted
            | Self::CookieRefused
            | Self::DataRefused
            | Self::CookieRejected
            | Self::QueueOverflow
            | Self::NotEnabled
            | Self::OptionStripped
            | Self::Syncookie => Group::Refused,
            Self::Reset | Self::Failed => Group::Broken,
            Self::Paused | Self::LocalDrop => Group::Held,
            Self::Denied => Group::Denied,
        }
    }

    /// What happened, in one sentence for a person; `None` where this end of a connection cannot have the outcome.
    pub const fn sentence(self, role: Role) -> Option<&'static str> {
        match role {
            Role::Client => self.client_sentence(),
            Role::Server => self.server_sentence(),
        }
    }

    /// Whether this end of a connection can have the outcome.
    pub const fn occurs_in(self, role: Role) -> bool {
        self.sentence(role).is_some()
    }

    const fn client_sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain => "Fast Open had no part in this connection.",
            Self::Accepted => "The server took the data of the SYN: one round trip saved.",
            Self::AcceptedLate => {
                "The server took the data, but its SYN-ACK was lost: ordinary loss, not Fast Open's fault."
            }
            Self::PartlyAccepted => "The server took some of the data; the rest went again.",
            Self::CookieGranted => "The server gave a cookie: the next connection can carry data.",
            Self::CookieRefused => {
                "The server gave no cookie: it has Fast Open off, or the path took the option out."
            }
            Self::CookieOnly => "The SYN carried a cookie and no data: nothing to gain or lose.",
            Self::DataRefused => {
                "The server answered at once and took nothing: Fast Open off, queue full or SYN cookies there."
            }
            Self::CookieRejected => {
                "The server did not know the cookie and gave a new one: its key changed, or servers behind one \
                 address have different keys."
            }
            Self::SynTimeout => {
                "The SYN with Fast Open vanished and a bare one was answered: something on the path drops it."
            }
            Self::Reset => "A RST answered the SYN: the path or the server refuses it.",
            Self::Failed => "Nobody answered, with Fast Open or without.",
            Self::Paused => "The kernel had paused Fast Open after repeated timeouts.",
            Self::Denied => "A tfo-cli policy kept the data out of the SYN; no time was lost.",
            Self::LocalDrop => "This host dropped the SYN with data: firewall or queueing.",
            Self::QueueOverflow | Self::NotEnabled | Self::OptionStripped | Self::Syncookie => return None,
        })
    }

    const fn server_sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain => "Fast Open had no part in this connection.",
            Self::Accepted => "Data was in the application before the handshake ended.",
            Self::CookieGranted => "A client asked for a cookie and got one.",
            Self::CookieRejected => {
                "The client's cookie did not match: the key changed, or it is another server's."
            }
            Self::QueueOverflow => "The listener's Fast Open queue was full: raise its qlen.",
            Self::NotEnabled => "A client tried Fast Open; this listener has it off.",
            Self::OptionStripped => "The SYN had data but no option: the path took it out.",
            Self::Syncookie => "Under SYN cookies Fast Open is not used.",
            Self::AcceptedLate
            | Self::PartlyAccepted
            | Self::CookieRefused
            | Self::CookieOnly
            | Self::DataRefused
            | Self::SynTimeout
            | Self::Reset
            | Self::Failed
            | Self::Paused
            | Self::Denied
            | Self::LocalDrop => return None,
        })
    }

    /// What a client's SYN with data came to, where it is certain that one left: the denominator of every judgement about
    /// the path and the server.
    pub const fn syn_data(self) -> Option<SynData> {
        match self {
            Self::Accepted | Self::AcceptedLate | Self::PartlyAccepted => Some(SynData::Taken),
            // A server that tells a wrong cookie from a right one has Fast Open on.
            Self::CookieRejected => Some(SynData::CookieWrong),
            Self::DataRefused => Some(SynData::Refused),
            Self::SynTimeout => Some(SynData::Lost),
            Self::Plain
            | Self::CookieGranted
            | Self::CookieRefused
            | Self::CookieOnly
            | Self::Reset
            | Self::Failed
            | Self::Paused
            | Self::Denied
            | Self::LocalDrop
            | Self::QueueOverflow
            | Self::NotEnabled
            | Self::OptionStripped
            | Self::Syncookie => None,
        }
    }

    /// Whether data in the SYN saved a round trip: the application had it before the handshake ended, and nothing
    /// had to be sent again before.
    #[inline(always)]
    pub const fn saves_round_trip(self) -> bool {
        self.is_hit() && !self.loses_timeout()
    }

    /// Whether the server took all data of the client's SYN, at once or after the SYN-ACK was lost: what HIT counts.
    #[inline(always)]
    pub const fn is_hit(self) -> bool {
        match self {
            Self::Accepted | Self::AcceptedLate => true,
            Self::Plain
            | Self::PartlyAccepted
            | Self::CookieGranted
            | Self::CookieRefused
            | Self::CookieOnly
            | Self::DataRefused
            | Self::CookieRejected
            | Self::SynTimeout
            | Self::Reset
            | Self::Failed
            | Self::Paused
            | Self::Denied
            | Self::LocalDrop
            | Self::QueueOverflow
            | Self::NotEnabled
            | Self::OptionStripped
            | Self::Syncookie => false,
        }
    }

    /// Whether the time from the first SYN to the one that was answered is lost. Handshakes that never completed
    /// have no SYN that was answered.
    #[inline(always)]
    pub const fn loses_timeout(self) -> bool {
        matches!(self.group(), Group::Timeout)
    }

    /// Whether Fast Open did what it was asked to do, or is on its way there.
    pub const fn is_good(self) -> bool {
        matches!(self.group(), Group::Good)
    }

    /// Whether Fast Open had no part in the handshake.
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        // Without `group()`: the BPF programs ask this, and a table of groups would be one more map for them.
        matches!(self, Self::Plain)
    }

    /// Whether Fast Open was tried and did not work: [`Group::is_failure`].
    pub const fn is_failure(self) -> bool {
        self.group().is_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_occurs_and_says_what_happened() {
        for outcome in Outcome::ALL {
            assert!(
                Role::ALL.into_iter().any(|role| outcome.occurs_in(role)),
                "{outcome:?}"
            );
            for sentence in Role::ALL.into_iter().filter_map(|role| outcome.sentence(role)) {
                assert!(sentence.ends_with('.'), "{sentence}");
            }
            assert_eq!(outcome.is_plain(), outcome.group() == Group::Plain, "{outcome:?}");
            assert_eq!(
                outcome.loses_timeout(),
                outcome.group() == Group::Timeout,
                "{outcome:?}"
            );
            assert!(!outcome.saves_round_trip() || outcome.is_good(), "{outcome:?}");
        }
    }

    #[test]
    fn every_group_has_an_outcome() {
        for group in Group::ALL {
            assert!(
                Outcome::ALL.into_iter().any(|outcome| outcome.group() == group),
                "{group:?}"
            );
        }
    }
}
