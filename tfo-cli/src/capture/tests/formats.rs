//! Every kind of file gives the same verdicts; what is cut, damaged or hostile ends well.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::{
    generator::{PcapKind, Pcapng, RTT_US, Script, cookie, linux, pcap},
    read,
};
use crate::capture::{
    Judged,
    format::{Ending, Magic, Packets, magic},
};

fn script() -> Script {
    let mut script = Script::default();
    script
        .syn(0, &linux(&cookie(34), 7), b"some data")
        .syn_ack(RTT_US, 9, &[])
        .ack(RTT_US + 10, 9, b"")
        .reply(RTT_US + 20, 9, b"answer");
    script
}

/// What does not differ from run to run: all but the salted hashes.
fn facts(judged: &[Judged]) -> Vec<String> {
    judged
        .iter()
        .map(|one| {
            let mut one = *one;
            one.cookie_sent_hash = one.cookie_sent_hash.map(|_| 0);
            format!("{one:?}")
        })
        .collect()
}

#[test]
fn both_formats_orders_and_resolutions_say_the_same() {
    let script = script();
    let want = facts(&read(&script.pcap(), &[]).0);
    assert_eq!(want.len(), 2);
    for big_endian in [false, true] {
        for nanoseconds in [false, true] {
            let kind = PcapKind {
                nanoseconds,
                big_endian,
                snaplen: 0,
            };
            let (judged, _, ending) = read(&pcap(&script.framed(), 1, kind), &[]);
            assert_eq!(
                (facts(&judged), ending),
                (want.clone(), Ending::Whole),
                "{kind:?}"
            );
        }
        // 10^-6, 10^-9, 2^-20 and the default.
        for resolution in [Some(6), Some(9), None] {
            let mut file = Pcapng::new(big_endian);
            file.interface(1, resolution, 0);
            file.packets(0, &script.framed(), resolution.unwrap_or(6));
            let (judged, _, ending) = read(&file.bytes, &[]);
            assert_eq!(
                (facts(&judged), ending),
                (want.clone(), Ending::Whole),
                "{resolution:?}"
            );
        }
    }
}

#[test]
fn resolutions_in_powers_of_two_and_offsets_are_read() {
    for big_endian in [false, true] {
        let mut file = Pcapng::new(big_endian);
        // 2^-20 s, with all but a fraction of a second in the offset.
        file.interface(1, Some(0x94), 1_767_323_045);
        let (_, frame) = &script().framed()[0];
        file.packet(0, 1 << 19, frame, frame.len());
        let (_, counts, ending) = read(&file.bytes, &[]);
        assert_eq!(
            (counts.first_ns, ending),
            (Some(1_767_323_045_500_000_000), Ending::Whole)
        );
    }
}

#[test]
fn sections_and_interfaces_have_their_own_links_and_orders() {
    let script = script();
    let frames = script.framed();
    let mut file = Pcapng::new(false);
    file.interface(1, None, 0);
    // Raw IP on the second interface.
    file.interface(101, None, 0);
    file.packets(0, &frames[..1], 6);
    file.packets(1, &script.packets[1..2], 6);
    let mut second = Pcapng::new(true);
    second.interface(101, Some(9), 0);
    second.packets(0, &script.packets[2..], 9);
    file.bytes.extend(&second.bytes);
    let (judged, counts, ending) = read(&file.bytes, &[]);
    assert_eq!((counts.packets, ending), (4, Ending::Whole));
    assert_eq!(facts(&judged), facts(&read(&script.pcap(), &[]).0));
}

