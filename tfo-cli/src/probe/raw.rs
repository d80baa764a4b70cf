//! SYNs through raw sockets (`CAP_NET_RAW`): such as the kernel would not send, and with a TTL that ends on the way.
//!
//! ```text
//! segment (bytes) ──> socket (sends one, waits for the answer) ──> Seen ──> tally, locate (judge)
//! ```
//!
//! These SYNs make no connection: the kernel does not know them and answers each SYN-ACK by a RST, so that no state stays
//! at the server. Only `socket` does I/O.

pub mod locate;
pub mod segment;
pub mod socket;
pub mod tally;

use std::net::IpAddr;

/// A kind of SYN, by what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only the MSS option, for comparison.
    Plain,
    /// A cookie request with option 34.
    Request,
    /// A cookie request with the experimental option 254 and the number 0xf989.
    Experimental,
    /// An unknown option: the experimental option 253 (RFC 4727) with an unassigned identifier (RFC 6994).
    Unknown,
    /// Data and no Fast Open option.
    Data,
    /// Data, and option 34 with eight bytes that are no valid cookie: on the path it looks as any SYN with data, while the
    /// server does not accept the data.
    CookieData,
}

impl Kind {
    /// The kinds of `--raw`, in the order in which they are sent.
    pub const RAW: [Self; 5] = [
        Self::Plain,
        Self::Request,
        Self::Experimental,
        Self::Unknown,
        Self::Data,
    ];
    /// The kinds of `--locate`, besides plain SYNs.
    pub const SUSPECTS: [Self; 2] = [Self::Request, Self::CookieData];

    /// The name that every output uses, in kebab case.
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

    /// The kind in words.
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

/// The answer to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynAnswer {
    /// A router reported that the TTL was exceeded (ICMP time exceeded).
    Hop {
        /// Address of the router.
        address: IpAddr,
        /// Whether the SYN still had its Fast Open option there; `None` when the router quoted too little to tell.
        option: Option<bool>,
    },
    /// A router or host refused it (ICMP destination unreachable).
    Unreachable {
        /// Address of the router or host.
        address: IpAddr,
    },
    /// A SYN-ACK came, from the server or a middlebox.
    SynAck {
        /// Kind of the option with a cookie in it; `None` without a cookie.
        cookie: Option<u8>,
        /// Whether all data was acknowledged.
        data_acked: bool,
    },
    /// A RST came.
    Reset,
    /// Nothing came within the time limit.
    Nothing,
}
