//! What an observer must record about a connection, for each end.

use serde::Serialize;

use crate::client::Report;

/// The TFO option of the first SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionSent {
    /// No option.
    None,
    /// An empty option, which requests a cookie.
    Request,
    /// An option with a cookie.
    Cookie,
}

/// What one end saw of a connection, on its own side of the middlebox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// Name of the outcome for this role.
    pub outcome: &'static str,
    /// Option in the first SYN that left (client) or in the SYN that was answered (server).
    pub option_sent: OptionSent,
    /// 34 or 254; `None` without an option.
    pub option_kind: Option<u8>,
    /// Bytes of data in that SYN.
    pub syn_data_len: usize,
    /// How many of them the SYN-ACK acked.
    pub syn_data_acked: usize,
    /// Whether the SYN-ACK carried a cookie, where this end saw it.
    pub cookie_in_syn_ack: bool,
    /// Whether the SYN was retransmitted (client only).
    pub retransmitted: bool,
    /// Whether the handshake completed.
    pub established: bool,
}

impl View {
    /// A connection without TFO.
    pub fn bare(outcome: &'static str) -> Self {
        Self {
            outcome,
            option_sent: OptionSent::None,
            option_kind: None,
            syn_data_len: 0,
            syn_data_acked: 0,
            cookie_in_syn_ack: false,
            retransmitted: false,
            established: true,
        }
    }

    /// A cookie request.
    pub fn request(outcome: &'static str, granted: bool) -> Self {
        Self {
            option_sent: OptionSent::Request,
            option_kind: Some(34),
            cookie_in_syn_ack: granted,
            ..Self::bare(outcome)
        }
    }

    /// A cookie with `len` bytes of data, `acked` of which were taken.
    pub fn cookie(outcome: &'static str, len: usize, acked: usize) -> Self {
        Self {
            option_sent: OptionSent::Cookie,
            option_kind: Some(34),
            syn_data_len: len,
            syn_data_acked: acked,
            ..Self::bare(outcome)
        }
    }

    /// Data without an option.
    pub fn naked_data(outcome: &'static str, len: usize, acked: usize) -> Self {
        Self {
            syn_data_len: len,
            syn_data_acked: acked,
            ..Self::bare(outcome)
        }
    }

    /// The same with option 254.
    #[must_use]
    pub fn experimental(self) -> Self {
        Self {
            option_kind: Some(254),
            ..self
        }
    }

    /// The same with a cookie in the SYN-ACK.
    #[must_use]
    pub fn with_new_cookie(self) -> Self {
        Self {
            cookie_in_syn_ack: true,
            ..self
        }
    }

    /// The same with a retransmitted SYN.
    #[must_use]
    pub fn late(self) -> Self {
        Self {
            retransmitted: true,
            ..self
        }
    }

    /// The same with a handshake that never completed.
    #[must_use]
    pub fn unfinished(self) -> Self {
        Self {
            established: false,
            ..self
        }
    }

    /// The `TCPFastOpen*` counters that the client's kernel increments for this connection.
    pub(super) fn client_counters(&self) -> Vec<&'static str> {
        let whole = self.syn_data_len > 0 && self.syn_data_acked == self.syn_data_len;
        let refused = self.established && self.syn_data_acked < self.syn_data_len;
        // The final expiry of a TFO connection counts as a suspected blackhole.
        let expired = self.outcome == "failed";
        let mut counters = Vec::new();
        counters.extend(whole.then_some("TCPFastOpenActive"));
        counters.extend((refused || expired).then_some("TCPFastOpenActiveFail"));
        counters
    }

    /// The `TCPFastOpen*` counters that the server's kernel increments for this connection.
    pub(super) fn server_counters(&self) -> Vec<&'static str> {
        let mut counters = Vec::new();
        match self.outcome {
            "accepted" => {
                counters.push("TCPFastOpenPassive");
                counters.extend(self.cookie_in_syn_ack.then_some("TCPFastOpenPassiveAltKey"));
            }
            "cookie-rejected" => counters.push("TCPFastOpenPassiveFail"),
            "queue-overflow" => counters.push("TCPFastOpenListenOverflow"),
            _ => {}
        }
        // The kernel counts this before it checks whether TFO is enabled.
        counters.extend((self.option_sent == OptionSent::Request).then_some("TCPFastOpenCookieReqd"));
        counters
    }
}

/// One connection of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// Whether it only prepares the scenario.
    pub priming: bool,
    /// Whether the application asked for TFO.
    pub tfo_requested: bool,
    /// 4 or 6: the family on the wire.
    pub family: u8,
    /// Bytes the application sent.
    pub payload: usize,
    /// What the client's record must say.
    pub client: View,
    /// What the server's record must say; `None` if the server's stack never saw the connection.
    pub server: Option<View>,
    /// What the client's socket did, and both addresses.
    pub report: Report,
}
