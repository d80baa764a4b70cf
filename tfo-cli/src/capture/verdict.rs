//! From what a capture shows of a connection to the facts the classifier wants. Where the capture leaves a fact
//! open, every value it may have is classified: when all lead to the same outcome that is the outcome, and when
//! they do not it is [`Unknown`].

use tfo_common::{
    Carried, FlowEvent, Handshake, Outcome, Role, TfoOption, classify,
    classify::{End, Listener},
    event::{EventKind, event_flags},
    time::{UNSEEN_US, us_between},
};

use super::{
    connection::{Answer, Connection},
    unknown::Unknown,
};

/// What is said about one end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// The record; its outcome means nothing where `outcome` is an error.
    pub event: FlowEvent,
    /// The outcome, or why there is none.
    pub outcome: Result<Outcome, Unknown>,
    /// Whether the application asked for Fast Open; a bare SYN does not tell.
    pub requested: Option<bool>,
    /// The option of the SYN; absent where it was cut.
    pub option: Option<TfoOption>,
    /// Payload of the SYN; absent where it was fragmented.
    pub data_len: Option<u32>,
    /// How much of it the answer acked; absent where there was none.
    pub data_acked: Option<u32>,
    /// Whether the answer brought a cookie; absent where that was cut, or where there was none.
    pub cookie_received: Option<bool>,
    /// What rode in the SYN.
    pub carried: Option<Carried>,
    /// Salted hash of the cookie in the SYN.
    pub cookie_sent_hash: Option<u32>,
    /// Salted hash of the cookie in the answer.
    pub cookie_received_hash: Option<u32>,
    /// Its first SYN: number of the file, from 0, and of the packet in it, from 1.
    pub place: (u32, u64),
}

/// How the watching of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// As long as anything could come.
    ToTheEnd,
    /// The capture ended.
    UntilCaptureEnd,
    /// Its place was needed.
    UntilForgotten,
}

/// The client's end.
pub fn client(connection: &Connection, watched: Watched, id: u64) -> Judged {
    let ended = client_end(connection, watched);
    let end = ended.unwrap_or(End::Failed);
    let answer = connection.answer.filter(|_| end == End::Established);
    let outcome = ended.and_then(|end| {
        let data_len = connection.data_len.ok_or(Unknown::Fragmented)?;
        agreed(options(connection).flat_map(|option| {
            cookies(answer).map(move |cookie_received| Handshake {
                end,
                requested: option != TfoOption::None || data_len > 0,
                option,
                syn_data_len: data_len,
                syn_data_acked: answer.map_or(0, |answer| answer.acked),
                cookie_received,
                syn_retrans: connection.syn_retrans,
                ..Handshake::plain(Role::Client)
            })
        }))
        .ok_or(Unknown::Snaplen)
    });
    let times = Times {
        start_ns: connection.syn_ns,
        end_ns: match end {
            End::Established => answer.map_or(connection.last_ns, |answer| answer.at_ns),
            End::Reset => connection.reset_ns.unwrap_or(connection.last_ns),
            End::Failed => connection.last_ns,
        },
        rtt_us: answer.map_or(UNSEEN_US, |answer| us_between(answer.syn_ns, answer.at_ns)),
        lost_us: us_between(
            connection.syn_ns,
            answer.map_or(connection.last_syn_ns, |answer| answer.syn_ns),
        ),
        retrans: connection.syn_retrans,
    };
    judged(connection, Role::Client, end, outcome, &times, id)
}

/// The server's end; `None` where its kernel would know nothing of the connection either.
pub fn server(connection: &Connection, watched: Watched, id: u64) -> Option<Judged> {
    let answer = connection.answer?;
    let established = connection.established_ns.is_some();
    if !established && !connection.taken && watched == Watched::ToTheEnd {
        return None;
    }
    let end = if established {
        End::Established
    } else {
        End::Failed
    };
    let outcome = server_outcome(connection, &answer, watched);
    let start_ns = if connection.taken {
        connection.syn_ns
    } else {
        answer.syn_ns
    };
    let rtt_us = connection
        .established_ns
        .filter(|_| connection.answer_retrans == 0)
        .map_or(UNSEEN_US, |at| us_between(answer.at_ns, at));
    let times = Times {
        start_ns,
        end_ns: connection.established_ns.unwrap_or(answer.at_ns),
        rtt_us,
        lost_us: 0,
        retrans: connection.answer_retrans,
    };
    Some(judged(connection, Role::Server, end, outcome, &times, id))
}

