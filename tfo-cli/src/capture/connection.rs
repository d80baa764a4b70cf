//! One connection, from its SYN to the first byte of the answer, as its packets pass by.

use tfo_common::{Carried, TfoOption};

use super::tcp::{self, ACK, FIN, Header, RST, SYN};

/// Two identical packets within this time are one packet seen at two places (`tcpdump -i any`, a bridge, both
/// ends of a slow link). Retransmissions differ in their time stamp, and a SYN is not sent again before one
/// second (`TCP_TIMEOUT_INIT`).
const DUPLICATE_NS: u64 = 900_000_000;

/// Address and port; the address in network order, IPv4 in the first four bytes.
pub type Endpoint = ([u8; 16], u16);

/// One TCP segment with all that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// ns since 1970.
    pub at_ns: u64,
    /// Number of its file, from 0.
    pub file: u32,
    /// Number of its packet in that file, from 1.
    pub frame: u64,
    /// 4 or 6.
    pub family: u8,
    /// Who sent it.
    pub from: Endpoint,
    /// To whom.
    pub to: Endpoint,
    /// Its header.
    pub header: Header<'a>,
    /// Payload bytes on the wire; `None` for the first of several fragments.
    pub payload_len: Option<u32>,
    /// Hash of all that retransmissions differ in; only for segments with SYN.
    pub print: u64,
    /// Salted hash of the cookie in it; only for segments with SYN.
    pub cookie: Option<u32>,
}

/// The answer to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it came.
    pub at_ns: u64,
    /// When the SYN before it was sent.
    pub syn_ns: u64,
    /// SYN data it acked.
    pub acked: u32,
    /// Whether it brought a cookie; `None` where its options were cut.
    pub cookie: Option<bool>,
    /// Salted hash of that cookie.
    pub cookie_hash: Option<u32>,
    /// No SYN was sent after it, so this is the one the client went on with.
    pub stands: bool,
    print: u64,
}

/// A SYN-ACK, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct SynAck {
    at_ns: u64,
    acknowledgement: u32,
    /// `None` where its options were cut.
    cookie: Option<bool>,
    cookie_hash: Option<u32>,
    print: u64,
}

impl SynAck {
    /// What a segment with SYN and ACK says.
    pub fn new(segment: &Segment<'_>) -> Self {
        let found = tcp::fast_open(&segment.header);
        Self {
            at_ns: segment.at_ns,
            acknowledgement: segment.header.acknowledgement,
            cookie: found.map(|found| found.option() == TfoOption::Cookie),
            cookie_hash: segment.cookie,
            print: segment.print,
        }
    }

    /// When it was seen.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }
}

/// What a segment did to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    Goes,
    /// The same packet, seen at another place.
    Duplicate,
    /// Nothing more can come that matters.
    Over,
    /// Another connection with the same addresses and ports begins.
    Reused,
}

/// A connection whose SYN was seen.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each seen on its own"
)]
pub struct Connection {
    /// 4 or 6.
    pub family: u8,
    /// Who sent the SYN.
    pub client: Endpoint,
    /// Who got it.
    pub server: Endpoint,
    /// File and packet of the first SYN.
    pub place: (u32, u64),
    /// The first SYN.
    pub syn_ns: u64,
    /// The latest one.
    pub last_syn_ns: u64,
    /// Option of the first SYN; `None` where it was cut before one was met.
    pub option: Option<TfoOption>,
    /// 34, 254, or 0.
    pub option_kind: u8,
    /// Salted hash of its cookie.
    pub cookie_hash: Option<u32>,
    /// Payload of the first SYN; `None` where it was fragmented.
    pub data_len: Option<u32>,
    /// What that payload is; `None` where there is none.
    pub carried: Option<Carried>,
    /// SYNs sent again.
    pub syn_retrans: u32,
    /// SYN-ACKs sent again.
    pub answer_retrans: u32,
    /// The answer the client went on with, as far as can be told.
    pub answer: Option<Answer>,
    /// An answer acked data before the client's last SYN: a child was made from the SYN.
    pub taken: bool,
    /// First packet of the client that only an established connection sends.
    pub established_ns: Option<u64>,
    /// A RST of the server before any answer.
    pub reset_ns: Option<u64>,
    /// A RST of the client before it was established.
    pub given_up: bool,
    /// First payload of the server.
    pub first_byte_ns: Option<u64>,
    /// Both ends sent a SYN.
    pub simultaneous: bool,
    /// The client went on although no answer was seen.
    pub one_sided: bool,
    /// The latest packet.
    pub last_ns: u64,
    isn: u32,
    print: u64,
}

impl Connection {
    /// A connection that begins with this SYN.
    pub fn new(syn: &Segment<'_>) -> Self {
        let found = tcp::fast_open(&syn.header);
        Self {
            family: syn.family,
            client: syn.from,
            server: syn.to,
            place: (syn.file, syn.frame),
            syn_ns: syn.at_ns,
            last_syn_ns: syn.at_ns,
            option: found.map(|found| found.option()),
            option_kind: found.map_or(0, |found| found.kind),
            cookie_hash: syn.cookie,
            data_len: syn.payload_len,
            carried: syn
                .payload_len
                .filter(|length| *length > 0)
                .map(|length| Carried::of(syn.header.payload, length)),
            syn_retrans: 0,
            answer_retrans: 0,
            answer: None,
            taken: false,
            established_ns: None,
            reset_ns: None,
            given_up: false,
            first_byte_ns: None,
            simultaneous: false,
            one_sided: false,
            last_ns: syn.at_ns,
            isn: syn.header.sequence,
            print: syn.print,
        }
    }

