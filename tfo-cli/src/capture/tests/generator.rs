//! Makes packets, by `etherparse` and not by our own idea of them, and puts them into files of both formats.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header,
    TcpHeader,
};

/// 2026-01-02T03:04:05Z, us.
pub const START_US: u64 = 1_767_323_045_000_000;
/// Round trip of every connection made here, us.
pub const RTT_US: u64 = 20_000;
/// The client's initial sequence number.
pub const CLIENT_ISN: u32 = 1_000;
/// The server's.
pub const SERVER_ISN: u32 = 5_000_000;

/// A cookie that cannot be found in an output by chance.
pub const COOKIE: [u8; 8] = [0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce];

/// Packets and when they were seen, us after the start.
#[derive(Clone, Debug)]
pub struct Script {
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// Layer 3 packets.
    pub packets: Vec<(u64, Vec<u8>)>,
    id: u16,
}

/// One segment.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: &'static str,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Default for Script {
    fn default() -> Self {
        Self::between("192.0.2.1:40000", "198.51.100.7:443")
    }
}

impl Script {
    pub fn between(client: &str, server: &str) -> Self {
        Self {
            client: client.parse().expect("an address"),
            server: server.parse().expect("an address"),
            packets: Vec::new(),
            id: 100,
        }
    }

    /// No packet at all.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Adds a segment.
    pub fn send(&mut self, at_us: u64, to_server: bool, sent: &Sent) -> &mut Self {
        let (from, to) = if to_server {
            (self.client, self.server)
        } else {
            (self.server, self.client)
        };
        self.id += 1;
        self.packets.push((at_us, packet(from, to, self.id, sent)));
        self
    }

    /// A SYN of the client, with this option and data.
    pub fn syn(&mut self, at_us: u64, option: &[u8], data: &[u8]) -> &mut Self {
        let sent = Sent {
            sequence: CLIENT_ISN,
            flags: "S",
            options: option.to_vec(),
            payload: data.to_vec(),
            ..Sent::default()
        };
        self.send(at_us, true, &sent)
    }

    /// An answer that acks so much of the data.
    pub fn syn_ack(&mut self, at_us: u64, acked: u32, option: &[u8]) -> &mut Self {
        let sent = Sent {
            sequence: SERVER_ISN,
            acknowledgement: (CLIENT_ISN + 1).wrapping_add(acked),
            flags: "SA",
            options: option.to_vec(),
            ..Sent::default()
        };
        self.send(at_us, false, &sent)
    }

    /// A segment of the established connection: `sent` bytes are behind it already.
    pub fn ack(&mut self, at_us: u64, sent: u32, data: &[u8]) -> &mut Self {
        let sent = Sent {
            sequence: CLIENT_ISN + 1 + sent,
            acknowledgement: SERVER_ISN + 1,
            flags: "A",
            payload: data.to_vec(),
            ..Sent::default()
        };
        self.send(at_us, true, &sent)
    }

    /// Data of the server.
    pub fn reply(&mut self, at_us: u64, acked: u32, data: &[u8]) -> &mut Self {
        let sent = Sent {
            sequence: SERVER_ISN + 1,
            acknowledgement: (CLIENT_ISN + 1).wrapping_add(acked),
            flags: "A",
            payload: data.to_vec(),
            ..Sent::default()
        };
        self.send(at_us, false, &sent)
    }

    /// A RST of the server for a SYN.
    pub fn reset(&mut self, at_us: u64, acked: u32) -> &mut Self {
        let sent = Sent {
            acknowledgement: (CLIENT_ISN + 1).wrapping_add(acked),
            flags: "RA",
            ..Sent::default()
        };
        self.send(at_us, false, &sent)
    }

    /// The same with another one's packets, in the order of time.
    pub fn and(mut self, other: &Script) -> Self {
        self.packets.extend(other.packets.iter().cloned());
        self.packets.sort_by_key(|(at, _)| *at);
        self
    }

    /// As a pcap of Ethernet frames.
    pub fn pcap(&self) -> Vec<u8> {
        pcap(&self.framed(), 1, PcapKind::default())
    }

    /// In Ethernet frames.
    pub fn framed(&self) -> Vec<(u64, Vec<u8>)> {
        self.packets.iter().map(|(at, ip)| (*at, ethernet(ip))).collect()
    }
}

/// An empty option: a cookie is asked for.
pub fn request(kind: u8) -> Vec<u8> {
    match kind {
        34 => vec![34, 2, 1, 1],
        _ => vec![254, 4, 0xf9, 0x89],
    }
}

/// An option with a cookie.
pub fn cookie(kind: u8) -> Vec<u8> {
    match kind {
        34 => [&[34, 10][..], &COOKIE, &[1, 1]].concat(),
        _ => [&[254, 12, 0xf9, 0x89][..], &COOKIE].concat(),
    }
}

/// MSS and time stamps before an option, as Linux has them.
pub fn linux(option: &[u8], stamp: u32) -> Vec<u8> {
    let mut options = vec![2, 4, 0x05, 0xb4, 1, 1, 8, 10];
    options.extend(stamp.to_be_bytes());
    options.extend([0; 4]);
    options.extend(option);
    options
}