fn client_end(connection: &Connection, watched: Watched) -> Result<End, Unknown> {
    if connection.simultaneous {
        return Err(Unknown::SimultaneousOpen);
    }
    if connection.established_ns.is_some() {
        return Ok(End::Established);
    }
    if connection.one_sided {
        return Err(Unknown::OneSided);
    }
    if connection.reset_ns.is_some() {
        return Ok(End::Reset);
    }
    match watched {
        _ if connection.given_up => Ok(End::Failed),
        Watched::ToTheEnd => Ok(End::Failed),
        Watched::UntilCaptureEnd => Err(Unknown::CaptureEnd),
        Watched::UntilForgotten => Err(Unknown::TableFull),
    }
}

/// Which of the states its listener may have been in, and which of the SYNs it saw, cannot be seen from outside.
fn server_outcome(connection: &Connection, answer: &Answer, watched: Watched) -> Result<Outcome, Unknown> {
    if connection.simultaneous {
        return Err(Unknown::SimultaneousOpen);
    }
    let data_len = connection.data_len.ok_or(Unknown::Fragmented)?;
    if connection.taken {
        return agreed(options(connection).map(|option| Handshake {
            option,
            child_from_syn: true,
            syn_data_len: data_len,
            syn_data_acked: answer.acked,
            ..Handshake::plain(Role::Server)
        }))
        .ok_or(Unknown::Snaplen);
    }
    if connection.established_ns.is_none() {
        return Err(match watched {
            Watched::UntilForgotten => Unknown::TableFull,
            _ => Unknown::CaptureEnd,
        });
    }
    let sure = connection.option.is_some() && answer.cookie.is_some();
    let mut possible = Vec::new();
    for option in options(connection) {
        for cookie in cookies(Some(*answer)) {
            possible.extend(listener_states(connection, option, data_len, cookie));
        }
    }
    agreed(possible.into_iter()).ok_or(if sure {
        Unknown::ListenerState
    } else {
        Unknown::Snaplen
    })
}

/// What the server may have seen and been, given its answer (`tcp_conn_request`, `tcp_try_fastopen`).
fn listener_states(
    connection: &Connection,
    option: TfoOption,
    data_len: u32,
    cookie: bool,
) -> Vec<Handshake> {
    let seen = Handshake {
        option,
        requested: option != TfoOption::None,
        syn_data_len: data_len,
        ..Handshake::plain(Role::Server)
    };
    let mut possible = Vec::new();
    // A cookie in the answer: the listener had Fast Open on and room in its queue. One that was right makes a
    // child even without data, and one of the backup key brings a new cookie then.
    if option == TfoOption::Cookie && data_len == 0 {
        possible.push(Handshake {
            child_from_syn: true,
            ..seen
        });
    }
    if cookie {
        possible.push(seen);
    } else if option == TfoOption::None {
        // SYN cookies would call it `syncookie`; what the SYN lacked is the same.
        possible.push(seen);
    } else {
        possible.push(Handshake {
            listener: Listener::Off,
            ..seen
        });
        possible.push(Handshake {
            listener: Listener::QueueFull,
            ..seen
        });
        possible.push(Handshake {
            syncookie: true,
            ..seen
        });
    }
    if connection.syn_retrans > 0 && !cookie {
        // The first SYN may not have come through: then it saw a bare one.
        possible.push(Handshake::plain(Role::Server));
    }
    possible
}

/// The outcome all of them have.
fn agreed(mut possible: impl Iterator<Item = Handshake>) -> Option<Outcome> {
    let first = classify(&possible.next()?);
    possible.all(|facts| classify(&facts) == first).then_some(first)
}

