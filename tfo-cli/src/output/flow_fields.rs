//! The fields of a flow as machines read them, in their order: the only list of them. JSON names them in every line,
//! CSV in the first one. Fields may be added at the end in later versions, none is renamed or removed.

use std::{borrow::Cow, net::IpAddr};

use serde::Serialize;
use tfo_common::Carried;

use super::{FlowLine, time};
use crate::{clean, fingerprint::Fingerprint};

/// A flow. Times that end in `_us` are whole microseconds. What only a capture can miss is `null` there alone.
#[derive(Clone, Debug, Serialize)]
pub struct FlowFields<'a> {
    /// Wall clock of the verdict, RFC 3339, UTC, microseconds. The SYN was sent `handshake_us` earlier.
    pub ts: String,
    /// `client` or `server`: which end this host is.
    pub role: &'static str,
    /// What became of Fast Open.
    pub outcome: Option<&'static str>,
    /// 4 or 6, on the wire.
    pub family: u8,
    /// This host's end.
    pub local_addr: IpAddr,
    /// Its port.
    pub local_port: u16,
    /// The other end.
    pub remote_addr: IpAddr,
    /// Its port.
    pub remote_port: u16,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// cgroup v2 id.
    pub cgroup_id: Option<u64>,
    /// Its path below the cgroup2 mount.
    pub cgroup: Option<Cow<'a, str>>,
    /// systemd unit named by the path.
    pub unit: Option<Cow<'a, str>>,
    /// Container id named by the path.
    pub container: Option<Cow<'a, str>>,
    /// Process id (tgid) of the client, in the initial PID namespace.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<Cow<'a, str>>,
    /// The application asked for Fast Open.
    pub tfo_requested: Option<bool>,
    /// Option in the first SYN: `none`, `request` or `cookie`.
    pub option_sent: Option<&'static str>,
    /// 34, or 254 for the experimental one.
    pub option_kind: Option<u8>,
    /// Payload bytes of the SYN.
    pub syn_data_len: Option<u32>,
    /// How many of them the SYN-ACK acked (client) or the listener took (server).
    pub syn_data_acked: Option<u32>,
    /// The SYN-ACK brought a cookie.
    pub cookie_received: Option<bool>,
    /// SYN (client) or SYN-ACK (server) retransmissions.
    pub syn_retrans: u32,
    /// First SYN to the end of the handshake.
    pub handshake_us: Option<u32>,
    /// First SYN to the first byte of the server's answer.
    pub ttfb_us: Option<u32>,
    /// Time Fast Open saved: one round trip for `accepted`.
    pub saved_us: u32,
    /// Time it lost: from the first SYN to the one that was answered.
    pub lost_us: u32,
    /// Action of the rule or guard that applied to the SYN ([`tfo_common::PolicyAction`]).
    pub policy: Option<&'static str>,
    /// Round-trip time: from the SYN that was answered to its answer.
    pub rtt_us: Option<u32>,
    /// What the network of the other end is called (`--networks`).
    pub network: Option<Cow<'a, str>>,
    /// What rode in the SYN, where somebody looked ([`tfo_common::Carried`]). Live a policy does, and tells only what may not
    /// be sent twice.
    pub syn_data: Option<&'static str>,
    /// Salted hash of the cookie that the kernel keeps for this pair of addresses (`trace --cookies`, clients).
    pub cookie: Option<Fingerprint>,
}

impl<'a> FlowFields<'a> {
    /// What is said about a flow.
    pub fn of(line: &FlowLine<'a>) -> Self {
        let flow = line.flow;
        let event = flow.event();
        Self {
            ts: time::rfc3339(line.wall_ns()),
            role: flow.role().name(),
            outcome: Some(flow.outcome().name()),
            family: event.family,
            local_addr: flow.local_ip(),
            local_port: event.local_port,
            remote_addr: flow.remote_ip(),
            remote_port: event.remote_port,
            netns: Some(event.netns).filter(|inode| *inode != 0),
            cgroup_id: Some(event.cgroup_id).filter(|id| *id != 0),
            cgroup: line.cgroup.map(|name| name.path.as_str().into()),
            unit: line.cgroup.and_then(|name| name.unit.as_deref().map(Cow::from)),
            container: line
                .cgroup
                .and_then(|name| name.container.as_deref().map(Cow::from)),
            pid: flow.pid(),
            comm: flow.comm(),
            tfo_requested: Some(flow.requested()),
            option_sent: Some(flow.option().name()),
            option_kind: flow.option_kind(),
            syn_data_len: Some(event.syn_data_len),
            syn_data_acked: Some(event.syn_data_acked),
            cookie_received: Some(flow.cookie_received()),
            syn_retrans: event.syn_retrans,
            handshake_us: flow.handshake_us(),
            ttfb_us: flow.ttfb_us(),
            saved_us: event.saved_us,
            lost_us: event.lost_us,
            policy: flow.policy().map(tfo_common::PolicyAction::name),
            rtt_us: flow.rtt_us(),
            network: line.network.map(Cow::from),
            syn_data: flow.carried().map(Carried::name),
            cookie: line.cookie,
        }
    }

    /// The same with what others chose as cells of a CSV file can have it.
    #[must_use]
    pub fn in_cells(mut self) -> Self {
        for chosen in [
            &mut self.cgroup,
            &mut self.unit,
            &mut self.container,
            &mut self.comm,
        ] {
            *chosen = chosen.take().map(|text| clean::cell(&text).into_owned().into());
        }
        self
    }
}
