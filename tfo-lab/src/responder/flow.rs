//! The TCP state of the responder for one client: enough for one request and its echo.

use super::{
    Manner,
    segment::{ACK, FIN, FastOpen, Outgoing, SYN, Segment},
};

/// Initial sequence number. It need not be hard to guess in the lab.
const INITIAL_SEQUENCE: u32 = 1_000_000;

/// State of the connection with one client.
#[derive(Debug)]
pub struct Flow {
    manner: Manner,
    next_out: u32,
    next_in: u32,
    /// SYN data that was acked, to be echoed.
    early: Vec<u8>,
    closing: bool,
}

impl Flow {
    /// A connection that is answered so.
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            next_out: INITIAL_SEQUENCE,
            next_in: 0,
            early: Vec::new(),
            closing: false,
        }
    }

    /// Handles a segment; returns the segments to send.
    pub fn receive(&mut self, segment: &Segment<'_>) -> Vec<Outgoing> {
        if segment.flags & SYN != 0 {
            let mut replies = vec![self.open(segment)];
            if self.manner.is_eager && !self.early.is_empty() {
                let echo = std::mem::take(&mut self.early);
                replies.push(self.send(ACK, echo));
            }
            return replies;
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
            FastOpen::Cookie => syn.payload.len().min(self.manner.ack_limit),
            FastOpen::None | FastOpen::Request => 0,
        };
        self.early = syn.payload[..taken].to_vec();
        self.next_in = syn.sequence.wrapping_add(1).wrapping_add(length(&self.early));
        self.next_out = INITIAL_SEQUENCE;
        let cookie = (syn.fast_open == FastOpen::Request).then_some(self.manner.cookie);
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

    fn flow(ack_limit: usize) -> Flow {
        Flow::new(Manner {
            ack_limit,
            ..Manner::default()
        })
    }

    #[test]
    fn an_eager_one_answers_before_the_handshake_is_over() {
        let mut flow = Flow::new(Manner {
            is_eager: true,
            ..Manner::default()
        });
        let answer = flow.receive(&segment(1, SYN, FastOpen::Cookie, b"abc"));
        let sent: Vec<_> = answer
            .iter()
            .map(|one| (one.flags, one.sequence, &one.payload[..]))
            .collect();
        let first = INITIAL_SEQUENCE;
        assert_eq!(sent, [(SYN | ACK, first, &b""[..]), (ACK, first + 1, b"abc")]);
        assert!(
            flow.receive(&segment(4, ACK, FastOpen::None, b"")).len() == 1,
            "a sequence number that is not the next is told where to go on"
        );
        assert!(flow.receive(&segment(5, ACK, FastOpen::None, b"")).is_empty());
    }

    #[test]
    fn acks_only_part_of_the_syn_data_and_echoes_everything() {
        let mut flow = flow(2);
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
        let mut flow = flow(0);
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
        let mut flow = flow(0);
        flow.receive(&segment(1, SYN, FastOpen::None, b""));
        assert_eq!(
            flow.receive(&segment(2, FIN | ACK, FastOpen::None, b""))[0].flags,
            FIN | ACK
        );
        assert!(flow.receive(&segment(3, ACK, FastOpen::None, b"")).is_empty());
    }
}