/// Options the SYN may have had.
fn options(connection: &Connection) -> impl Iterator<Item = TfoOption> + use<> {
    const ALL: [TfoOption; 3] = [TfoOption::None, TfoOption::Request, TfoOption::Cookie];
    let known = connection.option;
    ALL.into_iter()
        .filter(move |option| known.is_none_or(|known| known == *option))
}

/// Whether the answer may have brought a cookie.
fn cookies(answer: Option<Answer>) -> impl Iterator<Item = bool> {
    let known = answer.map_or(Some(false), |answer| answer.cookie);
    [false, true]
        .into_iter()
        .filter(move |cookie| known.is_none_or(|known| known == *cookie))
}

struct Times {
    start_ns: u64,
    end_ns: u64,
    rtt_us: u32,
    lost_us: u32,
    retrans: u32,
}

fn judged(
    connection: &Connection,
    role: Role,
    end: End,
    outcome: Result<Outcome, Unknown>,
    times: &Times,
    id: u64,
) -> Judged {
    let answer = connection.answer;
    let is_client = role == Role::Client;
    let (local, remote) = if is_client {
        (connection.client, connection.server)
    } else {
        (connection.server, connection.client)
    };
    let data_len = connection.data_len.unwrap_or(0);
    let acked = answer.map(|answer| answer.acked);
    let has_option = matches!(connection.option, Some(TfoOption::Request | TfoOption::Cookie));
    let requested = (has_option || data_len > 0).then_some(true);
    let cookie_received = answer.and_then(|answer| answer.cookie);
    let mut flags = 0;
    for (bit, set) in [
        (event_flags::REQUESTED, requested == Some(true)),
        (
            event_flags::COOKIE_RECEIVED,
            is_client && cookie_received == Some(true),
        ),
        (event_flags::RESET, end == End::Reset),
        (event_flags::NOT_ESTABLISHED, end != End::Established),
    ] {
        if set {
            flags |= bit;
        }
    }
    let known = outcome.unwrap_or(Outcome::Plain);
    if is_client {
        flags |= connection.carried.map_or(0, Carried::flag);
    }
    // Simple packet blocks of pcapng have no time.
    let if_seen = |us: u32| if connection.syn_ns == 0 { UNSEEN_US } else { us };
    let rtt_us = if_seen(times.rtt_us);
    Judged {
        event: FlowEvent {
            kind: EventKind::Flow as u8,
            role: role as u8,
            outcome: known as u8,
            family: connection.family,
            option: connection.option.unwrap_or(TfoOption::None) as u8,
            option_kind: connection.option_kind,
            flags,
            policy: 0,
            id,
            start_ns: times.start_ns,
            end_ns: times.end_ns,
            cgroup_id: 0,
            local: local.0,
            remote: remote.0,
            local_port: local.1,
            remote_port: remote.1,
            netns: 0,
            tgid: 0,
            syn_data_len: data_len,
            syn_data_acked: acked.unwrap_or(0),
            syn_retrans: times.retrans,
            handshake_us: if end == End::Established {
                if_seen(us_between(times.start_ns, times.end_ns))
            } else {
                UNSEEN_US
            },
            rtt_us,
            ttfb_us: connection
                .first_byte_ns
                .map_or(UNSEEN_US, |at| if_seen(us_between(times.start_ns, at).max(1))),
            saved_us: if known.saves_round_trip() && data_len > 0 && rtt_us != UNSEEN_US {
                rtt_us
            } else {
                0
            },
            lost_us: if known.loses_timeout() { times.lost_us } else { 0 },
            offered: 0,
            comm: [0; 16],
        },
        outcome,
        requested,
        option: connection.option,
        data_len: connection.data_len,
        data_acked: acked,
        cookie_received,
        carried: connection.carried,
        cookie_sent_hash: connection.cookie_hash,
        cookie_received_hash: answer.and_then(|answer| answer.cookie_hash),
        place: connection.place,
    }
}
