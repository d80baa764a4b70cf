//! Facts of one record that exclude each other: a defect of the kernel side, of another program that took our callback
//! flags, or of a kernel that does what nobody has read. Such a record is shown as it came, and counted.

use tfo_common::{FlowEvent, Outcome, Role, event::event_flags, time::UNSEEN_US};

/// Why a record cannot be true; `None` for one that can, and where a code is not known.
pub fn contradiction(event: &FlowEvent) -> Option<&'static str> {
    let (role, outcome) = (Role::from_code(event.role)?, Outcome::from_code(event.outcome)?);
    let is_established = event.flags & event_flags::NOT_ESTABLISHED == 0;
    let has_ended = event.handshake_us != UNSEEN_US;
    // One after the other, not in a list: of every record all of them are looked at.
    macro_rules! none_of {
        ($($is_wrong:expr => $why:literal,)+) => { $(if $is_wrong { return Some($why); })+ };
    }
    none_of! {
        !outcome.occurs_in(role) => "an outcome of the other role",
        event.syn_data_acked > event.syn_data_len => "more bytes acked than sent",
        event.end_ns < event.start_ns => "it ended before it began",
        is_established && event.flags & event_flags::RESET != 0 => "established, and ended by a RST before that",
        !is_established && has_ended => "a handshake that never ended has a length",
        event.lost_us > 0 && !outcome.loses_timeout() => "time lost without a timeout",
        event.saved_us > 0 && !outcome.saves_round_trip() => "time saved by SYN data that was not accepted",
        outcome.loses_timeout() && event.lost_us == 0 => "a timeout that cost no time",
        outcome.loses_timeout() && event.syn_retrans == 0 => "a timeout without a SYN sent again",
        has_ended && event.lost_us > event.handshake_us
            => "more time lost than the handshake took",
        role == Role::Client && outcome.saves_round_trip() && event.syn_retrans > 0
            => "accepted at once, and sent again",
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake;

    #[test]
    fn records_that_can_be_true_are_not_blamed() {
        for outcome in Outcome::ALL.into_iter().filter(|one| one.occurs_in(Role::Client)) {
            let event = fake::flow(outcome);
            assert_eq!(contradiction(&event), None, "{event:?}");
            // A handshake that never ended, where that can be.
            let mut never = event;
            (never.flags, never.handshake_us) = (never.flags | event_flags::NOT_ESTABLISHED, UNSEEN_US);
            assert_eq!(contradiction(&never), None, "{never:?}");
        }
        // A child whose SYN-ACK was sent again is accepted all the same.
        let mut child = fake::flow(Outcome::Accepted);
        (child.role, child.syn_retrans) = (Role::Server as u8, 2);
        assert_eq!(contradiction(&child), None);
    }

    /// What was wrong, from which record, and what is said of it.
    type Row = (Outcome, fn(&mut FlowEvent), &'static str);

    #[test]
    fn what_cannot_be_is_named() {
        let rows: [Row; 11] = [
            // Seen once: sent again, 1.03 s, nothing lost.
            (
                Outcome::SynTimeout,
                |event| (event.syn_retrans, event.handshake_us, event.lost_us) = (1, 1_030_000, 0),
                "cost no time",
            ),
            (Outcome::AcceptedLate, |event| event.lost_us = 0, "cost no time"),
            (
                Outcome::SynTimeout,
                |event| event.syn_retrans = 0,
                "without a SYN sent again",
            ),
            (
                Outcome::SynTimeout,
                |event| event.lost_us = event.handshake_us + 1,
                "more time lost",
            ),
            (Outcome::Accepted, |event| event.syn_retrans = 1, "sent again"),
            (
                Outcome::Accepted,
                |event| event.syn_data_acked += 1,
                "more bytes acked",
            ),
            (Outcome::DataRefused, |event| event.saved_us = 1, "not accepted"),
            (
                Outcome::DataRefused,
                |event| event.lost_us = 1,
                "without a timeout",
            ),
            (
                Outcome::Reset,
                |event| event.flags |= event_flags::RESET,
                "ended by a RST",
            ),
            (
                Outcome::Failed,
                |event| event.flags |= event_flags::NOT_ESTABLISHED,
                "never ended has a length",
            ),
            (Outcome::QueueOverflow, |_| (), "the other role"),
        ];
        for (outcome, damage, what) in rows {
            let mut event = fake::flow(outcome);
            damage(&mut event);
            let said = contradiction(&event);
            assert!(
                said.is_some_and(|said| said.contains(what)),
                "{said:?}: {event:?}"
            );
        }
        let mut event = fake::flow(Outcome::Plain);
        event.end_ns = event.start_ns - 1;
        assert_eq!(contradiction(&event), Some("it ended before it began"));
    }
}
