//! Why nothing is said about a connection: each reason by name, each counted.

/// Makes the enum, its table and its words from one list.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $text:literal;)+) => {
        /// What a capture cannot know about a connection, and why.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Unknown { $($(#[$doc])* $variant,)+ }

        impl Unknown {
            /// Every reason.
            pub const ALL: &[Unknown] = &[$(Unknown::$variant),+];

            /// The kebab-case word every output uses.
            pub const fn name(self) -> &'static str {
                match self { $(Unknown::$variant => $word,)+ }
            }

            /// One sentence for a person.
            pub const fn describe(self) -> &'static str {
                match self { $(Unknown::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    /// The SYN or its answer was cut before its options were over.
    Snaplen, "snaplen", "the capture kept too little of the SYN or its answer: capture again with a longer -s";
    /// The SYN was fragmented: how much data it had is not in the first fragment.
    Fragmented, "fragmented", "the SYN was fragmented";
    /// An answer whose SYN is not there.
    SynUnseen, "syn-unseen", "the answer to a SYN is there, the SYN is not";
    /// It was there before the capture began, or its beginning was forgotten.
    MidStream, "mid-stream", "it began before the capture did";
    /// The capture ended before the handshake did.
    CaptureEnd, "capture-end", "the capture ended before the handshake did";
    /// Only packets of one direction are there.
    OneSided, "one-sided", "the capture has packets of the client only";
    /// Both ends sent a SYN (RFC 9293 section 3.5).
    SimultaneousOpen, "simultaneous-open", "both ends opened the connection at once";
    /// The wire looks the same for several states of the listener.
    ListenerState, "listener-state",
        "at the server: a listener with Fast Open off, a full queue and SYN cookies look alike on the wire";
    /// The table of connections was full.
    TableFull, "table-full", "too many connections at once: the oldest were forgotten";
}

/// Number of reasons.
pub const COUNT: usize = Unknown::ALL.len();
