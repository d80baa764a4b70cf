//! Captures as they are: in the middle, from one side, twice the same, with ports that come again.

use tfo_common::Outcome;

use super::generator::{CLIENT_ISN, PcapKind, RTT_US, SERVER_ISN, Script, Sent, cookie, linux, pcap};
use super::{read, read_script, read_with};
use crate::capture::{Judged, Unknown};

fn accepted(client: &str) -> Script {
    let mut script = Script::between(client, "198.51.100.7:443");
    script
        .syn(0, &linux(&cookie(34), 7), b"some data")
        .syn_ack(RTT_US, 9, &[])
        .ack(RTT_US + 10, 9, b"")
        .reply(RTT_US + 20, 9, b"answer");
    script
}

fn ours() -> Script {
    accepted("192.0.2.1:40000")
}

fn later(script: &Script, us: u64) -> Script {
    let mut script = script.clone();
    for (at, _) in &mut script.packets {
        *at += us;
    }
    script
}

fn outcomes(judged: &[Judged]) -> Vec<Result<&'static str, Unknown>> {
    judged.iter().map(|one| one.outcome.map(Outcome::name)).collect()
}

#[test]
fn local_says_which_end_is_ours() {
    let file = ours().pcap();
    let roles =
        |local: &[&str]| -> Vec<u8> { read(&file, local).0.iter().map(|one| one.event.role).collect() };
    assert_eq!(roles(&[]), [0, 1]);
    assert_eq!(roles(&["192.0.2.0/24"]), [0]);
    assert_eq!(roles(&["198.51.100.7"]), [1]);
    assert_eq!(roles(&["192.0.2.0/24", "198.51.100.0/24"]), [0, 1]);
    assert!(roles(&["10.0.0.0/8"]).is_empty());
    assert_eq!(read(&file, &["10.0.0.0/8"]).1.not_local, 1);
}

#[test]
fn packets_seen_twice_count_once() {
    for apart_us in [0, 3, 20_000] {
        let twice = ours().and(&later(&ours(), apart_us));
        let (judged, counts, _) = read_script(&twice);
        assert_eq!(outcomes(&judged), [Ok("accepted"), Ok("accepted")], "{apart_us}");
        assert_eq!(
            (counts.connections, judged[0].event.syn_retrans),
            (1, 0),
            "{apart_us}"
        );
        assert!(counts.duplicates >= 1, "{apart_us}");
    }
}

#[test]
fn the_same_port_again_is_another_connection() {
    // The second begins with another sequence number while packets of the first may still come.
    let mut again = Script::default();
    for (at, sequence) in [(30_000, CLIENT_ISN + 77), (1_030_000, CLIENT_ISN + 77)] {
        let sent = Sent {
            sequence,
            flags: "S",
            ..Sent::default()
        };
        again.send(at, true, &sent);
    }
    let (judged, counts, _) = read_script(&ours().and(&again));
    assert_eq!(outcomes(&judged), [Ok("accepted"), Ok("accepted")]);
    assert_eq!((counts.connections, counts.plain_unanswered), (2, 1));

    // A client that gave up and tried again: the first one never completed.
    let mut first = Script::default();
    first.syn(0, &cookie(34), b"data");
    let (judged, ..) = read_script(&first.and(&again));
    assert_eq!(outcomes(&judged), [Ok("failed")]);
}

#[test]
fn what_began_before_the_capture_is_counted() {
    let mut script = ours();
    script.packets.remove(0);
    let (judged, counts, _) = read_script(&script);
    assert!(judged.is_empty());
    assert_eq!(counts.unknown[Unknown::SynUnseen as usize], 1);

    let mut script = ours();
    script.packets.drain(..2);
    let (judged, counts, _) = read_script(&script);
    assert!(judged.is_empty());
    assert_eq!(counts.unknown[Unknown::MidStream as usize], 1);
}

#[test]
fn one_side_alone_is_not_enough() {
    let mut script = ours();
    script.packets.retain(|(at, _)| *at == 0 || *at == RTT_US + 10);
    let (judged, counts, _) = read_script(&script);
    assert_eq!(outcomes(&judged), [Err(Unknown::OneSided)]);
    assert_eq!(counts.unknown[Unknown::OneSided as usize], 1);
    assert_eq!((judged[0].data_acked, judged[0].cookie_received), (None, None));
}

#[test]
fn an_end_in_the_middle_says_so() {
    let mut script = ours();
    script.packets.truncate(2);
    let (judged, ..) = read_script(&script);
    // That the server took the data is certain; whether the client heard of it is not.
    assert_eq!(outcomes(&judged), [Err(Unknown::CaptureEnd), Ok("accepted")]);
}

#[test]
fn both_ends_at_once_is_not_judged() {
    let mut script = Script::default();
    let syn = |sequence| Sent {
        sequence,
        flags: "S",
        options: cookie(34),
        ..Sent::default()
    };
    script
        .send(0, true, &syn(CLIENT_ISN))
        .send(10, false, &syn(SERVER_ISN))
        .syn_ack(RTT_US, 0, &[]);
    let (judged, counts, _) = read_script(&script);
    assert_eq!(outcomes(&judged), [Err(Unknown::SimultaneousOpen)]);
    assert_eq!(counts.connections, 1);
}

