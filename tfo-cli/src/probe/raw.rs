//! SYNs made by hand (`CAP_NET_RAW`): what the kernel would not send, and with a TTL that ends on the way.
//!
//! ```text
//! segment (bytes, pure) ──> socket (sends one, waits for what comes back) ──> Seen ──> tally, locate (pure)
//! ```
//!
//! No connection comes of it: the kernel knows nothing of these SYNs and answers each SYN-ACK with a RST, so nothing stays
//! behind at the other end.

pub mod locate;
pub mod segment;
pub mod socket;
pub mod tally;

use std::net::IpAddr;

/// What a SYN carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A segment size: the baseline.
    Plain,
    /// A cookie request with option 34.
    Request,
    /// A cookie request with the experimental option 254 and the number 0xf989.
    Experimental,
    /// An option nobody knows: the experimental option 253 (RFC 4727) with a number nobody was given (RFC 6994).
    Unknown,
    /// Data and no Fast Open option.
    Data,
    /// Data, and option 34 with eight bytes that are no cookie: the path sees what it always sees, and the server, which does
    /// not know the cookie, takes no data.
    CookieData,
}

impl Kind {
    /// Those of `--raw`, in this order.
    pub const RAW: [Self; 5] = [
        Self::Plain,
        Self::Request,
        Self::Experimental,
        Self::Unknown,
        Self::Data,
    ];
    /// Those that are looked for on the way, after plain SYNs.
    pub const SUSPECTS: [Self; 2] = [Self::Request, Self::CookieData];

    /// The kebab-case word every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Request => "option-34",
            Self::Experimental => "option-254",
            Self::Unknown => "unknown-option",
            Self::Data => "data-without-option",
            Self::CookieData => "data",
        }
    }

    /// What such SYNs are, in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Plain => "plain SYNs",
            Self::Request => "SYNs with option 34",
            Self::Experimental => "SYNs with the experimental option 254",
            Self::Unknown => "SYNs with an option nobody knows",
            Self::Data => "SYNs with data and no option",
            Self::CookieData => "SYNs with data and option 34",
        }
    }

    /// Whether it carries data.
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Data | Self::CookieData)
    }

    /// Whether it carries a Fast Open option.
    pub const fn has_option(self) -> bool {
        matches!(self, Self::Request | Self::Experimental | Self::CookieData)
    }
}

/// What came back for one SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its TTL ended at a router (ICMP time exceeded).
    Hop {
        /// The router.
        address: IpAddr,
        /// Whether the SYN still had its Fast Open option there; `None` where the router did not quote that much.
        option: Option<bool>,
    },
    /// A router or host refused it (ICMP destination unreachable).
    Unreachable {
        /// Who.
        address: IpAddr,
    },
    /// The other end, or something in its name, answered.
    SynAck {
        /// Kind of the option that brought a cookie.
        cookie: Option<u8>,
        /// All data was acknowledged.
        data_acked: bool,
    },
    /// A RST came.
    Reset,
    /// Nothing came for as long as was waited.
    Nothing,
}
