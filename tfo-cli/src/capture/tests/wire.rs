//! Link layers, tunnels, extension headers, cut packets: the same segment comes out of all of them.

use pcap_parser::Linktype;
use proptest::prelude::*;

use super::generator::{CLIENT_ISN, PcapKind, RTT_US, Script, cookie, ethernet, linux, pcap};
use super::{read, read_script};
use crate::capture::{
    Unknown,
    ip::{self, Content},
    link::{self, Network},
    tcp::{Header, fast_open},
};

fn syn_of(client: &str, server: &str) -> Vec<u8> {
    let mut script = Script::between(client, server);
    script.syn(0, &cookie(34), b"data");
    script.packets.remove(0).1
}

fn v4() -> Vec<u8> {
    syn_of("192.0.2.1:40000", "198.51.100.7:443")
}

fn v6() -> Vec<u8> {
    syn_of("[2001:db8::1]:40000", "[2001:db8::7]:443")
}

/// Source port, sequence number and payload length of the segment in a packet.
fn segment(link: i32, packet: &[u8]) -> Option<(u16, u32, usize)> {
    let Network::Ip(ip) = link::network(Linktype(link), packet) else {
        return None;
    };
    match ip::content(ip, ip.len(), 1) {
        Content::Tcp(datagram) => {
            let header = Header::parse(datagram.tcp).ok()?;
            Some((header.source, header.sequence, datagram.tcp_len? - header.length))
        }
        _ => None,
    }
}

const WANT: Option<(u16, u32, usize)> = Some((40_000, CLIENT_ISN, 4));

fn tagged(ip: &[u8], tags: &[u16]) -> Vec<u8> {
    let frame = ethernet(ip);
    let mut bytes = frame[..12].to_vec();
    for tag in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0, 42]);
    }
    bytes.extend(&frame[12..]);
    bytes
}

#[test]
fn every_link_layer_leads_to_the_segment() {
    for ip in [v4(), v6()] {
        let kind: [u8; 2] = if ip[0] >> 4 == 4 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        let is_v4 = kind[0] == 8;
        let mut sll = vec![0; 14];
        sll.extend(kind);
        sll.extend(&ip);
        let mut sll2 = kind.to_vec();
        sll2.extend([0; 18]);
        sll2.extend(&ip);
        let null = |family: [u8; 4]| [&family[..], &ip].concat();
        let mut cases = vec![
            (1, ethernet(&ip)),
            (1, tagged(&ip, &[0x8100])),
            (1, tagged(&ip, &[0x88a8, 0x8100])),
            (1, tagged(&ip, &[0x9100, 0x8100])),
            (113, sll),
            (276, sll2),
            (101, ip.clone()),
            (12, ip.clone()),
        ];
        for family in if is_v4 { vec![2] } else { vec![10, 24, 28, 30] } {
            cases.push((0, null([family, 0, 0, 0])));
            cases.push((0, null([0, 0, 0, family])));
            cases.push((108, null([0, 0, 0, family])));
        }
        for (link, packet) in cases {
            assert_eq!(segment(link, &packet), WANT, "link {link}: {packet:02x?}");
        }
    }
    assert_eq!(link::network(Linktype(147), &v4()), Network::Foreign);
    assert_eq!(link::network(Linktype(1), &[0; 13]), Network::Cut);
}

/// An IPv4 header for this payload.
fn in_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = etherparse::Ipv4Header::new(
        u16::try_from(payload.len()).expect("it fits"),
        64,
        etherparse::IpNumber(protocol),
        [10, 0, 0, 1],
        [10, 0, 0, 2],
    )
    .expect("it fits");
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

/// The same in IPv6, with extension headers before it.
fn in_ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let header = etherparse::Ipv6Header {
        payload_length: u16::try_from(payload.len()).expect("it fits"),
        next_header: etherparse::IpNumber(next),
        ..etherparse::Ipv6Header::default()
    };
    [&header.to_bytes()[..], payload].concat()
}

fn in_udp(port: u16, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + header.len() + payload.len()).expect("it fits");
    let mut udp = 50_000_u16.to_be_bytes().to_vec();
    for field in [port, length, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(header);
    udp.extend(payload);
    in_ipv4(17, &udp)
}