#[test]
fn another_cpu_may_have_written_first() {
    let mut script = ours();
    script.packets.swap(0, 1);
    let (judged, counts, _) = read(&pcap(&script.framed(), 1, PcapKind::default()), &[]);
    assert_eq!(outcomes(&judged), [Ok("accepted"), Ok("accepted")]);
    assert_eq!(counts.unknown.iter().sum::<u64>(), 0);
    let mut script = ours();
    script.packets.swap(1, 2);
    let (judged, ..) = read(&pcap(&script.framed(), 1, PcapKind::default()), &[]);
    assert_eq!(outcomes(&judged), [Ok("accepted"), Ok("accepted")]);
}

#[test]
fn answers_to_somebody_else_are_not_believed() {
    let mut script = Script::default();
    script
        .syn(0, &cookie(34), b"data")
        // More than was sent, and less.
        .syn_ack(10, 5, &[])
        .syn_ack(20, u32::MAX, &[])
        // Nor a RST that acks neither.
        .reset(30, 7)
        .syn_ack(RTT_US, 4, &[])
        .ack(RTT_US + 1, 4, b"")
        .reply(RTT_US + 2, 4, b"answer");
    let (judged, ..) = read_script(&script);
    assert_eq!(outcomes(&judged), [Ok("accepted"), Ok("accepted")]);
    assert_eq!(judged[0].event.rtt_us, 20_000);
}

#[test]
fn the_table_is_bounded_and_what_it_forgets_is_counted() {
    let mut flood = Script::default();
    for port in 1..=1_000_u16 {
        let mut one = Script::between(&format!("192.0.2.1:{port}"), "198.51.100.7:443");
        one.syn(u64::from(port), &cookie(34), b"data");
        flood.packets.extend(one.packets);
    }
    let (judged, counts, _) = read_with(&flood.pcap(), &[], 100);
    assert_eq!(judged.len(), 1_000);
    assert_eq!(counts.unknown[Unknown::TableFull as usize], 900);
    assert_eq!(counts.unknown[Unknown::CaptureEnd as usize], 100);

    // Connections that are over make room before one that is not is forgotten.
    let mut many = Script::default();
    many.syn(0, &cookie(34), b"data");
    for port in 1..=1_000_u16 {
        let one = later(&accepted(&format!("192.0.2.2:{port}")), u64::from(port) * 100_000);
        many.packets.extend(one.packets);
    }
    let (judged, counts, _) = read_with(&many.pcap(), &[], 100);
    let accepted = judged
        .iter()
        .filter(|one| one.outcome == Ok(Outcome::Accepted))
        .count();
    assert_eq!(
        (accepted, counts.unknown[Unknown::TableFull as usize]),
        (2_000, 0)
    );
}

#[test]
fn the_clock_of_the_capture_ends_what_never_ends() {
    let mut script = Script::default();
    script.syn(0, &cookie(34), b"data");
    for second in 1..=10_u64 {
        let mut other = Script::between(&format!("203.0.113.1:{second}"), "203.0.113.2:80");
        other.syn(second * 20_000_000, &[], b"");
        script.packets.extend(other.packets);
    }
    // It is said while the capture goes on, not only at its end.
    let (judged, counts, _) = read_script(&script);
    assert_eq!(outcomes(&judged), [Ok("failed")]);
    assert_eq!(counts.connections, 11);
}

#[test]
fn cookies_are_told_apart_and_not_told() {
    let mut other = cookie(34);
    other[5] ^= 1;
    let with = |option: &[u8], port: u16| {
        let mut script = Script::between(&format!("192.0.2.1:{port}"), "198.51.100.7:443");
        script.syn(u64::from(port), option, b"data");
        script
    };
    let script = with(&cookie(34), 1)
        .and(&with(&other, 2))
        .and(&with(&cookie(254), 3));
    let (judged, ..) = read_script(&script);
    let hashes: Vec<_> = judged.iter().map(|one| one.cookie_sent_hash).collect();
    assert!(hashes.iter().all(Option::is_some) && hashes.len() == 3);
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2], "the kind is not part of the cookie");
    let (again, ..) = read_script(&script);
    assert_ne!(
        hashes[..2],
        again.iter().map(|one| one.cookie_sent_hash).collect::<Vec<_>>()[..2],
        "the salt is another one in each run"
    );
}

#[test]
fn what_rode_in_the_syn_is_told_by_its_first_bytes() {
    let mut dns = vec![0, 29, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    dns.resize(31, 0);
    let mut update = dns.clone();
    update[4] = 5 << 3;
    let mut short = dns.clone();
    short[1] = 200;
    for (data, want) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "client-hello"),
        (b"GET / HTTP/1.1\r\n", "http-idempotent"),
        (b"POST / HTTP/1.1\r\n", "http-unsafe"),
        (b"PRI * HTTP/2.0\r\n", "http2"),
        (&dns, "dns"),
        (&update, "dns-update"),
        (&short, "other"),
        (b"SSH-2.0-", "other"),
    ] {
        let mut script = Script::default();
        script.syn(0, &cookie(34), data);
        let (judged, ..) = read_script(&script);
        assert_eq!(judged[0].carried.map(tfo_common::Carried::name), Some(want));
    }
}
