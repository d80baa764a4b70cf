//! One flow: a ring record whose codes were checked, with typed access to its fields.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use tfo_common::{
    Carried, FlowEvent, Outcome, PolicyAction, Role, TfoOption, event::event_flags, limits::COMM_LEN,
    time::UNSEEN_US,
};

use crate::addr;

/// A finished handshake, as small as the record it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow(FlowEvent);

impl Flow {
    /// Checks the codes of a record; `None` when this version does not know one of them.
    pub fn new(event: &FlowEvent) -> Option<Self> {
        Role::from_code(event.role)?;
        Outcome::from_code(event.outcome)?;
        TfoOption::from_code(event.option)?;
        matches!(event.family, 4 | 6).then_some(Self(*event))
    }

    /// The record itself.
    pub fn event(&self) -> &FlowEvent {
        &self.0
    }

    /// Unique while the host runs.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Which end this host is.
    pub fn role(&self) -> Role {
        Role::from_code(self.0.role).unwrap_or(Role::Client)
    }

    /// What became of Fast Open.
    pub fn outcome(&self) -> Outcome {
        Outcome::from_code(self.0.outcome).unwrap_or(Outcome::Plain)
    }

    /// The option in the first SYN.
    pub fn option(&self) -> TfoOption {
        TfoOption::from_code(self.0.option).unwrap_or(TfoOption::None)
    }

    /// 34 or 254.
    pub fn option_kind(&self) -> Option<u8> {
        Some(self.0.option_kind).filter(|kind| *kind != 0)
    }

    /// This host's end.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_ip(), self.0.local_port)
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_ip(), self.0.remote_port)
    }

    /// This host's address.
    pub fn local_ip(&self) -> IpAddr {
        addr::ip(&self.0.local, self.0.family)
    }

    /// The other end's address.
    pub fn remote_ip(&self) -> IpAddr {
        addr::ip(&self.0.remote, self.0.family)
    }

    /// The application asked for Fast Open.
    pub fn requested(&self) -> bool {
        self.flag(event_flags::REQUESTED)
    }

    /// The SYN-ACK brought a cookie.
    pub fn cookie_received(&self) -> bool {
        self.flag(event_flags::COOKIE_RECEIVED)
    }

    /// The handshake ended with a RST.
    pub fn reset(&self) -> bool {
        self.flag(event_flags::RESET)
    }

    /// The same SYN had been accepted by this server before.
    pub fn is_duplicate(&self) -> bool {
        self.flag(event_flags::SEEN_BEFORE)
    }

    /// What rode in its SYN, where somebody looked and it may not be sent twice.
    pub fn carried(&self) -> Option<Carried> {
        Carried::of_flags(self.0.flags)
    }

    /// The connection was established.
    pub fn established(&self) -> bool {
        !self.flag(event_flags::NOT_ESTABLISHED)
    }

    /// First SYN to the end of the handshake.
    pub fn handshake_us(&self) -> Option<u32> {
        seen(self.0.handshake_us)
    }

    /// From the SYN that was answered to its answer.
    pub fn rtt_us(&self) -> Option<u32> {
        seen(self.0.rtt_us)
    }

    /// First SYN to the first payload byte of the server's answer.
    pub fn ttfb_us(&self) -> Option<u32> {
        seen(self.0.ttfb_us)
    }

    /// Fills in the time to first byte.
    pub fn set_ttfb(&mut self, us: u32) {
        self.0.ttfb_us = us;
    }

    /// Whether a record with the time to first byte may still come.
    pub fn awaits_first_byte(&self) -> bool {
        self.established() && self.ttfb_us().is_none()
    }

    /// The client's process.
    pub fn pid(&self) -> Option<u32> {
        Some(self.0.tgid).filter(|tgid| *tgid != 0)
    }

    /// Name of the client's process; whatever its bytes are.
    pub fn comm(&self) -> Option<Cow<'_, str>> {
        Some(comm(&self.0.comm)).filter(|name| !name.is_empty())
    }

    /// The action of the rule or guard that applied to the SYN.
    pub fn policy(&self) -> Option<PolicyAction> {
        PolicyAction::from_code(self.0.policy)
    }

    fn flag(&self, bit: u8) -> bool {
        self.0.flags & bit != 0
    }
}

fn seen(us: u32) -> Option<u32> {
    Some(us).filter(|us| *us != UNSEEN_US)
}

/// The name in a record's field; empty where there is none.
pub(super) fn comm(field: &[u8; COMM_LEN]) -> Cow<'_, str> {
    String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake;

    #[test]
    fn unknown_codes_are_refused() {
        let good = fake::flow(Outcome::Accepted);
        assert!(Flow::new(&good).is_some());
        let broken: [fn(&mut FlowEvent); 4] = [
            |e| e.role = 2,
            |e| e.outcome = 200,
            |e| e.option = 3,
            |e| e.family = 5,
        ];
        for damage in broken {
            let mut event = good;
            damage(&mut event);
            assert!(Flow::new(&event).is_none(), "{event:?}");
        }
    }

    #[test]
    fn absent_values_are_none() {
        let mut event = fake::flow(Outcome::Failed);
        event.comm = [0; 16];
        event.tgid = 0;
        event.ttfb_us = UNSEEN_US;
        event.handshake_us = UNSEEN_US;
        let flow = Flow::new(&event).expect("codes are known");
        assert_eq!(
            (flow.comm(), flow.pid(), flow.ttfb_us(), flow.handshake_us()),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_name_that_fills_its_field_needs_no_terminator() {
        let mut event = fake::flow(Outcome::Accepted);
        event.comm = *b"0123456789abcdef";
        let flow = Flow::new(&event).expect("codes are known");
        assert_eq!(flow.comm().as_deref(), Some("0123456789abcdef"));
    }
}