#[test]
fn one_level_of_tunnel_is_opened() {
    let vxlan = [8, 0, 0, 0, 0, 0, 42, 0];
    let geneve = [0x01, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 4];
    let tunnels = |inner: &[u8]| {
        let is_v4 = inner[0] >> 4 == 4;
        let kind: [u8; 2] = if is_v4 { [8, 0] } else { [0x86, 0xdd] };
        let gre = |flags: [u8; 2], kind: [u8; 2], optional: &[u8], inner: &[u8]| {
            in_ipv4(47, &[&flags[..], &kind, optional, inner].concat())
        };
        vec![
            in_ipv4(if is_v4 { 4 } else { 41 }, inner),
            in_ipv6(if is_v4 { 4 } else { 41 }, inner),
            gre([0, 0], kind, &[], inner),
            // Checksum, key and sequence number.
            gre([0xb0, 0], kind, &[0; 12], inner),
            gre([0x20, 0], [0x65, 0x58], &[0, 0, 0, 1], &ethernet(inner)),
            in_udp(4789, &vxlan, &ethernet(inner)),
            in_udp(6081, &geneve, &ethernet(inner)),
            in_udp(6081, &[0, 0, kind[0], kind[1], 0, 0, 42, 0], inner),
        ]
    };
    for inner in [v4(), v6()] {
        for packet in tunnels(&inner) {
            assert_eq!(segment(101, &packet), WANT, "{packet:02x?}");
            // A second one stays shut.
            assert_eq!(segment(101, &in_ipv4(4, &packet)), None);
        }
    }
    // What only looks like one by its port.
    assert_eq!(segment(101, &in_udp(4789, &[0; 8], &ethernet(&v4()))), None);
    assert_eq!(segment(101, &in_udp(53, &vxlan, &ethernet(&v4()))), None);
}

