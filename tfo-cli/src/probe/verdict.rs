//! The verdict about the attempts of a probe.
//!
//! A single lost SYN is no evidence, because plain SYNs get lost, too. So a fault is named only when it happened three
//! times of three and never to plain SYNs, or when the loss of plain SYNs would explain it in less than one of a hundred
//! probes (the tail of the binomial distribution, with the loss rate of plain SYNs estimated as (lost + 1) / (sent + 2)).

use super::attempt::{Answer, Attempt, Carried, DataFate, Step};

/// Probability below which the loss of plain SYNs is no explanation.
const UNLIKELY: f64 = 0.01;

/// Whether Fast Open works to the destination, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// SYN data is accepted.
    Works,
    /// Cookies are granted, data is not accepted, and no new cookie comes.
    Refused,
    /// A request with option 34 is not answered with a cookie, one with the experimental option 254 is.
    Stripped,
    /// SYNs with data get no answer, SYNs with the option alone do.
    DropsData,
    /// SYNs with the option get no answer, plain ones do.
    DropsOption,
    /// A RST answers SYNs with Fast Open, not plain ones.
    Resets,
    /// Neither option is answered with a cookie.
    NoServerSupport,
    /// Data is refused with another cookie each time: behind the address are servers that do not share a key.
    KeyMismatch,
    /// Plain SYNs are refused or not answered, so that nothing can be said about Fast Open.
    Offline,
    /// The attempts contradict each other, or plain SYNs get lost as well.
    Transient,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 10] = [
        Self::Works,
        Self::Refused,
        Self::Stripped,
        Self::DropsData,
        Self::DropsOption,
        Self::Resets,
        Self::NoServerSupport,
        Self::KeyMismatch,
        Self::Offline,
        Self::Transient,
    ];

    /// The name that every output uses, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Refused => "refused",
            Self::Stripped => "stripped",
            Self::DropsData => "drops-data",
            Self::DropsOption => "drops-option",
            Self::Resets => "resets",
            Self::NoServerSupport => "no-server-support",
            Self::KeyMismatch => "key-mismatch",
            Self::Offline => "offline",
            Self::Transient => "transient",
        }
    }

    /// The meaning, in a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Works => "SYN data is accepted.",
            Self::Refused => {
                "Cookies are granted, but SYN data is not taken and no new cookie comes: the listener's Fast Open queue \
                 is full, Fast Open was switched off, or SYN cookies are in use."
            }
            Self::Stripped => {
                "A cookie request with option 34 is not answered, one with the experimental option 254 is: the path \
                 takes option 34 out, or the server knows only the old option."
            }
            Self::DropsData => {
                "SYNs with data get no answer, while SYNs with the option alone and plain SYNs do: the path drops SYN \
                 data, and each connection pays a SYN timeout."
            }
            Self::DropsOption => {
                "SYNs with the Fast Open option get no answer, while plain SYNs do: the path drops the option."
            }
            Self::Resets => {
                "A RST answers SYNs with Fast Open, but not plain SYNs. The kernel does not fall back: applications see \
                 ECONNREFUSED."
            }
            Self::NoServerSupport => {
                "No cookie comes, whichever option asks for one: Fast Open is off at the server, or the path takes \
                 both options out."
            }
            Self::KeyMismatch => {
                "SYN data is refused with another cookie each time: behind this address are servers that do not share \
                 a Fast Open key."
            }
            Self::Offline => {
                "Plain connections are refused or not answered, so nothing can be said about Fast Open."
            }
            Self::Transient => "The attempts contradict each other. Try again, with more attempts (--count).",
        }
    }

    /// Whether Fast Open does not work. False for `offline` and `transient`, which do not tell.
    pub const fn is_fault(self) -> bool {
        match self {
            Self::Works | Self::Offline | Self::Transient => false,
            Self::Refused
            | Self::Stripped
            | Self::DropsData
            | Self::DropsOption
            | Self::Resets
            | Self::NoServerSupport
            | Self::KeyMismatch => true,
        }
    }
}

/// Numbers of attempts of one kind, by their result.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sent: u32,
    unanswered: u32,
    reset: u32,
    established: u32,
}

impl Count {
    fn of<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> Self {
        attempts.fold(Self::default(), |count, attempt| Self {
            sent: count.sent + 1,
            unanswered: count.unanswered + u32::from(attempt.is_unanswered()),
            reset: count.reset + u32::from(matches!(attempt.answer, Answer::Reset)),
            established: count.established + u32::from(attempt.answer.is_established()),
        })
    }
}

/// The verdict about all attempts to one destination, which are in the order in which they were made.
pub fn judge(attempts: &[Attempt]) -> Verdict {
    let plain = Count::of(attempts.iter().filter(|attempt| attempt.step == Step::Plain));
    if plain.established == 0 {
        return Verdict::Offline;
    }
    let requests: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| attempt.carried == Carried::Request)
        .collect();
    let data: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| matches!(attempt.carried, Carried::Data(_)))
        .collect();
    by_loss(&plain, &requests, &data)
        .or_else(|| by_answers(&requests, &data))
        .unwrap_or(Verdict::Transient)
}