/// An IP packet with a TCP segment.
pub fn packet(from: SocketAddr, to: SocketAddr, id: u16, sent: &Sent) -> Vec<u8> {
    let mut tcp = TcpHeader::new(from.port(), to.port(), sent.sequence, 64_000);
    tcp.acknowledgment_number = sent.acknowledgement;
    for flag in sent.flags.chars() {
        match flag {
            'S' => tcp.syn = true,
            'A' => tcp.ack = true,
            'R' => tcp.rst = true,
            'F' => tcp.fin = true,
            other => panic!("no flag {other}"),
        }
    }
    tcp.set_options_raw(&sent.options).expect("options fit");
    let length = tcp.header_len() + sent.payload.len();
    let headers = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(length).expect("it fits");
            let mut header =
                Ipv4Header::new(length, 64, IpNumber::TCP, from.octets(), to.octets()).expect("it fits");
            header.identification = id;
            header.header_checksum = header.calc_header_checksum();
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => IpHeaders::Ipv6(
            Ipv6Header {
                payload_length: u16::try_from(length).expect("it fits"),
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            },
            Ipv6Extensions::default(),
        ),
        other => panic!("two families: {other:?}"),
    };
    let mut bytes = Vec::new();
    headers.write(&mut bytes).expect("memory takes it");
    tcp.write(&mut bytes).expect("memory takes it");
    bytes.extend(&sent.payload);
    bytes
}

/// An Ethernet frame.
pub fn ethernet(ip: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
        ether_type: if ip[0] >> 4 == 4 {
            EtherType::IPV4
        } else {
            EtherType::IPV6
        },
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(ip);
    bytes
}

/// Variants of pcap.
#[derive(Clone, Copy, Debug, Default)]
pub struct PcapKind {
    pub nanoseconds: bool,
    pub big_endian: bool,
    /// Bytes kept of each packet; 0 for all.
    pub snaplen: usize,
}

/// A pcap file.
pub fn pcap(packets: &[(u64, Vec<u8>)], link: u32, kind: PcapKind) -> Vec<u8> {
    let u32_bytes = |value: u32| {
        if kind.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let magic: u32 = if kind.nanoseconds {
        0xa1b2_3c4d
    } else {
        0xa1b2_c3d4
    };
    let mut file = u32_bytes(magic).to_vec();
    file.extend(if kind.big_endian {
        [0, 2, 0, 4]
    } else {
        [2, 0, 4, 0]
    });
    for value in [0, 0, 262_144, link] {
        file.extend(u32_bytes(value));
    }
    for (at, packet) in packets {
        let at_us = START_US + at;
        let fraction = (at_us % 1_000_000) * if kind.nanoseconds { 1_000 } else { 1 };
        let kept = if kind.snaplen == 0 {
            packet.len()
        } else {
            packet.len().min(kind.snaplen)
        };
        for value in [at_us / 1_000_000, fraction, kept as u64, packet.len() as u64] {
            file.extend(u32_bytes(u32::try_from(value).expect("it fits")));
        }
        file.extend(&packet[..kept]);
    }
    file
}

/// A pcapng file, block by block.
#[derive(Clone, Debug)]
pub struct Pcapng {
    pub bytes: Vec<u8>,
    big_endian: bool,
}

impl Pcapng {
    /// A file with one section and nothing in it.
    pub fn new(big_endian: bool) -> Self {
        let mut file = Self {
            bytes: Vec::new(),
            big_endian,
        };
        let mut body = file.u32(0x1a2b_3c4d).to_vec();
        body.extend(if big_endian { [0, 1, 0, 0] } else { [1, 0, 0, 0] });
        body.extend([0xff; 8]);
        file.block(0x0a0d_0d0a, &body);
        file
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    /// Any block; its body is a multiple of four bytes long.
    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let length = self.u32(u32::try_from(body.len() + 12).expect("it fits"));
        self.bytes.extend(self.u32(kind));
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.extend(length);
    }

    /// An interface; `resolution` and `offset` as in `if_tsresol` and `if_tsoffset`.
    pub fn interface(&mut self, link: u16, resolution: Option<u8>, offset: i64) {
        let mut body = self.u16(link).to_vec();
        body.extend([0; 2]);
        body.extend(self.u32(0));
        if let Some(resolution) = resolution {
            body.extend(self.u16(9));
            body.extend(self.u16(1));
            body.extend([resolution, 0, 0, 0]);
        }
        if offset != 0 {
            body.extend(self.u16(14));
            body.extend(self.u16(8));
            body.extend(if self.big_endian {
                offset.to_be_bytes()
            } else {
                offset.to_le_bytes()
            });
        }
        body.extend([0; 4]);
        self.block(1, &body);
    }

    /// An enhanced packet.
    pub fn packet(&mut self, interface: u32, units: u64, data: &[u8], wire_len: usize) {
        let mut body = self.u32(interface).to_vec();
        for value in [
            units >> 32,
            units & 0xffff_ffff,
            data.len() as u64,
            wire_len as u64,
        ] {
            body.extend(self.u32(u32::try_from(value).expect("it fits")));
        }
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        self.block(6, &body);
    }

    /// Packets at their times, in units of 10^-`digits` s.
    pub fn packets(&mut self, interface: u32, packets: &[(u64, Vec<u8>)], digits: u8) {
        for (at, data) in packets {
            let units = (START_US + at) * 10_u64.pow(u32::from(digits) - 6);
            self.packet(interface, units, data, data.len());
        }
    }
}