#[test]
fn extension_headers_are_passed_over() {
    let tcp = &v6()[40..];
    let chain = [
        &[43, 0, 1, 4, 0, 0, 0, 0][..], // hop by hop
        &[60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[51, 0, 0, 0, 0, 0, 0, 0],             // destination
        &[44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // authentication: (1 + 2) * 4
        &[6, 0, 0, 0, 0, 0, 0, 9],              // an atomic fragment
        tcp,
    ]
    .concat();
    assert_eq!(segment(101, &in_ipv6(0, &chain)), WANT);
    // The second fragment begins anywhere; the first one hides how long the segment is.
    let later = [&[6, 0, 0, 8, 0, 0, 0, 9][..], tcp].concat();
    assert_eq!(ip::content(&in_ipv6(44, &later), 999, 1), Content::Fragment);
    let first = [&[6, 0, 0, 1, 0, 0, 0, 9][..], tcp].concat();
    let packet = in_ipv6(44, &first);
    let Content::Tcp(datagram) = ip::content(&packet, packet.len(), 1) else {
        panic!("it has a TCP header");
    };
    assert_eq!(datagram.tcp_len, None);
    // A chain without end.
    let endless = [0, 0, 0, 0, 0, 0, 0, 0].repeat(100);
    assert_eq!(ip::content(&in_ipv6(0, &endless), 999, 1), Content::Malformed);
}

#[test]
fn offloaded_sizes_come_from_the_wire() {
    let mut packet = v4();
    packet[2..4].copy_from_slice(&[0, 0]);
    let Content::Tcp(datagram) = ip::content(&packet, 70_020, 1) else {
        panic!("it has a TCP header");
    };
    assert_eq!(datagram.tcp_len, Some(70_000));
    // Ethernet pads short frames: padding is no payload.
    let mut padded = ethernet(&v4());
    padded.extend([0; 20]);
    assert_eq!(segment(1, &padded), WANT);
}

#[test]
fn what_the_snap_length_took_is_not_made_up() {
    let mut script = Script::default();
    script
        .syn(0, &linux(&cookie(34), 1), &[7; 1_000])
        .syn_ack(RTT_US, 0, &linux(&cookie(34), 2))
        .ack(RTT_US + 10, 0, &[7; 1_000])
        .reply(2 * RTT_US, 1_000, &[7; 500]);
    let cut = |snaplen| {
        let kind = PcapKind {
            snaplen,
            ..PcapKind::default()
        };
        read(&pcap(&script.framed(), 1, kind), &["192.0.2.1"])
    };
    // 14 + 20 + 20 + options: 8 of MSS and padding, 8 of time stamps, 12 of Fast Open.
    let (judged, ..) = cut(96);
    assert_eq!(
        judged[0].outcome.map(tfo_common::Outcome::name),
        Ok("cookie-rejected")
    );
    assert_eq!((judged[0].data_len, judged[0].data_acked), (Some(1_000), Some(0)));
    // Without the options of the answer it may as well be data-refused.
    let (judged, counts, _) = cut(60);
    assert_eq!(judged[0].outcome, Err(Unknown::Snaplen));
    assert_eq!((judged[0].option, judged[0].cookie_received), (None, None));
    assert_eq!(judged[0].data_len, Some(1_000), "that is in the IP header");
    assert_eq!(counts.unknown[Unknown::Snaplen as usize], 1);
    // Cut inside the TCP header nothing is left.
    let (judged, counts, _) = cut(50);
    assert_eq!((judged.len(), counts.cut, counts.packets), (0, 4, 4));

    // Accepted data is accepted, whatever the options were.
    let mut script = Script::default();
    script
        .syn(0, &linux(&cookie(34), 1), &[7; 1_000])
        .syn_ack(RTT_US, 1_000, &linux(&[], 2))
        .ack(RTT_US + 10, 1_000, &[])
        .reply(2 * RTT_US, 1_000, &[7; 500]);
    let kind = PcapKind {
        snaplen: 60,
        ..PcapKind::default()
    };
    let (judged, ..) = read(&pcap(&script.framed(), 1, kind), &[]);
    assert!(
        judged
            .iter()
            .all(|one| one.outcome.map(tfo_common::Outcome::name) == Ok("accepted"))
    );
    assert_eq!(judged[0].cookie_received, None);
    assert_eq!(read_script(&script).0[0].cookie_received, Some(false));
}

#[test]
fn options_are_read_as_the_kernel_reads_them() {
    let found = |options: &[u8]| {
        let padded = [
            options,
            &vec![0; options.len().next_multiple_of(4) - options.len()],
        ]
        .concat();
        let mut script = Script::default();
        script.syn(0, &padded, b"");
        let packet = script.packets.remove(0).1;
        let header = Header::parse(&packet[20..]).expect("it is whole");
        let found = fast_open(&header).expect("it is whole");
        (found.kind, found.cookie.len())
    };
    assert_eq!(found(&[34, 2]), (34, 0));
    assert_eq!(found(&[34, 6, 1, 2, 3, 4]), (34, 4));
    assert_eq!(found(&[34, 3, 1]), (0, 0), "odd lengths are passed over");
    assert_eq!(found(&[34, 4, 1, 2]), (0, 0), "too short for a cookie");
    assert_eq!(
        found(&[34, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (0, 0)
    );
    assert_eq!(found(&[254, 4, 0xf9, 0x89]), (254, 0));
    assert_eq!(found(&[254, 8, 0xf9, 0x89, 1, 2, 3, 4]), (254, 4));
    assert_eq!(found(&[254, 4, 0xf9, 0x88]), (0, 0), "another experiment");
    assert_eq!(found(&[1, 1, 34, 2]), (34, 0));
    assert_eq!(found(&[0, 34, 2, 0]), (0, 0), "behind the end of options");
    assert_eq!(
        found(&[2, 0, 34, 2]),
        (0, 0),
        "an option without length ends them"
    );
    assert_eq!(found(&[34, 12, 1, 1]), (0, 0), "longer than the header");
}

proptest! {
    #[test]
    fn any_packet_is_survived(
        link in prop::sample::select(vec![0, 1, 12, 101, 108, 113, 276, 999]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = segment(link, &bytes);
    }

    #[test]
    fn any_ip_payload_is_survived(
        protocol in prop::sample::select(vec![0_u8, 4, 6, 17, 41, 43, 44, 47, 51, 60]),
        is_v6 in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        wire in 0..200_usize,
    ) {
        let packet = if is_v6 { in_ipv6(protocol, &bytes) } else { in_ipv4(protocol, &bytes) };
        if let Content::Tcp(datagram) = ip::content(&packet, wire, 1)
            && let Ok(header) = Header::parse(datagram.tcp)
        {
            let _ = fast_open(&header);
        }
    }

    #[test]
    fn a_second_parser_finds_the_same(
        options in prop::sample::select(vec![vec![], linux(&[], 5), linux(&cookie(34), 9), cookie(254)]),
        data in prop::collection::vec(any::<u8>(), 0..300),
        is_v6 in any::<bool>(),
    ) {
        let mut script = if is_v6 {
            Script::between("[2001:db8::1]:40000", "[2001:db8::7]:443")
        } else {
            Script::default()
        };
        script.syn(0, &options, &data);
        let frame = &script.framed()[0].1;
        let theirs = etherparse::SlicedPacket::from_ethernet(frame).expect("it is one");
        let Some(etherparse::TransportSlice::Tcp(tcp)) = theirs.transport else {
            panic!("it is TCP");
        };
        let want = (tcp.source_port(), tcp.sequence_number(), tcp.payload().len());
        prop_assert_eq!(segment(1, frame), Some(want));
    }
}