#[test]
fn other_blocks_are_passed_over_and_a_simple_packet_has_no_time() {
    let mut file = Pcapng::new(false);
    file.interface(1, None, 0);
    // Name resolution, statistics, and one nobody knows.
    for kind in [4, 5, 0x7777] {
        file.block(kind, &[0; 16]);
    }
    let (_, frame) = &script().framed()[0];
    let mut simple = u32::try_from(frame.len())
        .expect("it is short")
        .to_le_bytes()
        .to_vec();
    simple.extend(frame);
    simple.resize(simple.len().next_multiple_of(4), 0);
    file.block(3, &simple);
    let (_, counts, ending) = read(&file.bytes, &[]);
    assert_eq!(
        (counts.packets, counts.segments, counts.first_ns, ending),
        (1, 1, Some(0), Ending::Whole)
    );
}

#[test]
fn first_bytes_tell_the_kind() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&script().pcap()).expect("memory takes it");
    let packed = packed.finish().expect("memory takes it");
    assert_eq!(magic(&packed), Some(Magic::Gzip));
    assert_eq!(magic(&script().pcap()), Some(Magic::Pcap));
    assert_eq!(magic(&Pcapng::new(true).bytes), Some(Magic::Pcapng));
    assert_eq!(magic(b"tfo-rec\x01"), None);
    assert_eq!(magic(b"abc"), None);
}

#[test]
fn every_cut_ends_well() {
    let mut file = Pcapng::new(false);
    file.interface(1, None, 0);
    file.packets(0, &script().framed(), 6);
    for whole in [script().pcap(), file.bytes] {
        for length in 0..whole.len() {
            let (_, counts, ending) = read(&whole[..length], &[]);
            assert!(counts.packets <= 4);
            assert!(
                matches!(ending, Ending::Whole | Ending::Truncated),
                "{length}: {ending:?}"
            );
        }
    }
}

/// A stream that never ends, and notes how much of it was asked for.
struct Endless(u64);

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0 += buffer.len() as u64;
        buffer.fill(0);
        Ok(buffer.len())
    }
}

#[test]
fn hostile_lengths_end_it_before_they_are_read() {
    let mut header = script().pcap()[..24].to_vec();
    header.extend([0; 8]);
    header.extend(u32::MAX.to_le_bytes());
    header.extend(u32::MAX.to_le_bytes());
    let mut section = Pcapng::new(false);
    section.interface(1, None, 0);
    section.bytes.extend(6_u32.to_le_bytes());
    section.bytes.extend(0xffff_fff0_u32.to_le_bytes());
    for bytes in [header, section.bytes] {
        let mut endless = Endless(0);
        {
            let input = std::io::Read::chain(&bytes[..], &mut endless);
            let mut packets = Packets::new(input);
            let ending = packets.next(&mut |_| {}).expect("memory can be read");
            assert!(matches!(ending, Some(Ending::Damaged(_))), "{ending:?}");
        }
        assert!(endless.0 < 1 << 20, "{} bytes were asked for", endless.0);
    }
}

#[test]
fn damage_is_named() {
    let mut no_interface = Pcapng::new(false);
    let (_, frame) = &script().framed()[0];
    no_interface.packet(3, 0, frame, frame.len());
    let mut impossible = Pcapng::new(false);
    impossible.interface(1, Some(77), 0);
    let mut odd = Pcapng::new(false);
    odd.bytes.extend([6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0]);
    for file in [no_interface, impossible, odd] {
        assert!(matches!(read(&file.bytes, &[]).2, Ending::Damaged(_)), "{file:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_behind_a_header_are_survived(
        kind in 0..3_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let mut file = match kind {
            0 => script().pcap()[..24].to_vec(),
            1 => Pcapng::new(false).bytes,
            _ => Pcapng::new(true).bytes,
        };
        file.extend(bytes);
        let _ = read(&file, &[]);
    }

    #[test]
    fn any_damage_to_a_capture_is_survived(
        is_pcapng in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut file = Pcapng::new(false);
        file.interface(1, Some(9), 0);
        file.packets(0, &script().framed(), 9);
        let mut bytes = if is_pcapng { file.bytes } else { script().pcap() };
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let (judged, counts, _) = read(&bytes, &[]);
        prop_assert!(judged.len() as u64 <= 2 * counts.packets);
    }
}
