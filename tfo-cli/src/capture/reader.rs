//! Packets in, verdicts out: decodes each packet, counts what it was, and feeds the table of connections.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use pcap_parser::Linktype;

use super::{
    connection::Segment,
    format::Packet,
    ip::{self, Content},
    link::{self, Network},
    table::{Event, Table},
    tcp::{self, Header, HeaderError, SYN},
    unknown::{self, Unknown},
    verdict::{self, Judged},
};
use crate::addr::{self, Prefix};

/// What the packets were, each counted once, and what came of the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Bytes they had on the wire.
    pub wire_bytes: u64,
    /// TCP segments.
    pub segments: u64,
    /// Of these, out of a tunnel.
    pub tunnelled: u64,
    /// Segments seen a second time at another place.
    pub duplicates: u64,
    /// Packets that are no TCP.
    pub other: u64,
    /// Fragments without TCP header.
    pub fragments: u64,
    /// Packets cut inside their headers.
    pub cut: u64,
    /// Packets whose headers contradict themselves.
    pub malformed: u64,
    /// Packets of a link layer this program does not know.
    pub foreign_link: u64,
    /// The number of one such link layer.
    pub foreign_link_number: Option<i32>,
    /// Connections whose SYN is in the capture.
    pub connections: u64,
    /// Of these, with neither end in `--local`.
    pub not_local: u64,
    /// Plain connections that were never established.
    pub plain_unanswered: u64,
    /// Ends of connections about which nothing is said, by [`Unknown`].
    pub unknown: [u64; unknown::COUNT],
    /// Time of the first packet, ns since 1970.
    pub first_ns: Option<u64>,
    /// Time of the latest packet.
    pub last_ns: u64,
}

/// What is known of a capture so far: packets in, verdicts out.
pub struct Analyzer {
    table: Table,
    counts: Counts,
    local: Vec<Prefix>,
    /// Salts the hashes of cookies, anew for each run: nobody can look one up.
    salt: RandomState,
    id: u64,
    /// Number of the file being read, from 0, and of its latest packet.
    file: u32,
    frame: u64,
    /// Nothing of this file was read yet.
    fresh: bool,
}

impl Analyzer {
    /// `local`: which addresses are ours; both ends of each connection where it is empty. `capacity`: connections
    /// followed at once, usually [`super::table::CAPACITY`].
    pub fn new(local: &[Prefix], capacity: usize) -> Self {
        Self {
            table: Table::new(capacity),
            counts: Counts::default(),
            local: local.to_vec(),
            salt: RandomState::new(),
            id: 0,
            file: 0,
            frame: 0,
            fresh: true,
        }
    }

    /// What follows is another file. One that begins where the last one ended goes on with its connections, as
    /// those of `tcpdump -C` and `-G` do; any other one begins anew.
    pub fn next_file(&mut self, file: u32) {
        (self.file, self.frame, self.fresh) = (file, 0, true);
    }

    /// Says what is known of connections still under way.
    pub fn end(&mut self, sink: &mut dyn FnMut(Judged)) {
        let Self {
            table,
            counts,
            local,
            id,
            ..
        } = self;
        table.end(&mut |event| digest(event, counts, local, id, sink));
    }

