//! The TCP state of the responder for one client: enough for one request and its echo.

use super::segment::{ACK, Cookie, FIN, FastOpen, Outgoing, SYN, Segment};

/// Initial sequence number. It need not be hard to guess in the lab.
const INITIAL_SEQUENCE: u32 = 1_000_000;

/// State of the connection with one client.
#[derive(Debug)]
pub struct Flow {
    ack_limit: usize,
    cookie: Cookie,
    next_out: u32,
    next_in: u32,
    /// SYN data that was acked, to be echoed after the handshake.
    early: Vec<u8>,
    closing: bool,
}

impl Flow {
    /// A connection that acks at most `ack_limit` bytes of SYN data and grants this kind of cookie.
    pub fn new(ack_limit: usize, cookie: Cookie) -> Self {
        Self {
            ack_limit,
            cookie,
            next_out: INITIAL_SEQUENCE,
            next_in: 0,
            early: Vec::new(),
            closing: false,
        }
    }

    /// Handles a segment; returns the segments to send.
    pub fn receive(&mut self, segment: &Segment<'_>) -> Vec<Outgoing> {
        if segment.flags & SYN != 0 {
            return vec![self.open(segment)];
        }
        if segment.sequence != self.next_in {
            return vec![self.send(ACK, Vec::new())];
        }
        let mut echo = std::mem::take(&mut self.early);
        echo.extend_from_slice(segment.payload);
        self.next_in = self.next_in.wrapping_add(length(segment.payload));
        let mut replies = Vec::new();
        if !echo.is_empty() {
            replies.push(self.send(ACK, echo));
        }
        if segment.flags & FIN != 0 && !self.closing {
            self.closing = true;
            self.next_in = self.next_in.wrapping_add(1);
            replies.push(self.send(FIN | ACK, Vec::new()));
        }
        replies
    }

    fn open(&mut self, syn: &Segment<'_>) -> Outgoing {
        let taken = match syn.fast_open {
            FastOpen::Cookie => syn.payload.len().min(self.ack_limit),
            FastOpen::None | FastOpen::Request => 0,
        };
        self.early = syn.payload[..taken].to_vec();
        self.next_in = syn.sequence.wrapping_add(1).wrapping_add(length(&self.early));
        self.next_out = INITIAL_SEQUENCE;
        let cookie = (syn.fast_open == FastOpen::Request).then_some(self.cookie);
        let reply = Outgoing {
            cookie,
            ..self.send(SYN | ACK, Vec::new())
        };
        self.next_out = INITIAL_SEQUENCE.wrapping_add(1);
        reply
    }

    fn send(&mut self, flags: u8, payload: Vec<u8>) -> Outgoing {
        let sequence = self.next_out;
        let fin = u32::from(flags & FIN != 0);
        self.next_out = sequence.wrapping_add(length(&payload)).wrapping_add(fin);
        Outgoing {
            sequence,
            acknowledgement: self.next_in,
            flags,
            payload,
            cookie: None,
        }
    }
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u32, flags: u8, fast_open: FastOpen, payload: &[u8]) -> Segment<'_> {
        Segment {
            source: 1,
            destination: 2,
            sequence,
            flags,
            fast_open,
            payload,
        }
    }

    #[test]
    fn acks_only_part_of_the_syn_data_and_echoes_everything() {
        let mut flow = Flow::new(2, Cookie::ORDINARY);
        let answer = flow.receive(&segment(100, SYN, FastOpen::Cookie, b"abcde"));
        assert_eq!((answer[0].flags, answer[0].acknowledgement), (SYN | ACK, 103));
        let answer = flow.receive(&segment(103, ACK, FastOpen::None, b"cde"));
        assert_eq!(
            (answer[0].payload.as_slice(), answer[0].acknowledgement),
            (&b"abcde"[..], 106)
        );
    }

    #[test]
    fn a_request_gets_a_cookie_and_a_bare_syn_none() {
        let mut flow = Flow::new(0, Cookie::ORDINARY);
        assert!(
            flow.receive(&segment(1, SYN, FastOpen::Request, b""))[0]
                .cookie
                .is_some()
        );
        assert!(
            flow.receive(&segment(1, SYN, FastOpen::None, b""))[0]
                .cookie
                .is_none()
        );
    }

    #[test]
    fn a_fin_is_answered_by_a_fin_once() {
        let mut flow = Flow::new(0, Cookie::ORDINARY);
        flow.receive(&segment(1, SYN, FastOpen::None, b""));
        assert_eq!(
            flow.receive(&segment(2, FIN | ACK, FastOpen::None, b""))[0].flags,
            FIN | ACK
        );
        assert!(flow.receive(&segment(3, ACK, FastOpen::None, b"")).is_empty());
    }
}
