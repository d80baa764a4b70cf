//! What `probe --raw` and `--locate` found, for people and for programs.

use std::net::IpAddr;

use serde::Serialize;

use super::json::SCHEMA;
use crate::probe::{
    raw::{
        SynAnswer,
        locate::{Fate, Hop, Located, Place},
        tally::{self, Tally},
    },
    report::Report,
};

/// Lines below the verdict.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report.raw.iter().map(counts).collect();
    lines.extend(tally::remarks(&report.raw).into_iter().map(str::to_owned));
    lines.extend(report.walk.hops.iter().map(|hop| match hop_address(hop, report) {
        Some(address) => format!("hop {:<6} {address}", hop.ttl),
        None => format!("hop {:<6} -", hop.ttl),
    }));
    lines.extend(report.located().iter().map(sentence));
    lines
}

/// `raw        3 SYNs with option 34: 3 answered, 3 cookies`.
fn counts(tally: &Tally) -> String {
    let mut parts = vec![format!("{} answered", tally.answered)];
    let more = [
        (tally.reset, "by a RST"),
        (tally.unreachable, "refused by ICMP"),
        (tally.cookies, "cookies"),
        (tally.data_acked, "acked the data"),
    ];
    parts.extend(
        more.iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}")),
    );
    format!(
        "raw        {} {}: {}",
        tally.sent,
        tally.kind.describe(),
        parts.join(", ")
    )
}

fn hop_address(hop: &Hop, report: &Report) -> Option<IpAddr> {
    match hop.plain {
        SynAnswer::Hop { address, .. } | SynAnswer::Unreachable { address } => Some(address),
        SynAnswer::SynAck { .. } | SynAnswer::Reset => Some(report.address.ip()),
        SynAnswer::Nothing => None,
    }
}

fn sentence(located: &Located) -> String {
    let what = located.kind.describe();
    let does = match located.fate {
        Fate::Arrive => return format!("{what} arrive."),
        Fate::Unknown => {
            return format!("{what}: where they get lost cannot be said, plain SYNs do not arrive either.");
        }
        Fate::Dropped => "are dropped",
        Fate::Stripped => "lose their option",
        Fate::Reset => "are answered by a RST",
        Fate::Refused => "are refused",
    };
    let before = located
        .before
        .map_or_else(String::new, |before| format!(" and {}", place(before)));
    format!("{what} {does} between {}{before}.", place(located.after))
}

fn place(place: Place) -> String {
    match (place.ttl, place.address) {
        (0, _) => "this host".to_owned(),
        (ttl, Some(address)) => format!("hop {ttl} ({address})"),
        (ttl, None) => format!("hop {ttl}"),
    }
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RawRecord {
    /// Counts of one kind.
    Tally(TallyRecord),
    /// A hop.
    Hop(HopRecord),
    /// Where a kind is lost.
    Located(LocatedRecord),
}

/// Counts of one kind: `id` `raw`.
#[derive(Debug, Serialize)]
pub struct TallyRecord {
    schema: u32,
    r#type: &'static str,
    id: &'static str,
    destination: String,
    syn: &'static str,
    sent: u32,
    answered: u32,
    reset: u32,
    unreachable: u32,
    cookies: u32,
    data_acked: u32,
}

/// A hop: `id` `hop`.
#[derive(Debug, Serialize)]
pub struct HopRecord {
    schema: u32,
    r#type: &'static str,
    id: &'static str,
    destination: String,
    ttl: u8,
    address: Option<IpAddr>,
}

/// Where a kind is lost: `id` `located`.
#[derive(Debug, Serialize)]
pub struct LocatedRecord {
    schema: u32,
    r#type: &'static str,
    id: &'static str,
    destination: String,
    syn: &'static str,
    fate: &'static str,
    /// TTL of the last hop at which it was as it was sent; 0 is this host.
    after_ttl: u8,
    after_address: Option<IpAddr>,
    before_ttl: Option<u8>,
    before_address: Option<IpAddr>,
}

/// All of them; none where neither was asked for.
pub fn records(report: &Report) -> Vec<RawRecord> {
    let destination = || report.address.to_string();
    let tallies = report.raw.iter().map(|tally| {
        RawRecord::Tally(TallyRecord {
            schema: SCHEMA,
            r#type: "probe",
            id: "raw",
            destination: destination(),
            syn: tally.kind.name(),
            sent: tally.sent,
            answered: tally.answered,
            reset: tally.reset,
            unreachable: tally.unreachable,
            cookies: tally.cookies,
            data_acked: tally.data_acked,
        })
    });
    let hops = report.walk.hops.iter().map(|hop| {
        RawRecord::Hop(HopRecord {
            schema: SCHEMA,
            r#type: "probe",
            id: "hop",
            destination: destination(),
            ttl: hop.ttl,
            address: hop_address(hop, report),
        })
    });
    let located = report.located().into_iter().map(|located| {
        RawRecord::Located(LocatedRecord {
            schema: SCHEMA,
            r#type: "probe",
            id: "located",
            destination: destination(),
            syn: located.kind.name(),
            fate: located.fate.name(),
            after_ttl: located.after.ttl,
            after_address: located.after.address,
            before_ttl: located.before.map(|place| place.ttl),
            before_address: located.before.and_then(|place| place.address),
        })
    });
    tallies.chain(hops).chain(located).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{
        attempt::{Answer, build::plain},
        raw::{Kind, locate::Walk},
    };

    fn report() -> Report {
        let address = "198.51.100.7:443".parse().expect("an address");
        let syn_ack = SynAnswer::SynAck {
            cookie: Some(34),
            data_acked: false,
        };
        let router = |number| SynAnswer::Hop {
            address: IpAddr::from([192, 0, 2, number]),
            option: Some(true),
        };
        let mut report = Report::new(address, vec![plain(Answer::AtOnce)]);
        report.raw = Kind::RAW.map(Tally::new).to_vec();
        for tally in &mut report.raw {
            let seen = if tally.kind.has_data() {
                SynAnswer::Nothing
            } else {
                syn_ack
            };
            (0..3).for_each(|_| tally.add(seen));
        }
        let hop = |ttl, plain, data| Hop {
            ttl,
            plain,
            suspects: [Some(plain), data],
        };
        report.walk = Walk {
            hops: vec![
                hop(1, router(1), Some(router(1))),
                hop(2, router(2), Some(SynAnswer::Nothing)),
                hop(3, syn_ack, Some(SynAnswer::Nothing)),
            ],
        };
        report
    }

    #[test]
    fn for_people() {
        insta::assert_snapshot!(lines(&report()).join("\n"));
    }

    #[test]
    fn for_programs() {
        let text = super::super::json::lines(records(&report())).expect("it is JSON");
        insta::assert_snapshot!(text);
    }
}