    /// Packets of the file being read.
    pub fn packets_of_file(&self) -> u64 {
        self.frame
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes the next packet; what became of connections goes to `sink`.
    pub fn packet(&mut self, packet: &Packet<'_>, sink: &mut dyn FnMut(Judged)) {
        if std::mem::take(&mut self.fresh) && packet.at_ns < self.counts.last_ns {
            self.end(sink);
            self.table = Table::new(self.table.capacity());
        }
        self.frame += 1;
        let counts = &mut self.counts;
        counts.packets += 1;
        counts.wire_bytes += packet.wire_len as u64;
        counts.first_ns.get_or_insert(packet.at_ns);
        counts.last_ns = counts.last_ns.max(packet.at_ns);
        let data = match link::network(packet.link, packet.data) {
            Network::Ip(data) => data,
            Network::Other => return counts.other += 1,
            Network::Cut => return counts.cut += 1,
            Network::Foreign => {
                counts.foreign_link += 1;
                let Linktype(number) = packet.link;
                counts.foreign_link_number.get_or_insert(number);
                return;
            }
        };
        let before = packet.data.len() - data.len();
        let datagram = match ip::content(data, packet.wire_len.saturating_sub(before), 1) {
            Content::Tcp(datagram) => datagram,
            Content::Other => return counts.other += 1,
            Content::Fragment => return counts.fragments += 1,
            Content::Cut => return counts.cut += 1,
            Content::Malformed => return counts.malformed += 1,
        };
        let header = match Header::parse(datagram.tcp) {
            Ok(header) => header,
            Err(HeaderError::Cut) => return counts.cut += 1,
            Err(HeaderError::Malformed) => return counts.malformed += 1,
        };
        if datagram.tcp_len.is_some_and(|length| length < header.length) {
            return counts.malformed += 1;
        }
        counts.segments += 1;
        counts.tunnelled += u64::from(datagram.tunnelled);
        let payload_len = datagram
            .tcp_len
            .map(|length| u32::try_from(length - header.length).unwrap_or(u32::MAX));
        let mut segment = Segment {
            at_ns: packet.at_ns,
            file: self.file,
            frame: self.frame,
            family: datagram.family,
            from: (datagram.source, header.source),
            to: (datagram.destination, header.destination),
            header,
            payload_len,
            print: 0,
            cookie: None,
        };
        if header.has(SYN) {
            segment.print = self.print(&segment, datagram.id);
            segment.cookie = tcp::fast_open(&header)
                .filter(|found| !found.cookie.is_empty())
                .map(|found| self.cookie_hash(found.cookie));
        }
        let Self {
            table,
            counts,
            local,
            id,
            ..
        } = self;
        table.take(&segment, &mut |event| digest(event, counts, local, id, sink));
    }

    /// All that a packet and its retransmission differ in, but for the checksum, which offloading changes.
    fn print(&self, segment: &Segment<'_>, id: Option<u16>) -> u64 {
        let mut hasher = self.salt.build_hasher();
        hasher.write_u32(segment.header.sequence);
        hasher.write_u32(segment.header.acknowledgement);
        hasher.write_u8(segment.header.flags);
        hasher.write_u32(segment.payload_len.unwrap_or(u32::MAX));
        hasher.write_u16(id.unwrap_or_default());
        hasher.write(segment.header.options);
        hasher.finish()
    }

    /// 32 bits: enough to tell cookies apart, too few to be one.
    fn cookie_hash(&self, cookie: &[u8]) -> u32 {
        let hash = self.salt.hash_one(cookie);
        u32::try_from(hash >> 32).unwrap_or_default()
    }
}

/// What the table says becomes verdicts and counts.
fn digest(event: Event, counts: &mut Counts, local: &[Prefix], id: &mut u64, sink: &mut dyn FnMut(Judged)) {
    let count = |reason: Unknown, counts: &mut Counts| counts.unknown[reason as usize] += 1;
    let (connection, watched) = match event {
        Event::Done(connection, watched) => (connection, watched),
        Event::MidStream => return count(Unknown::MidStream, counts),
        Event::SynUnseen => return count(Unknown::SynUnseen, counts),
        Event::Duplicate => return counts.duplicates += 1,
    };
    counts.connections += 1;
    let ours = |address: &[u8; 16]| {
        let ip = addr::ip(address, connection.family);
        local.is_empty() || local.iter().any(|prefix| prefix.contains(ip))
    };
    let (client_is_ours, server_is_ours) = (ours(&connection.client.0), ours(&connection.server.0));
    if !client_is_ours && !server_is_ours {
        return counts.not_local += 1;
    }
    let unanswered = connection.established_ns.is_none() && !connection.taken;
    if unanswered && !connection.is_fast() && !connection.simultaneous && !connection.one_sided {
        return counts.plain_unanswered += 1;
    }
    *id += 1;
    let client = client_is_ours.then(|| verdict::client(&connection, watched, *id * 2));
    let server = if server_is_ours {
        verdict::server(&connection, watched, *id * 2 + 1)
    } else {
        None
    };
    for judged in [client, server].into_iter().flatten() {
        if let Err(reason) = judged.outcome {
            count(reason, counts);
        }
        sink(judged);
    }
}