/// The fault of the path: SYNs that are not answered, or by a RST.
fn by_loss(plain: &Count, requests: &[&Attempt], data: &[&Attempt]) -> Option<Verdict> {
    let request_count = Count::of(requests.iter().copied());
    let data_count = Count::of(data.iter().copied());
    let sent = request_count.sent + data_count.sent;
    let resets = request_count.reset + data_count.reset;
    if is_significant(data_count.reset, data_count.sent, plain.reset, plain.sent)
        || is_significant(resets, sent, plain.reset, plain.sent)
    {
        return Some(Verdict::Resets);
    }
    if is_significant(
        data_count.unanswered,
        data_count.sent,
        plain.unanswered,
        plain.sent,
    ) {
        return Some(Verdict::DropsData);
    }
    let drops_option = data.is_empty()
        && is_significant(
            request_count.unanswered,
            request_count.sent,
            plain.unanswered,
            plain.sent,
        );
    drops_option.then_some(Verdict::DropsOption)
}

/// What the server does about Fast Open, where SYNs are answered: what happened in more than half of the attempts.
fn by_answers(requests: &[&Attempt], data: &[&Attempt]) -> Option<Verdict> {
    if data.is_empty() {
        // A retransmitted request has no option, so its answer is no evidence.
        let at_once = requests
            .iter()
            .filter(|attempt| attempt.answer == Answer::AtOnce)
            .count();
        // The kernel requests with option 34, then with 254, then with 34 from then on.
        return (at_once >= 3).then_some(Verdict::NoServerSupport);
    }
    let most = |count: usize| count * 2 > data.len();
    let fate = |wanted: DataFate| data.iter().filter(move |attempt| attempt.data == Some(wanted));
    if most(fate(DataFate::Acked).count()) {
        let unanswered_34 = requests.len() >= 2
            && requests[..requests.len() - 1]
                .iter()
                .all(|attempt| attempt.answer == Answer::AtOnce);
        return Some(if unanswered_34 {
            Verdict::Stripped
        } else {
            Verdict::Works
        });
    }
    if most(fate(DataFate::NotAcked).count()) {
        let new_cookies = fate(DataFate::NotAcked)
            .filter(|attempt| attempt.got_new_cookie() == Some(true))
            .count();
        return Some(if new_cookies >= 2 {
            Verdict::KeyMismatch
        } else {
            Verdict::Refused
        });
    }
    // Servers that take turns accept their own cookies: data that is accepted and refused with a new cookie in turns
    // means several servers, too.
    let swapped = fate(DataFate::NotAcked)
        .filter(|attempt| attempt.got_new_cookie() == Some(true))
        .count();
    (swapped >= 2).then_some(Verdict::KeyMismatch)
}

/// Whether `failed` of `sent` attempts are more than chance, when `plain_failed` of `plain_sent` plain ones failed.
fn is_significant(failed: u32, sent: u32, plain_failed: u32, plain_sent: u32) -> bool {
    if failed == 0 {
        return false;
    }
    if failed == sent && sent >= 3 && plain_failed == 0 && plain_sent >= 3 {
        return true;
    }
    let rate = (f64::from(plain_failed) + 1.0) / (f64::from(plain_sent) + 2.0);
    binomial_tail(failed, sent, rate) < UNLIKELY
}

/// Probability of `least` or more of `of` at this rate.
fn binomial_tail(least: u32, of: u32, rate: f64) -> f64 {
    (least..=of).map(|hits| binomial(hits, of, rate)).sum()
}

