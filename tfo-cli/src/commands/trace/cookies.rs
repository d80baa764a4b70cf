//! Hashes of cookies beside records, under `--cookies`: the kernel is asked what it keeps for a pair of addresses when a
//! record is read. The programs do not see a cookie where they could tell it (docs/limits.md).

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tfo_common::{Role, TfoOption, event::Record};

use crate::{
    fingerprint::{Fingerprint, Salt},
    model::{Flow, source::Source},
};

/// How long an answer serves for other connections.
const SERVES: Duration = Duration::from_secs(1);
/// Answers kept, and questions for one batch at most: each takes tens of microseconds.
const MOST_KEPT: usize = 4_096;
const MOST_ASKED: usize = 256;

/// The answers so far.
#[derive(Debug)]
pub struct Cookies {
    salt: Salt,
    answers: HashMap<(u32, IpAddr, IpAddr), (Instant, Option<Fingerprint>)>,
}

impl Cookies {
    /// None yet.
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            answers: HashMap::new(),
        }
    }

    /// The hashes for records that are read at this moment, by the numbers of their flows.
    pub fn of(
        &mut self,
        records: &[Record],
        source: &mut dyn Source,
        now: Instant,
    ) -> Vec<(u64, Fingerprint)> {
        let mut asked = 0;
        let flows = records.iter().filter_map(|record| match record {
            Record::Flow(event) => Flow::new(event),
            Record::FirstByte(_) => None,
        });
        let with_cookie = flows.filter(|flow| {
            flow.role() == Role::Client && (flow.option() == TfoOption::Cookie || flow.cookie_received())
        });
        with_cookie
            .filter_map(|flow| {
                let pair = (flow.event().netns, flow.local_ip(), flow.remote_ip());
                let known = self.answers.get(&pair).copied();
                let fresh = known.filter(|(at, _)| now.saturating_duration_since(*at) < SERVES);
                let cookie = match fresh {
                    // A new cookie has taken the place of the one that was asked for.
                    Some((_, cookie)) if !flow.cookie_received() || asked >= MOST_ASKED => cookie,
                    _ if asked < MOST_ASKED => {
                        asked += 1;
                        let cookie = source.cookie(pair.0, pair.1, pair.2, &self.salt);
                        if self.answers.len() >= MOST_KEPT {
                            self.answers.clear();
                        }
                        self.answers.insert(pair, (now, cookie));
                        cookie
                    }
                    _ => None,
                };
                Some((flow.id(), cookie?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::{Outcome, event::event_flags};

    use super::*;
    use crate::{fingerprint::Secret, model::fake};

    fn record(id: u64, outcome: Outcome, brings: bool) -> Record {
        let mut event = fake::flow(outcome);
        event.id = id;
        event.flags &= !event_flags::COOKIE_RECEIVED;
        if brings {
            event.flags |= event_flags::COOKIE_RECEIVED;
        }
        Record::Flow(event)
    }

    #[test]
    fn a_pair_is_asked_for_once_a_second_and_after_each_new_cookie() {
        let salt = Salt::of_text("tests");
        let hash = |cookie: u64| salt.fingerprint(Secret::Cookie, &cookie.to_be_bytes());
        let mut source = fake::FakeSource {
            cookies: [1, 2, 3].into(),
            ..fake::FakeSource::default()
        };
        let mut cookies = Cookies::new(salt);
        let start = Instant::now();
        let two = [
            record(1, Outcome::Accepted, false),
            record(2, Outcome::Accepted, false),
        ];
        assert_eq!(cookies.of(&two, &mut source, start), [(1, hash(1)), (2, hash(1))]);
        let new = [
            record(3, Outcome::Accepted, true),
            record(4, Outcome::Accepted, false),
        ];
        assert_eq!(cookies.of(&new, &mut source, start), [(3, hash(2)), (4, hash(2))]);
        let later = cookies.of(&two[..1], &mut source, start + SERVES);
        assert_eq!(later, [(1, hash(3))]);
        // The kernel keeps none any more.
        assert_eq!(cookies.of(&two, &mut source, start + 3 * SERVES), []);
    }

    #[test]
    fn who_had_no_cookie_is_not_asked_about() {
        let mut source = fake::FakeSource {
            cookies: [1].into(),
            ..fake::FakeSource::default()
        };
        let mut event = fake::flow(Outcome::Plain);
        (event.option, event.flags) = (TfoOption::None as u8, 0);
        let mut server = fake::flow(Outcome::Accepted);
        server.role = Role::Server as u8;
        let records = [Record::Flow(event), Record::Flow(server), fake::first_byte(1, 5)];
        let mut cookies = Cookies::new(Salt::of_text("tests"));
        assert_eq!(cookies.of(&records, &mut source, Instant::now()), []);
        assert_eq!(source.cookies.len(), 1);
    }
}
