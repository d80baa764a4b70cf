//! A flow as the exchange it was: what was sent when, and what that means in one sentence.

use tfo_common::{Outcome, Role, TfoOption};

use super::flow::Flow;

/// One line of the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// us since the first SYN.
    pub at_us: u64,
    /// From the client to the server.
    pub to_server: bool,
    /// It arrived, or at least was answered.
    pub arrived: bool,
    /// What it was.
    pub what: String,
}

/// The steps of a flow, first to last, with the times at which its own end saw them.
pub fn steps(flow: &Flow) -> Vec<Step> {
    let event = flow.event();
    // A client's last SYN, a server's SYN-ACK: one round trip before the handshake ended.
    let answered_at = flow
        .handshake_us()
        .zip(flow.rtt_us())
        .map(|(end, rtt)| u64::from(end.saturating_sub(rtt)));
    let retransmitted = event.syn_retrans > 0;
    let mut steps = vec![Step {
        at_us: 0,
        to_server: true,
        arrived: !(retransmitted && flow.outcome() == Outcome::SynTimeout) && flow.established(),
        what: syn(flow),
    }];
    if flow.role() == Role::Client && retransmitted {
        let times = if event.syn_retrans == 1 {
            String::new()
        } else {
            format!(", {} times", event.syn_retrans)
        };
        steps.push(Step {
            at_us: answered_at.unwrap_or_else(|| u64::from(event.lost_us)),
            to_server: true,
            arrived: flow.established(),
            what: format!("SYN again, without data or option{times}"),
        });
    }
    let end = flow.handshake_us().map(u64::from);
    if flow.reset() {
        steps.push(Step {
            at_us: end.unwrap_or(0),
            to_server: false,
            arrived: true,
            what: "RST".into(),
        });
    } else if flow.established() {
        // It ends a client's handshake. A server answers at once, and the ACK ends its handshake.
        let is_server = flow.role() == Role::Server;
        let sent_at = if is_server { answered_at } else { end };
        steps.push(Step {
            at_us: sent_at.unwrap_or(0),
            to_server: false,
            arrived: true,
            what: syn_ack(flow),
        });
        if let Some(at_us) = end.filter(|_| is_server) {
            steps.push(Step {
                at_us,
                to_server: true,
                arrived: true,
                what: "ACK".into(),
            });
        }
    }
    if let Some(ttfb) = flow.ttfb_us() {
        steps.push(Step {
            at_us: ttfb.into(),
            to_server: false,
            arrived: true,
            what: "first data".into(),
        });
    }
    // With Fast Open a server's data may leave before the ACK comes.
    steps.sort_by_key(|step| step.at_us);
    steps
}

fn syn(flow: &Flow) -> String {
    let kind = if flow.option_kind() == Some(254) {
        " (experimental, 254)"
    } else {
        ""
    };
    let option = match flow.option() {
        TfoOption::None => "no TFO option".to_owned(),
        TfoOption::Request => format!("asks for a cookie{kind}"),
        TfoOption::Cookie => format!("cookie{kind}"),
    };
    match flow.event().syn_data_len {
        0 => format!("SYN, {option}, no data"),
        bytes => format!("SYN, {option}, {bytes} B of data"),
    }
}

fn syn_ack(flow: &Flow) -> String {
    let event = flow.event();
    let acked = match (event.syn_data_acked, event.syn_data_len) {
        (_, 0) => String::new(),
        (acked, sent) if acked == sent => format!(", acks all {sent} B"),
        (0, sent) => format!(", acks none of the {sent} B"),
        (acked, sent) => format!(", acks {acked} of {sent} B"),
    };
    let cookie = if flow.cookie_received() {
        ", brings a cookie"
    } else {
        ""
    };
    let again = match (flow.role(), event.syn_retrans) {
        (Role::Server, 1) => ", sent twice".to_owned(),
        (Role::Server, times @ 2..) => format!(", sent {} times", times + 1),
        _ => String::new(),
    };
    format!("SYN-ACK{acked}{cookie}{again}")
}

/// What the outcome means, in one sentence; its name where the other end has it, as in a damaged recording.
pub fn sentence(role: Role, outcome: Outcome) -> &'static str {
    outcome.sentence(role).unwrap_or(outcome.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake;

    fn exchange(outcome: Outcome) -> Vec<(u64, bool, String)> {
        let flow = Flow::new(&fake::flow(outcome)).expect("codes are known");
        steps(&flow)
            .into_iter()
            .map(|step| (step.at_us, step.arrived, step.what))
            .collect()
    }

    #[test]
    fn an_accepted_flow_has_three_steps() {
        assert_eq!(
            exchange(Outcome::Accepted),
            [
                (0, true, "SYN, cookie, 120 B of data".to_owned()),
                (1_500, true, "SYN-ACK, acks all 120 B".to_owned()),
                (2_100, true, "first data".to_owned()),
            ]
        );
    }

    #[test]
    fn a_timeout_shows_the_second_syn_and_when_it_left() {
        let steps = exchange(Outcome::SynTimeout);
        assert_eq!(steps[0], (0, false, "SYN, cookie, 120 B of data".to_owned()));
        assert_eq!(
            steps[1],
            (1_024_000, true, "SYN again, without data or option".to_owned())
        );
        assert_eq!(
            steps[2],
            (1_025_500, true, "SYN-ACK, acks none of the 120 B".to_owned())
        );
    }

    #[test]
    fn a_server_answers_at_once_and_waits_for_the_ack() {
        let mut event = fake::flow(Outcome::Accepted);
        event.role = Role::Server as u8;
        (event.handshake_us, event.rtt_us, event.ttfb_us) = (20_060, 20_050, 50);
        let flow = Flow::new(&event).expect("codes are known");
        let steps: Vec<_> = steps(&flow)
            .into_iter()
            .map(|step| (step.at_us, step.to_server, step.what))
            .collect();
        assert_eq!(
            steps,
            [
                (0, true, "SYN, cookie, 120 B of data".to_owned()),
                (10, false, "SYN-ACK, acks all 120 B".to_owned()),
                (50, false, "first data".to_owned()),
                (20_060, true, "ACK".to_owned()),
            ]
        );
    }

    #[test]
    fn time_never_runs_backwards() {
        for outcome in Outcome::ALL {
            let steps = exchange(outcome);
            assert!(
                steps.windows(2).all(|pair| pair[0].0 <= pair[1].0),
                "{outcome:?} {steps:?}"
            );
        }
    }
}
