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

/// The steps of a flow, first to last.
pub fn steps(flow: &Flow) -> Vec<Step> {
    let event = flow.event();
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
        steps.push(Step {
            at_us: end.unwrap_or(0),
            to_server: false,
            arrived: true,
            what: syn_ack(flow),
        });
    }
    if let Some(ttfb) = flow.ttfb_us() {
        steps.push(Step {
            at_us: ttfb.into(),
            to_server: false,
            arrived: true,
            what: "first data".into(),
        });
    }
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

/// What the outcome means, in one sentence.
pub fn sentence(role: Role, outcome: Outcome) -> &'static str {
    match (role, outcome) {
        (_, Outcome::Plain) => "Fast Open had no part in this connection.",
        (Role::Client, Outcome::Accepted) => "The server took the data of the SYN: one round trip saved.",
        (Role::Client, Outcome::AcceptedLate) => {
            "The server took the data, but its SYN-ACK was lost: ordinary loss, not Fast Open's fault."
        }
        (Role::Client, Outcome::PartlyAccepted) => "The server took some of the data; the rest went again.",
        (Role::Client, Outcome::CookieGranted) => {
            "The server gave a cookie: the next connection can carry data."
        }
        (Role::Client, Outcome::CookieRefused) => {
            "The server gave no cookie: it has Fast Open off, or the path took the option out."
        }
        (Role::Client, Outcome::CookieOnly) => {
            "The SYN carried a cookie and no data: nothing to gain or lose."
        }
        (Role::Client, Outcome::DataRefused) => {
            "The server answered at once and took nothing: Fast Open off, queue full or SYN cookies there."
        }
        (Role::Client, Outcome::CookieRejected) => {
            "The server did not know the cookie and gave a new one: its key changed, or servers behind one \
             address have different keys."
        }
        (Role::Client, Outcome::SynTimeout) => {
            "The SYN with Fast Open vanished and a bare one was answered: something on the path drops it."
        }
        (Role::Client, Outcome::Reset) => "A RST answered the SYN: the path or the server refuses it.",
        (Role::Client, Outcome::Failed) => "Nobody answered, with Fast Open or without.",
        (Role::Client, Outcome::Paused) => "The kernel had paused Fast Open after repeated timeouts.",
        (Role::Client, Outcome::Denied) => "A tfo-cli policy kept the data out of the SYN; no time was lost.",
        (Role::Client, Outcome::LocalDrop) => "This host dropped the SYN with data: firewall or queueing.",
        (Role::Server, Outcome::Accepted) => "Data was in the application before the handshake ended.",
        (Role::Server, Outcome::CookieGranted) => "A client asked for a cookie and got one.",
        (Role::Server, Outcome::CookieRejected) => {
            "The client's cookie did not match: the key changed, or it is another server's."
        }
        (Role::Server, Outcome::QueueOverflow) => "The listener's Fast Open queue was full: raise its qlen.",
        (Role::Server, Outcome::NotEnabled) => "A client tried Fast Open; this listener has it off.",
        (Role::Server, Outcome::OptionStripped) => "The SYN had data but no option: the path took it out.",
        (Role::Server, Outcome::Syncookie) => "Under SYN cookies Fast Open is not used.",
        // Outcomes of the other role: a recording of a later version, or a damaged one.
        (_, other) => other.name(),
    }
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
    fn every_outcome_of_every_role_has_its_sentence() {
        for outcome in Outcome::ALL {
            for role in outcome.roles() {
                assert!(
                    sentence(*role, outcome).ends_with('.'),
                    "{} {}",
                    role.name(),
                    outcome.name()
                );
            }
        }
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