fn binomial(hits: u32, of: u32, rate: f64) -> f64 {
    let ways = (0..hits).fold(1.0, |ways, index| {
        ways * f64::from(of - index) / f64::from(index + 1)
    });
    let (hit, miss) = (i32::try_from(hits), i32::try_from(of - hits));
    // The numbers are small: twenty attempts at most.
    ways * rate.powi(hit.unwrap_or(i32::MAX)) * (1.0 - rate).powi(miss.unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::attempt::{
        Answer::{AtOnce, Late, Nothing, Reset},
        DataFate::{Acked, Lost, NotAcked},
        build::{data, plain, request, with_cookies},
    };

    fn verdict(plain_answers: &[Answer], rest: Vec<Attempt>) -> Verdict {
        let mut attempts: Vec<_> = plain_answers.iter().cloned().map(plain).collect();
        attempts.extend(rest);
        judge(&attempts)
    }

    fn fine() -> Vec<Answer> {
        vec![AtOnce; 3]
    }

    #[test]
    fn a_working_path_works_with_and_without_a_first_contact() {
        let accepted = || vec![data(Acked), data(Acked), data(Acked)];
        assert_eq!(verdict(&fine(), accepted()), Verdict::Works);
        let mut first = vec![request(AtOnce)];
        first.extend(accepted());
        assert_eq!(verdict(&fine(), first), Verdict::Works);
    }

    #[test]
    fn one_lost_syn_is_no_verdict_against_the_path() {
        let once = vec![data(Acked), data(Lost), data(Acked)];
        assert_eq!(verdict(&fine(), once), Verdict::Works);
        let loss_everywhere = vec![data(Lost), data(Lost), data(Lost)];
        assert_eq!(
            verdict(&[Late, AtOnce, Late], loss_everywhere),
            Verdict::Transient
        );
        assert_eq!(
            verdict(&fine(), vec![data(Lost), data(Acked)]),
            Verdict::Transient
        );
    }

    #[test]
    fn losses_are_blamed_on_what_was_lost() {
        let lost = || vec![data(Lost), data(Lost), data(Lost)];
        assert_eq!(verdict(&fine(), lost()), Verdict::DropsData);
        let mut after_request = vec![request(AtOnce)];
        after_request.extend(lost());
        assert_eq!(verdict(&fine(), after_request), Verdict::DropsData);
        let requests = vec![request(Late), request(Late), request(Nothing)];
        assert_eq!(verdict(&fine(), requests), Verdict::DropsOption);
    }

    #[test]
    fn resets_count_only_where_plain_is_fine() {
        let reset = || vec![data_reset(), data_reset(), data_reset()];
        assert_eq!(verdict(&fine(), reset()), Verdict::Resets);
        assert_eq!(verdict(&[Reset, Reset, Reset], reset()), Verdict::Offline);
        assert_eq!(
            verdict(&fine(), vec![request(Reset), request(Reset), request(Reset)]),
            Verdict::Resets
        );
        assert_eq!(verdict(&[Nothing, Nothing, Nothing], reset()), Verdict::Offline);
    }

    fn data_reset() -> Attempt {
        Attempt {
            answer: Reset,
            data: None,
            ..data(Acked)
        }
    }

    #[test]
    fn answers_tell_servers_apart() {
        let asks = |count: usize| vec![request(AtOnce); count];
        assert_eq!(verdict(&fine(), asks(3)), Verdict::NoServerSupport);
        assert_eq!(verdict(&fine(), asks(2)), Verdict::Transient);

        let mut ladder = asks(2);
        ladder.extend([data(Acked), data(Acked), data(Acked)]);
        assert_eq!(verdict(&fine(), ladder), Verdict::Stripped);

        let refused = vec![data(NotAcked), data(NotAcked), data(NotAcked)];
        assert_eq!(verdict(&fine(), refused), Verdict::Refused);
    }

    #[test]
    fn a_pool_hands_out_other_cookies_again_and_again() {
        let swap = |from: &str, to: &str| with_cookies(data(NotAcked), from, to);
        let pool = vec![swap("a", "b"), swap("b", "a"), swap("a", "b")];
        assert_eq!(verdict(&fine(), pool), Verdict::KeyMismatch);
        let in_turns = vec![
            swap("a", "b"),
            with_cookies(data(Acked), "b", "b"),
            swap("b", "a"),
            with_cookies(data(Acked), "a", "a"),
        ];
        assert_eq!(verdict(&fine(), in_turns), Verdict::KeyMismatch);
        // A key that was changed once.
        let kept = || with_cookies(data(Acked), "b", "b");
        assert_eq!(
            verdict(&fine(), vec![swap("a", "b"), kept(), kept()]),
            Verdict::Works
        );
    }

    #[test]
    fn nothing_at_all_is_offline_and_words_are_unique() {
        assert_eq!(judge(&[]), Verdict::Offline);
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert!(verdict.sentence().ends_with('.') || verdict.sentence().ends_with(')'));
            assert!(
                Verdict::ALL[..index]
                    .iter()
                    .all(|other| other.name() != verdict.name())
            );
        }
    }

    #[test]
    fn the_binomial_tail_is_the_textbooks() {
        assert!((binomial_tail(0, 5, 0.3) - 1.0).abs() < 1e-12);
        assert!((binomial_tail(3, 3, 0.2) - 0.008).abs() < 1e-12);
        assert!((binomial_tail(2, 4, 0.5) - 0.6875).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn any_attempts_have_a_verdict(kinds in proptest::collection::vec(0u8..10, 0..60)) {
            let attempts: Vec<_> = kinds.iter().map(|kind| match kind {
                0 => plain(AtOnce),
                1 => plain(Late),
                2 => plain(Reset),
                3 => plain(Nothing),
                4 => request(AtOnce),
                5 => request(Late),
                6 => data(Acked),
                7 => data(NotAcked),
                8 => data(Lost),
                _ => plain(Answer::Error("EHOSTUNREACH".into())),
            }).collect();
            let verdict = judge(&attempts);
            if !attempts.iter().any(|attempt| attempt.step == Step::Plain && attempt.answer.is_established()) {
                prop_assert_eq!(verdict, Verdict::Offline);
            }
        }
    }
}
