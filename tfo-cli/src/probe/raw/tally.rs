//! Counts the answers to the SYNs of `--raw` by kind, and judges them.

use super::{Kind, SynAnswer};

/// Numbers of SYNs of one kind, by their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The kind.
    pub kind: Kind,
    /// SYNs that were sent.
    pub sent: u32,
    /// SYNs that were answered by a SYN-ACK.
    pub answered: u32,
    /// SYNs that were answered by a RST.
    pub reset: u32,
    /// SYNs that were refused by an ICMP message.
    pub unreachable: u32,
    /// SYN-ACKs that brought a cookie.
    pub cookies: u32,
    /// SYN-ACKs that acknowledged the data.
    pub data_acked: u32,
}

impl Tally {
    /// A tally of this kind without SYNs.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            sent: 0,
            answered: 0,
            reset: 0,
            unreachable: 0,
            cookies: 0,
            data_acked: 0,
        }
    }

    /// Counts a SYN with this answer.
    pub fn add(&mut self, seen: SynAnswer) {
        self.sent += 1;
        match seen {
            SynAnswer::SynAck { cookie, data_acked } => {
                self.answered += 1;
                self.cookies += u32::from(cookie.is_some());
                self.data_acked += u32::from(data_acked);
            }
            SynAnswer::Reset => self.reset += 1,
            SynAnswer::Unreachable { .. } | SynAnswer::Hop { .. } => self.unreachable += 1,
            SynAnswer::Nothing => {}
        }
    }

    /// Whether at least three SYNs were sent and none was answered in any way.
    fn is_lost(&self) -> bool {
        self.sent >= 3 && self.answered + self.reset + self.unreachable == 0
    }
}

/// What the numbers show, provided that plain SYNs are answered.
pub fn remarks(tallies: &[Tally]) -> Vec<&'static str> {
    let of = |kind| tallies.iter().find(|tally| tally.kind == kind);
    let lost = |kind| of(kind).is_some_and(Tally::is_lost);
    let answered = |kind| of(kind).is_some_and(|tally| tally.answered > 0);
    let cookies = |kind| of(kind).is_some_and(|tally| tally.cookies > 0);
    if !answered(Kind::Plain) {
        return Vec::new();
    }
    let option = match (lost(Kind::Unknown), lost(Kind::Request), lost(Kind::Experimental)) {
        (true, _, _) => Some("The path drops SYNs with options it does not know, Fast Open's or not."),
        (false, true, true) => Some("The path drops SYNs with the Fast Open option, in either number."),
        (false, true, false) => {
            Some("The path drops SYNs with option 34, not those with the experimental 254.")
        }
        (false, false, true) => {
            Some("The path drops SYNs with the experimental option 254, not those with 34.")
        }
        (false, false, false) => None,
    };
    let mut remarks: Vec<&str> = option.into_iter().collect();
    if lost(Kind::Data) {
        remarks.push("The path drops SYNs with data, also without the Fast Open option.");
    }
    if answered(Kind::Request) && answered(Kind::Experimental) {
        match (cookies(Kind::Request), cookies(Kind::Experimental)) {
            (false, true) => remarks.push("A cookie comes for option 254 only: the path takes option 34 out."),
            (true, false) => remarks.push("A cookie comes for option 34 only: the path takes option 254 out, or the server does not know it."),
            (true, true) | (false, false) => {}
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN_ACK: SynAnswer = SynAnswer::SynAck {
        cookie: None,
        data_acked: false,
    };
    const COOKIE: SynAnswer = SynAnswer::SynAck {
        cookie: Some(34),
        data_acked: false,
    };

    fn of(answers: [SynAnswer; 5]) -> Vec<&'static str> {
        let tallies = Kind::RAW.into_iter().zip(answers).map(|(kind, seen)| {
            let mut tally = Tally::new(kind);
            (0..3).for_each(|_| tally.add(seen));
            tally
        });
        remarks(&tallies.collect::<Vec<_>>())
    }

    #[test]
    fn each_loss_has_its_sentence_and_health_has_none() {
        use SynAnswer::Nothing;
        let only = |answers, word: &str| {
            let found = of(answers);
            assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
        };
        assert!(of([SYN_ACK, COOKIE, COOKIE, SYN_ACK, SYN_ACK]).is_empty());
        assert!(of([SYN_ACK; 5]).is_empty(), "no server support");
        assert!(of([Nothing; 5]).is_empty(), "offline");
        only([SYN_ACK, Nothing, Nothing, Nothing, SYN_ACK], "does not know");
        only([SYN_ACK, Nothing, Nothing, SYN_ACK, SYN_ACK], "either number");
        only([SYN_ACK, Nothing, COOKIE, SYN_ACK, SYN_ACK], "option 34, not");
        only([SYN_ACK, COOKIE, Nothing, SYN_ACK, SYN_ACK], "254, not");
        only([SYN_ACK, COOKIE, COOKIE, SYN_ACK, Nothing], "SYNs with data");
        only([SYN_ACK, SYN_ACK, COOKIE, SYN_ACK, SYN_ACK], "254 only");
        only([SYN_ACK, COOKIE, SYN_ACK, SYN_ACK, SYN_ACK], "34 only");
    }

    #[test]
    fn two_lost_syns_are_chance() {
        let mut data = Tally::new(Kind::Data);
        (data.sent, data.answered) = (2, 0);
        let mut plain = Tally::new(Kind::Plain);
        plain.add(SYN_ACK);
        assert!(remarks(&[plain, data]).is_empty());
    }
}
