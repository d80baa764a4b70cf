//! The parameters of a scenario: address family, TFO interface, blocking or non-blocking socket.

use std::fmt;

use serde::Serialize;

use crate::client::{Api, Family};

/// The parameters of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Params {
    /// Address family of the client's socket.
    pub family: Family,
    /// How the client asks for TFO; scenarios about plain connections ignore it.
    pub api: Api,
    /// Whether the client's socket blocks.
    pub blocking: bool,
    /// Port of the first listener; the others have the ports after it. `None` lets the kernel choose. With a fixed port, a
    /// scenario that runs again has the same destination.
    pub first_port: Option<u16>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            family: Family::V4,
            api: Api::MsgFastopen,
            blocking: true,
            first_port: None,
        }
    }
}

impl Params {
    /// All twelve combinations of family, interface and blocking.
    pub fn all() -> impl Iterator<Item = Self> {
        let families = [Family::V4, Family::V6, Family::Mapped];
        let apis = [Api::MsgFastopen, Api::FastopenConnect];
        families.into_iter().flat_map(move |family| {
            apis.into_iter().flat_map(move |api| {
                [true, false].into_iter().map(move |blocking| Self {
                    family,
                    api,
                    blocking,
                    first_port: None,
                })
            })
        })
    }

    /// 4 or 6: the family on the wire.
    pub fn wire_family(self) -> u8 {
        if self.family == Family::V6 { 6 } else { 4 }
    }

    /// The most a SYN can carry over the lab's MTU of 1500: MSS less 40 bytes for options.
    pub fn syn_capacity(self) -> usize {
        if self.family == Family::V6 { 1400 } else { 1420 }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "v4",
            Family::V6 => "v6",
            Family::Mapped => "mapped",
        };
        let api = match self.api {
            Api::Plain => "plain",
            Api::MsgFastopen => "msg-fastopen",
            Api::FastopenConnect => "fastopen-connect",
        };
        write!(
            f,
            "{family}, {api}, {}",
            if self.blocking { "blocking" } else { "non-blocking" }
        )
    }
}
