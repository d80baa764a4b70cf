//! The cases of the packet-analysis literature, and what a capture of each says.

use tfo_common::{Carried, Outcome, Role};

use super::{generator::*, read};
use crate::{
    capture::{Judged, Unknown},
    model::{Flow, ladder},
};

/// A TLS `ClientHello`, as far as a SYN needs it.
const HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x10, 0x01, 0, 0, 12, 3, 3, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
];

fn outcomes(judged: &[Judged]) -> Vec<(&'static str, Result<&'static str, &'static str>)> {
    judged
        .iter()
        .map(|one| {
            let role = Role::from_code(one.event.role).expect("a role").name();
            (role, one.outcome.map(Outcome::name).map_err(Unknown::name))
        })
        .collect()
}

fn ladder_of(judged: &Judged) -> Vec<(u64, bool, String)> {
    let flow = Flow::new(&judged.event).expect("codes are known");
    ladder::steps(&flow)
        .into_iter()
        .map(|step| (step.at_us, step.arrived, step.what))
        .collect()
}

/// The client asks, the server grants: the first connection of every pair.
fn granted() -> Script {
    let mut script = Script::default();
    script
        .syn(0, &request(34), b"")
        .syn_ack(RTT_US, 0, &cookie(34))
        .ack(RTT_US + 10, 0, HELLO)
        .reply(2 * RTT_US, 21, b"answer");
    script
}

fn accepted() -> Script {
    let mut script = Script::default();
    script
        .syn(0, &cookie(34), HELLO)
        .syn_ack(RTT_US, 21, &[])
        .reply(RTT_US + 50, 21, b"answer")
        .ack(RTT_US + 60, 21, b"");
    script
}

fn syn_timeout() -> Script {
    let mut script = Script::default();
    script
        .syn(0, &linux(&cookie(34), 1), HELLO)
        .syn(1_024_000, &linux(&[], 1_025), b"")
        .syn_ack(1_024_000 + RTT_US, 0, &[])
        .ack(1_024_000 + RTT_US + 10, 0, HELLO)
        .reply(1_024_000 + 2 * RTT_US, 21, b"answer");
    script
}

#[test]
fn a_cookie_is_asked_for_and_granted() {
    let (judged, counts, _) = read(&granted().pcap(), &[]);
    assert_eq!(
        outcomes(&judged),
        [("client", Ok("cookie-granted")), ("server", Ok("cookie-granted"))]
    );
    assert_eq!((counts.packets, counts.connections), (4, 1));
    assert!(judged[0].cookie_received == Some(true) && judged[0].cookie_received_hash.is_some());
}

#[test]
fn data_is_accepted() {
    let (judged, ..) = read(&accepted().pcap(), &[]);
    assert_eq!(
        outcomes(&judged),
        [("client", Ok("accepted")), ("server", Ok("accepted"))]
    );
    let client = &judged[0].event;
    assert_eq!(
        (
            client.handshake_us,
            client.rtt_us,
            client.ttfb_us,
            client.saved_us
        ),
        (20_000, 20_000, 20_050, 20_000)
    );
    assert_eq!(judged[0].carried.map(Carried::name), Some("client-hello"));
    assert_eq!(
        ladder_of(&judged[0]),
        [
            (0, true, "SYN, cookie, 21 B of data".to_owned()),
            (20_000, true, "SYN-ACK, acks all 21 B".to_owned()),
            (20_050, true, "first data".to_owned()),
        ]
    );
}

#[test]
fn a_syn_is_lost_and_sent_again_bare() {
    let (judged, ..) = read(&syn_timeout().pcap(), &[]);
    // Whether the server saw the first SYN cannot be seen here.
    assert_eq!(
        outcomes(&judged),
        [("client", Ok("syn-timeout")), ("server", Err("listener-state"))]
    );
    let client = &judged[0].event;
    assert_eq!(
        (client.lost_us, client.syn_retrans, client.rtt_us),
        (1_024_000, 1, 20_000)
    );
    assert_eq!(
        ladder_of(&judged[0]),
        [
            (0, false, "SYN, cookie, 21 B of data".to_owned()),
            (1_024_000, true, "SYN again, without data or option".to_owned()),
            (1_044_000, true, "SYN-ACK, acks none of the 21 B".to_owned()),
            (1_064_000, true, "first data".to_owned()),
        ]
    );
}

/// One connection that ends in this answer.
fn answered(option: &[u8], data: &[u8], acked: u32, answer: &[u8]) -> Script {
    let mut script = Script::default();
    script
        .syn(0, option, data)
        .syn_ack(RTT_US, acked, answer)
        .ack(RTT_US + 10, acked, &data[acked as usize..])
        .reply(
            2 * RTT_US,
            u32::try_from(data.len()).expect("it is short"),
            b"answer",
        );
    script
}

