//! The classifier's table: one row per outcome and per way to reach it, and what must hold for any facts.

use proptest::prelude::*;

use super::*;

/// A client that asked for TFO and was established; rows change what differs.
fn client(option: TfoOption, len: u32, acked: u32) -> Handshake {
    Handshake {
        requested: true,
        option,
        syn_data_len: len,
        syn_data_acked: acked,
        ..Handshake::plain(Role::Client)
    }
}

/// A server that saw this SYN; rows change what differs.
fn server(option: TfoOption, len: u32) -> Handshake {
    Handshake {
        option,
        syn_data_len: len,
        ..Handshake::plain(Role::Server)
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row per way to an outcome")]
fn client_table() {
    use TfoOption::{Cookie, None, Request};
    let late = |facts: Handshake| Handshake {
        syn_retrans: 1,
        ..facts
    };
    let cookie = |facts: Handshake| Handshake {
        cookie_received: true,
        ..facts
    };
    let ended = |end, facts: Handshake| Handshake { end, ..facts };
    let withheld = |withheld, facts: Handshake| Handshake { withheld, ..facts };
    let paused = Handshake {
        paused: true,
        ..client(None, 0, 0)
    };
    let rows = [
        ("plain connect", Handshake::plain(Role::Client), Outcome::Plain),
        (
            "plain connect refused",
            ended(End::Reset, Handshake::plain(Role::Client)),
            Outcome::Plain,
        ),
        ("all acked", client(Cookie, 300, 300), Outcome::Accepted),
        (
            "all acked, backup key",
            cookie(client(Cookie, 300, 300)),
            Outcome::Accepted,
        ),
        (
            "cookie-less, all acked",
            client(None, 300, 300),
            Outcome::Accepted,
        ),
        (
            "SYN-ACK lost",
            late(client(Cookie, 300, 300)),
            Outcome::AcceptedLate,
        ),
        ("some acked", client(Cookie, 300, 100), Outcome::PartlyAccepted),
        (
            "some acked, late",
            late(client(Cookie, 300, 100)),
            Outcome::PartlyAccepted,
        ),
        (
            "request answered",
            cookie(client(Request, 0, 0)),
            Outcome::CookieGranted,
        ),
        (
            "request answered late",
            late(cookie(client(Request, 0, 0))),
            Outcome::CookieGranted,
        ),
        (
            "request not answered",
            client(Request, 0, 0),
            Outcome::CookieRefused,
        ),
        ("request eaten", late(client(Request, 0, 0)), Outcome::SynTimeout),
        ("cookie, no data", client(Cookie, 0, 0), Outcome::CookieOnly),
        (
            "cookie, no data, new key",
            cookie(client(Cookie, 0, 0)),
            Outcome::CookieOnly,
        ),
        (
            "cookie, no data, eaten",
            late(client(Cookie, 0, 0)),
            Outcome::SynTimeout,
        ),
        ("nothing acked", client(Cookie, 300, 0), Outcome::DataRefused),
        (
            "cookie-less, nothing acked",
            client(None, 300, 0),
            Outcome::DataRefused,
        ),
        (
            "new cookie",
            cookie(client(Cookie, 300, 0)),
            Outcome::CookieRejected,
        ),
        (
            "new cookie, late",
            late(cookie(client(Cookie, 300, 0))),
            Outcome::CookieRejected,
        ),
        (
            "SYN data eaten",
            late(client(Cookie, 300, 0)),
            Outcome::SynTimeout,
        ),
        (
            "RST to the TFO SYN",
            ended(End::Reset, client(Cookie, 300, 0)),
            Outcome::Reset,
        ),
        (
            "RST to the request",
            ended(End::Reset, client(Request, 0, 0)),
            Outcome::Reset,
        ),
        (
            "RST to the bare SYN",
            late(ended(End::Reset, client(Cookie, 300, 0))),
            Outcome::Failed,
        ),
        (
            "no answer at all",
            late(ended(End::Failed, client(Cookie, 300, 0))),
            Outcome::Failed,
        ),
        (
            "closed at once",
            ended(End::Failed, client(Cookie, 300, 0)),
            Outcome::Failed,
        ),
        ("blackhole pause", paused, Outcome::Paused),
        (
            "blackhole pause, refused",
            ended(End::Reset, paused),
            Outcome::Paused,
        ),
        (
            "policy",
            withheld(Withheld::Policy, client(Request, 0, 0)),
            Outcome::Denied,
        ),
        (
            "policy, then a timeout",
            late(withheld(Withheld::Policy, client(Request, 0, 0))),
            Outcome::Denied,
        ),
        (
            "firewall",
            withheld(Withheld::Other, client(Request, 0, 0)),
            Outcome::LocalDrop,
        ),
        (
            "firewall, cookie-less",
            withheld(Withheld::Other, client(None, 0, 0)),
            Outcome::LocalDrop,
        ),
        (
            "firewall, then refused",
            ended(End::Reset, withheld(Withheld::Other, client(Request, 0, 0))),
            Outcome::Reset,
        ),
        ("zero bytes, cookie-less", client(None, 0, 0), Outcome::Plain),
    ];
    for (what, facts, want) in rows {
        assert_eq!(classify(&facts), want, "{what}");
    }
}

#[test]
fn server_table() {
    use TfoOption::{Cookie, None, Request};
    let on = |listener, facts: Handshake| Handshake { listener, ..facts };
    let child = |facts: Handshake| Handshake {
        child_from_syn: true,
        ..facts
    };
    let syncookie = |facts: Handshake| Handshake {
        syncookie: true,
        ..facts
    };
    let rows = [
        ("plain", server(None, 0), Outcome::Plain),
        (
            "plain, no TFO listener",
            on(Listener::Off, server(None, 0)),
            Outcome::Plain,
        ),
        (
            "plain under SYN cookies",
            syncookie(server(None, 0)),
            Outcome::Plain,
        ),
        (
            "child from the SYN",
            child(server(Cookie, 300)),
            Outcome::Accepted,
        ),
        (
            "child, last queue slot",
            on(Listener::QueueFull, child(server(Cookie, 300))),
            Outcome::Accepted,
        ),
        ("child, no payload", child(server(Cookie, 0)), Outcome::Accepted),
        ("child, cookie-less", child(server(None, 300)), Outcome::Accepted),
        ("request", server(Request, 0), Outcome::CookieGranted),
        (
            "request, TFO off",
            on(Listener::Off, server(Request, 0)),
            Outcome::NotEnabled,
        ),
        (
            "request, queue full",
            on(Listener::QueueFull, server(Request, 0)),
            Outcome::QueueOverflow,
        ),
        ("wrong cookie", server(Cookie, 300), Outcome::CookieRejected),
        (
            "cookie, TFO off",
            on(Listener::Off, server(Cookie, 300)),
            Outcome::NotEnabled,
        ),
        (
            "cookie, queue full",
            on(Listener::QueueFull, server(Cookie, 300)),
            Outcome::QueueOverflow,
        ),
        ("data, no option", server(None, 300), Outcome::OptionStripped),
        (
            "data, no option, TFO off",
            on(Listener::Off, server(None, 300)),
            Outcome::OptionStripped,
        ),
        (
            "cookie under SYN cookies",
            syncookie(server(Cookie, 300)),
            Outcome::Syncookie,
        ),
        (
            "request under SYN cookies",
            syncookie(server(Request, 0)),
            Outcome::Syncookie,
        ),
    ];
    for (what, facts, want) in rows {
        assert_eq!(classify(&facts), want, "{what}");
    }
}

#[test]
fn every_outcome_is_reachable() {
    let mut seen = [false; Outcome::COUNT];
    for bits in 0..1u32 << 16 {
        seen[classify(&facts_from(bits)) as usize] = true;
    }
    for outcome in Outcome::ALL {
        assert!(seen[outcome as usize], "{} cannot be produced", outcome.name());
    }
}

/// Facts spelled by the bits of a number, so that a range covers every combination.
fn facts_from(bits: u32) -> Handshake {
    let flag = |bit: u32| bits >> bit & 1 == 1;
    let len = if flag(9) { 300 } else { 0 };
    Handshake {
        role: if flag(0) { Role::Server } else { Role::Client },
        end: [End::Established, End::Reset, End::Failed, End::Established][(bits >> 1 & 3) as usize],
        requested: flag(3),
        paused: flag(4),
        withheld: [Withheld::No, Withheld::Policy, Withheld::Other, Withheld::No][(bits >> 5 & 3) as usize],
        option: [
            TfoOption::None,
            TfoOption::Request,
            TfoOption::Cookie,
            TfoOption::Cookie,
        ][(bits >> 7 & 3) as usize],
        syn_data_len: len,
        syn_data_acked: [0, len / 2, len, len][(bits >> 10 & 3) as usize],
        cookie_received: flag(12),
        syn_retrans: bits >> 13 & 1,
        child_from_syn: flag(14),
        syncookie: flag(15),
        listener: [
            Listener::Ready,
            Listener::QueueFull,
            Listener::Off,
            Listener::Ready,
        ][(bits >> 5 & 3) as usize],
    }
}

proptest! {
    #[test]
    fn outcome_fits_role(bits in any::<u32>(), len in any::<u32>(), acked in any::<u32>(), retrans in any::<u32>()) {
        let facts = Handshake {
            syn_data_len: len,
            syn_data_acked: acked,
            syn_retrans: retrans,
            ..facts_from(bits)
        };
        prop_assert!(classify(&facts).occurs_in(facts.role));
    }
}