    /// Whether the SYN asked for Fast Open, or may have.
    pub fn is_fast(&self) -> bool {
        self.option != Some(TfoOption::None) || self.data_len != Some(0)
    }

    /// Takes the next segment of either direction.
    pub fn take(&mut self, segment: &Segment<'_>) -> Step {
        let step = match (
            segment.from == self.client,
            segment.header.has(SYN),
            segment.header.has(ACK),
        ) {
            (true, true, false) => self.syn_again(segment),
            (true, false, _) => self.client_goes_on(segment),
            (false, true, true) => self.answered(&SynAck::new(segment)),
            (false, true, false) => self.syn_back(segment),
            (false, false, _) => self.server_goes_on(segment),
            // A SYN-ACK of whoever sent the SYN: of a simultaneous open.
            (true, true, true) => {
                self.simultaneous = true;
                Step::Over
            }
        };
        if step != Step::Reused {
            self.last_ns = self.last_ns.max(segment.at_ns);
        }
        step
    }

    fn syn_again(&mut self, segment: &Segment<'_>) -> Step {
        if segment.header.sequence != self.isn {
            return Step::Reused;
        }
        if self.established_ns.is_some() {
            return Step::Goes;
        }
        if segment.print == self.print && segment.at_ns.saturating_sub(self.last_syn_ns) < DUPLICATE_NS {
            return Step::Duplicate;
        }
        self.syn_retrans = self.syn_retrans.saturating_add(1);
        self.last_syn_ns = segment.at_ns;
        self.print = segment.print;
        if let Some(answer) = &mut self.answer {
            answer.stands = false;
        }
        Step::Goes
    }

    /// A SYN without ACK of the server's end.
    fn syn_back(&mut self, _: &Segment<'_>) -> Step {
        if self.answer.is_some() || self.reset_ns.is_some() || self.given_up || self.one_sided {
            return Step::Reused;
        }
        self.simultaneous = true;
        Step::Over
    }

    /// The answer, which may have come into the capture before the SYN.
    pub fn answered(&mut self, seen: &SynAck) -> Step {
        let acked = seen.acknowledgement.wrapping_sub(self.isn).wrapping_sub(1);
        if acked > self.data_len.unwrap_or(u32::from(u16::MAX)) {
            // It acks what was never sent: of an earlier connection, or forged.
            return Step::Goes;
        }
        if let Some(answer) = &mut self.answer {
            if answer.print == seen.print && seen.at_ns.saturating_sub(answer.at_ns) < DUPLICATE_NS {
                return Step::Duplicate;
            }
            self.answer_retrans = self.answer_retrans.saturating_add(1);
            answer.print = seen.print;
            // What stands is what the client went on with; a later copy was sent for the client's lost ACK.
            if answer.stands || self.established_ns.is_some() {
                return Step::Goes;
            }
        }
        self.taken |= acked > 0;
        self.answer = Some(Answer {
            at_ns: seen.at_ns,
            syn_ns: self.last_syn_ns,
            acked,
            cookie: seen.cookie,
            cookie_hash: seen.cookie_hash,
            stands: true,
            print: seen.print,
        });
        // The client's packet was put into the capture before it, by another CPU.
        if self.one_sided {
            self.one_sided = false;
            self.established_ns = Some(seen.at_ns);
        }
        Step::Goes
    }

    fn client_goes_on(&mut self, segment: &Segment<'_>) -> Step {
        if segment.header.has(RST) {
            if self.established_ns.is_none() {
                self.given_up = true;
            }
            return Step::Over;
        }
        if self.established_ns.is_some() || !segment.header.has(ACK) {
            return Step::Goes;
        }
        if self.answer.is_some() {
            self.established_ns = Some(segment.at_ns);
            if self.first_byte_ns.is_some() {
                return Step::Over;
            }
        } else {
            self.one_sided = true;
        }
        Step::Goes
    }

    fn server_goes_on(&mut self, segment: &Segment<'_>) -> Step {
        if segment.header.has(RST) {
            return self.reset(segment);
        }
        if self.answer.is_some() && self.first_byte_ns.is_none() && segment.payload_len != Some(0) {
            self.first_byte_ns = Some(segment.at_ns);
        }
        let heard = self.first_byte_ns.is_some() || segment.header.has(FIN);
        if heard && self.established_ns.is_some() {
            return Step::Over;
        }
        Step::Goes
    }

    /// A client in SYN-SENT believes a RST that acks something it sent (RFC 9293 section 3.10.7.3).
    fn reset(&mut self, segment: &Segment<'_>) -> Step {
        if self.established_ns.is_some() {
            return Step::Over;
        }
        if self.answer.is_some() {
            // The client was established when the answer came; its ACK may follow.
            return Step::Goes;
        }
        let acked = segment
            .header
            .acknowledgement
            .wrapping_sub(self.isn)
            .wrapping_sub(1);
        if segment.header.has(ACK) && acked <= self.data_len.unwrap_or(u32::from(u16::MAX)) {
            self.reset_ns = Some(segment.at_ns);
            return Step::Over;
        }
        Step::Goes
    }
}
