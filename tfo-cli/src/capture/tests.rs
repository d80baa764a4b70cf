//! Captures made here, packet by packet, and what must be said about them.

mod formats;
pub(crate) mod generator;
mod golden;
mod story;
mod wire;

use self::generator::Script;
use super::{
    Analyzer, Counts, Judged,
    format::{Ending, Packets},
    table::CAPACITY,
};
use crate::addr::Prefix;

/// Reads a capture to its end.
fn read(bytes: &[u8], local: &[&str]) -> (Vec<Judged>, Counts, Ending) {
    read_with(bytes, local, CAPACITY)
}

/// The packets of a script, in the order of time, in a pcap.
fn read_script(script: &Script) -> (Vec<Judged>, Counts, Ending) {
    read(&script.clone().and(&Script::nothing()).pcap(), &[])
}

/// With a table of this size.
fn read_with(bytes: &[u8], local: &[&str], capacity: usize) -> (Vec<Judged>, Counts, Ending) {
    let local: Vec<Prefix> = local.iter().map(|text| text.parse().expect("a prefix")).collect();
    let mut analyzer = Analyzer::new(&local, capacity);
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
