//! Roles and outcomes: the vocabulary of every output (DESIGN.md section 3).

/// Which end of the connection this host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// The end that sent the SYN.
    Client = 0,
    /// The end that received it.
    Server = 1,
}

impl Role {
    /// Number of roles: the first dimension of every totals table.
    pub const COUNT: usize = 2;
    /// Both roles, in the order of their codes.
    pub const ALL: [Role; Self::COUNT] = [Role::Client, Role::Server];

    /// The role with this code, if there is one.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Option<Role> {
        match code {
            0 => Some(Role::Client),
            1 => Some(Role::Server),
            _ => None,
        }
    }

    /// The word every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

/// Makes the enum, its table of all values and its names from one list.
macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, [$($role:ident),+];)+) => {
        /// What became of Fast Open in one handshake. Codes are append-only: they are stored in recordings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Outcome { $($(#[$doc])* $variant = $code,)+ }

        impl Outcome {
            /// Every outcome, in the order of their codes.
            pub const ALL: [Outcome; Outcome::COUNT] = [$(Outcome::$variant),+];
            /// Number of outcomes: the second dimension of every totals table.
            pub const COUNT: usize = [$($code as u8),+].len();

            /// The outcome with this code, if there is one.
            #[inline(always)]
            pub const fn from_code(code: u8) -> Option<Outcome> {
                match code { $($code => Some(Outcome::$variant),)+ _ => None }
            }

            /// The kebab-case word every output uses.
            pub const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name,)+ }
            }

            /// The roles in which this outcome can occur.
            pub const fn roles(self) -> &'static [Role] {
                match self { $(Outcome::$variant => &[$(Role::$role),+],)+ }
            }
        }
    };
}

outcomes! {
    /// TFO not asked for (client), or no TFO in the SYN (server).
    Plain = 0, "plain", [Client, Server];
    /// Client: all SYN data acked by the SYN-ACK. Server: child created from the SYN.
    Accepted = 1, "accepted", [Client, Server];
    /// All SYN data acked, but only after a SYN retransmission: the SYN-ACK was lost, the data was not.
    AcceptedLate = 2, "accepted-late", [Client];
    /// The SYN-ACK acked some of the SYN data.
    PartlyAccepted = 3, "partly-accepted", [Client];
    /// Cookie request sent and answered (client); request seen and TFO enabled on the listener (server).
    CookieGranted = 4, "cookie-granted", [Client, Server];
    /// Cookie request sent, SYN-ACK came without a cookie.
    CookieRefused = 5, "cookie-refused", [Client];
    /// Cookie sent without data, handshake normal.
    CookieOnly = 6, "cookie-only", [Client];
    /// SYN data sent, SYN-ACK at once, nothing acked, no new cookie.
    DataRefused = 7, "data-refused", [Client];
    /// As `data-refused` with a new cookie in the SYN-ACK (client); the cookie did not match (server).
    CookieRejected = 8, "cookie-rejected", [Client, Server];
    /// The SYN with the TFO option got no answer; a retransmitted bare SYN did.
    SynTimeout = 9, "syn-timeout", [Client];
    /// A RST answered the SYN that carried TFO.
    Reset = 10, "reset", [Client];
    /// TFO SYN sent, the handshake never completed.
    Failed = 11, "failed", [Client];
    /// TFO asked for; the kernel's blackhole pause sent a bare SYN.
    Paused = 12, "paused", [Client];
    /// SYN data withheld by a tfo-cli policy.
    Denied = 13, "denied", [Client];
    /// SYN data dropped on this host by something else (firewall, qdisc).
    LocalDrop = 14, "local-drop", [Client];
    /// The listener's TFO queue was full.
    QueueOverflow = 15, "queue-overflow", [Server];
    /// Request or cookie seen, listener or namespace has server TFO off.
    NotEnabled = 16, "not-enabled", [Server];
    /// SYN carried data but no TFO option.
    OptionStripped = 17, "option-stripped", [Server];
    /// SYN with TFO answered under SYN cookies.
    Syncookie = 18, "syncookie", [Server];
}

impl Outcome {
    /// Whether TFO did what it was asked to do, or is on its way there (a cookie was granted).
    pub const fn is_good(self) -> bool {
        matches!(
            self,
            Outcome::Accepted | Outcome::CookieGranted | Outcome::CookieOnly
        )
    }

    /// Whether TFO had no part in the handshake.
    pub const fn is_plain(self) -> bool {
        matches!(self, Outcome::Plain)
    }

    /// Whether Fast Open was tried and did not work: what a dashboard counts as a failure.
    pub const fn is_failure(self) -> bool {
        !self.is_good() && !matches!(self, Outcome::Plain | Outcome::Denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_round_trip() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
            assert_eq!(Outcome::from_code(outcome as u8), Some(outcome));
            assert!(!outcome.roles().is_empty());
        }
        assert_eq!(Outcome::from_code(Outcome::COUNT as u8), None);
        assert_eq!(Role::from_code(2), None);
    }

    #[test]
    fn names_are_unique_kebab_case() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert!(
                outcome
                    .name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            );
            assert!(
                Outcome::ALL[..index]
                    .iter()
                    .all(|other| other.name() != outcome.name())
            );
        }
    }
}
