//! SYNs with data that were accepted twice: then the network has brought them twice, and the first child was gone by the time (an
//! older one would have taken the segment: `__inet_lookup_established` comes first).

use tfo_common::{FlowEvent, Role, event::event_flags, limits, slots};

/// Bytes of a word of an address.
const WORD: usize = size_of::<u32>();

/// The latest SYNs that made a child, each at the place it hashes to.
pub struct Duplicates(Box<[u64]>);

impl Default for Duplicates {
    fn default() -> Self {
        Self(vec![0; limits::SYNS as usize].into())
    }
}

impl Duplicates {
    /// Remembers the SYN of a record as it was written, and marks the record of one that has come before. The sequence number goes
    /// out of the record: from here on its place has the meaning it has for a client.
    pub fn take_in(&mut self, flow: &mut FlowEvent) {
        if flow.role != Role::Server as u8 || flow.offered == 0 {
            return;
        }
        let sequence = std::mem::take(&mut flow.offered);
        let (words, _) = flow.remote.as_chunks::<WORD>();
        let mut remote = [0; 4];
        for (word, bytes) in remote.iter_mut().zip(words) {
            *word = u32::from_ne_bytes(*bytes);
        }
        let mark = slots::syn_mark(remote, flow.remote_port, flow.local_port, sequence);
        if let Some(slot) = self.0.get_mut(slots::syn_slot(mark) as usize)
            && std::mem::replace(slot, mark) == mark
        {
            flow.flags |= event_flags::SEEN_BEFORE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_second_of_two_equal_syns_is_marked() {
        let mut seen = Duplicates::default();
        let mut is_marked = |role: Role, port: u16, sequence: u32| {
            let mut flow = FlowEvent {
                role: role as u8,
                remote: [198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                remote_port: port,
                local_port: 443,
                offered: sequence,
                ..FlowEvent::default()
            };
            seen.take_in(&mut flow);
            let rest = flow.offered;
            (flow.flags & event_flags::SEEN_BEFORE != 0, rest)
        };
        assert_eq!(is_marked(Role::Server, 40_000, 7), (false, 0));
        assert_eq!(
            is_marked(Role::Server, 40_000, 8),
            (false, 0),
            "another connection from that port"
        );
        assert_eq!(is_marked(Role::Server, 40_001, 7), (false, 0), "another client");
        assert_eq!(
            is_marked(Role::Server, 40_000, 7),
            (true, 0),
            "the network brought it twice"
        );
        assert_eq!(
            is_marked(Role::Client, 40_000, 7),
            (false, 7),
            "what a client offers is no number of a SYN"
        );
        assert_eq!(
            is_marked(Role::Server, 40_000, 0),
            (false, 0),
            "no child made from a SYN with data"
        );
    }
}