#[test]
fn every_answer_has_its_outcome() {
    let kinds = |kind, answer_kind| {
        let (ask, own, theirs) = (request(kind), cookie(kind), cookie(answer_kind));
        [
            (
                answered(&ask, b"", 0, &[]),
                "cookie-refused",
                Err("listener-state"),
            ),
            (
                answered(&ask, b"", 0, &theirs),
                "cookie-granted",
                Ok("cookie-granted"),
            ),
            (answered(&own, b"", 0, &[]), "cookie-only", Err("listener-state")),
            (
                answered(&own, HELLO, 0, &[]),
                "data-refused",
                Err("listener-state"),
            ),
            (
                answered(&own, HELLO, 0, &theirs),
                "cookie-rejected",
                Ok("cookie-rejected"),
            ),
            (answered(&own, HELLO, 9, &[]), "partly-accepted", Ok("accepted")),
            (answered(&own, HELLO, 21, &[]), "accepted", Ok("accepted")),
            // The cookie of the backup key is good, and a new one comes.
            (answered(&own, HELLO, 21, &theirs), "accepted", Ok("accepted")),
            (answered(&[], HELLO, 21, &[]), "accepted", Ok("accepted")),
            (
                answered(&[], HELLO, 0, &[]),
                "data-refused",
                Ok("option-stripped"),
            ),
            (answered(&[], b"", 0, &[]), "plain", Ok("plain")),
        ]
    };
    for (kind, answer_kind) in [(34, 34), (34, 254), (254, 34), (254, 254)] {
        for (script, client, server) in kinds(kind, answer_kind) {
            let (judged, ..) = read(&script.pcap(), &[]);
            assert_eq!(
                outcomes(&judged),
                [("client", Ok(client)), ("server", server)],
                "kinds {kind} and {answer_kind}: {script:?}"
            );
        }
    }
}

#[test]
fn every_case_of_the_literature_has_its_ladder() {
    let own = cookie(34);
    let cases = [
        ("a cookie is asked for and granted", granted()),
        (
            "a cookie is asked for and refused",
            answered(&request(34), b"", 0, &[]),
        ),
        ("the data is accepted", accepted()),
        ("a part of the data is accepted", answered(&own, HELLO, 9, &[])),
        (
            "the cookie is refused, a new one comes",
            answered(&own, HELLO, 0, &own),
        ),
        ("the data is not acked", answered(&own, HELLO, 0, &[])),
        ("the SYN is lost and sent again bare", syn_timeout()),
        (
            "the option is stripped from the SYN",
            answered(&[], HELLO, 0, &[]),
        ),
    ];
    let mut lines = Vec::new();
    for (name, script) in cases {
        lines.push(name.to_owned());
        for judged in &read(&script.pcap(), &[]).0 {
            let (role, outcome) = outcomes(std::slice::from_ref(judged))[0];
            lines.push(format!("  {role}: {outcome:?}"));
            lines.extend(ladder_of(judged).into_iter().map(|(at_us, arrived, what)| {
                let lost = if arrived { "" } else { ", lost" };
                format!("    {at_us:>7} us  {what}{lost}")
            }));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_reset_and_silence_have_theirs() {
    let mut reset = Script::default();
    reset.syn(0, &cookie(34), HELLO).reset(RTT_US, 21);
    let (judged, ..) = read(&reset.pcap(), &[]);
    assert_eq!(outcomes(&judged), [("client", Ok("reset"))]);

    // Another host's packet shows that the capture went on.
    let mut later = Script::between("203.0.113.9:1", "203.0.113.10:2");
    later.syn(200_000_000, &[], b"");
    let mut silence = Script::default();
    silence.syn(0, &cookie(34), HELLO).syn(1_000_000, &[], b"");
    let (judged, ..) = read(&silence.clone().and(&later).pcap(), &[]);
    assert_eq!(outcomes(&judged), [("client", Ok("failed"))]);
    let (judged, ..) = read(&silence.pcap(), &[]);
    assert_eq!(outcomes(&judged), [("client", Err("capture-end"))]);
}

#[test]
fn a_lost_answer_makes_it_late() {
    let mut script = Script::default();
    script
        .syn(0, &linux(&cookie(34), 1), HELLO)
        .syn_ack(RTT_US, 21, &[])
        .syn(1_024_000, &linux(&[], 1_025), b"")
        .syn_ack(1_024_000 + RTT_US, 21, &[])
        .ack(1_024_000 + RTT_US + 10, 21, b"")
        .reply(1_024_000 + RTT_US + 20, 21, b"answer");
    let (judged, ..) = read(&script.pcap(), &[]);
    assert_eq!(
        outcomes(&judged),
        [("client", Ok("accepted-late")), ("server", Ok("accepted"))]
    );
    let client = &judged[0].event;
    assert_eq!(
        (client.lost_us, client.rtt_us, client.saved_us),
        (1_024_000, 20_000, 0)
    );
}
