//! Captures made here, packet by packet, and what must be said about them.

pub(crate) mod generator;
mod golden;

use super::{
    Analyzer, Counts, Judged,
    format::{Ending, Packets},
    table::CAPACITY,
};
use crate::addr::Prefix;

/// Reads a capture to its end.
fn read(bytes: &[u8], local: &[&str]) -> (Vec<Judged>, Counts, Ending) {
    let local: Vec<Prefix> = local.iter().map(|text| text.parse().expect("a prefix")).collect();
    let mut analyzer = Analyzer::new(&local, CAPACITY);
    let mut packets = Packets::new(bytes);
    let mut judged = Vec::new();
    let ending = loop {
        let step = packets.next(&mut |packet| analyzer.packet(&packet, &mut |one| judged.push(one)));
        if let Some(ending) = step.expect("memory can be read") {
            break ending;
        }
    };
    analyzer.end(&mut |one| judged.push(one));
    (judged, analyzer.counts().clone(), ending)
}
