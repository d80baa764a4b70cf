//! The two file formats, packet by packet: pcap and pcapng, microseconds and nanoseconds, both byte orders, many
//! sections and interfaces. The blocks are taken apart by `pcap-parser`; the buffer is ours, because a live pipe
//! must not wait for a full one, and a hostile length must not make it grow.

use std::io::{self, Read};

use pcap_parser::{
    Block, Linktype, PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
    pcapng::{InterfaceDescriptionBlock, OptionCode, parse_block_be, parse_block_le},
    traits::PcapNGPacketBlock,
};

/// Bytes asked for at once.
const READ: usize = 1 << 18;
/// The longest block believed. Linux builds packets of at most 512 KiB (`GSO_MAX_SIZE`); Wireshark stops at
/// 16 MiB for a block (`MAX_BLOCK_SIZE` in `wiretap/pcapng.c`).
const MOST_BLOCK: usize = 16 << 20;
/// Interfaces one section may have: beyond it the file is damaged or hostile.
const MOST_INTERFACES: usize = 1 << 16;

/// `block_type` of packet blocks before there were enhanced ones.
const OBSOLETE_PACKET: u32 = 2;
/// First bytes of every pcapng section, in either byte order.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// One captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// ns since 1970; 0 where the format does not say (simple packet blocks).
    pub at_ns: u64,
    /// What its first bytes are.
    pub link: Linktype,
    /// Bytes it had on the wire.
    pub wire_len: usize,
    /// Bytes that were kept of it.
    pub data: &'a [u8],
}

/// How a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At the end of a packet.
    Whole,
    /// In the middle of one: whoever wrote it was stopped, or the file was cut.
    Truncated,
    /// Something that is no packet followed.
    Damaged(&'static str),
}

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// pcap.
    Pcap,
    /// pcapng.
    Pcapng,
    /// gzip, of whatever.
    Gzip,
}

/// What these first bytes begin; four suffice.
pub fn magic(first: &[u8]) -> Option<Magic> {
    let first: [u8; 4] = first.get(..4)?.try_into().ok()?;
    match first {
        [0x1f, 0x8b, ..] => Some(Magic::Gzip),
        SECTION => Some(Magic::Pcapng),
        _ => match u32::from_le_bytes(first) {
            // The last one is Alexey Kuznetsov's, with longer packet headers.
            0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 | 0xa1b2_cd34 => Some(Magic::Pcap),
            _ => None,
        },
    }
}

/// One interface of a pcapng section.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Linktype,
    /// Units of its time stamps per second.
    per_second: u64,
    /// Seconds to add.
    offset: i64,
    /// Most bytes kept of a packet; 0 for all.
    snaplen: u32,
}

#[derive(Debug)]
enum Kind {
    Unknown,
    Pcap(PcapHeader),
    Pcapng {
        big_endian: bool,
        interfaces: Vec<Interface>,
    },
}

/// Reads packets off a stream of bytes.
pub struct Packets<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are packets already read.
    used: usize,
    /// Bytes of the buffer that were read from the stream.
    filled: usize,
    kind: Kind,
    /// Offset of `used` in the stream.
    offset: u64,
}

/// What to do with the bytes at the front of the buffer.
enum Step {
    /// So many bytes are needed to go on.
    Need(usize),
    /// Nothing of interest in so many bytes.
    Skip(usize),
    /// A packet, in so many bytes.
    Packet(usize),
    /// Not what it should be.
    Damaged(&'static str),
}

impl<R: Read> Packets<R> {
    /// Packets of this stream, whose first bytes are one of the two formats.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            used: 0,
            filled: 0,
            kind: Kind::Unknown,
            offset: 0,
        }
    }

    /// Bytes of the stream read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a whole packet may be at hand without reading: what follows may wait for a pipe.
    pub fn has_buffered(&self) -> bool {
        self.filled > self.used
    }

    /// Hands the next packet to `take`; how the capture ended when there is none.
    pub fn next(&mut self, take: &mut dyn FnMut(Packet<'_>)) -> io::Result<Option<Ending>> {
        loop {
            let step = self.step(take);
            match step {
                Step::Packet(bytes) | Step::Skip(bytes) => {
                    self.used += bytes;
                    self.offset += bytes as u64;
                    if matches!(step, Step::Packet(_)) {
                        return Ok(None);
                    }
                }
                Step::Damaged(why) => return Ok(Some(Ending::Damaged(why))),
                Step::Need(bytes) if bytes > MOST_BLOCK => {
                    return Ok(Some(Ending::Damaged("a block is longer than any packet")));
                }
                Step::Need(bytes) => {
                    if !self.fill(bytes)? {
                        return Ok(Some(if self.has_buffered() {
                            Ending::Truncated
                        } else {
                            Ending::Whole
                        }));
                    }
                }
            }
        }
    }

    /// Reads until so many bytes are there; false at the end of the stream.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        if self.buffer.len() < bytes.max(READ) {
            self.buffer.resize(bytes.max(READ), 0);
        }
        while self.filled < bytes {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A gzip that is cut short: as a file that is.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn step(&mut self, take: &mut dyn FnMut(Packet<'_>)) -> Step {
        let bytes = &self.buffer[self.used..self.filled];
        match &mut self.kind {
            Kind::Unknown => {
                if bytes.len() < 4 {
                    return Step::Need(4);
                }
                match magic(bytes) {
                    Some(Magic::Pcapng) => {
                        self.kind = Kind::Pcapng {
                            big_endian: false,
                            interfaces: Vec::new(),
                        };
                        Step::Skip(0)
                    }
                    Some(Magic::Pcap) if bytes.len() < 24 => Step::Need(24),
                    Some(Magic::Pcap) => match parse_pcap_header(bytes) {
                        Ok((_, header)) => {
                            self.kind = Kind::Pcap(header);
                            Step::Skip(24)
                        }
                        Err(_) => Step::Damaged("unreadable header"),
                    },
                    Some(Magic::Gzip) | None => Step::Damaged("neither pcap nor pcapng"),
                }
            }
            Kind::Pcap(header) => pcap_step(header, bytes, take),
            Kind::Pcapng {
                big_endian,
                interfaces,
            } => pcapng_step(big_endian, interfaces, bytes, take),
        }
    }
}

fn pcap_step(header: &PcapHeader, bytes: &[u8], take: &mut dyn FnMut(Packet<'_>)) -> Step {
    let fixed = if header.is_modified_format() { 24 } else { 16 };
    let Some(kept) = bytes.get(8..12).and_then(|raw| raw.try_into().ok()) else {
        return Step::Need(fixed);
    };
    let kept = if header.is_bigendian() {
        u32::from_be_bytes(kept)
    } else {
        u32::from_le_bytes(kept)
    };
    let whole = fixed + kept as usize;
    if bytes.len() < whole {
        return Step::Need(whole);
    }
    let parse = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => parse_pcap_frame_modified,
        (false, true) => parse_pcap_frame_be,
        (false, false) => parse_pcap_frame,
    };
    let Ok((_, frame)) = parse(&bytes[..whole]) else {
        return Step::Damaged("unreadable packet");
    };
    let unit = if header.is_nanosecond_precision() {
        1
    } else {
        1_000
    };
    if u64::from(frame.ts_usec) * unit >= 1_000_000_000 {
        return Step::Damaged("a time stamp with more than a second of fractions");
    }
    take(Packet {
        at_ns: u64::from(frame.ts_sec) * 1_000_000_000 + u64::from(frame.ts_usec) * unit,
        // The upper bits say whether there is a frame check sequence.
        link: Linktype(header.network.0 & 0x0fff_ffff),
        wire_len: frame.origlen as usize,
        data: frame.data,
    });
    Step::Packet(whole)
}

fn pcapng_step(
    big_endian: &mut bool,
    interfaces: &mut Vec<Interface>,
    bytes: &[u8],
    take: &mut dyn FnMut(Packet<'_>),
) -> Step {
    let Some(head) = bytes.first_chunk::<12>() else {
        return Step::Need(12);
    };
    if head[..4] == SECTION {
        // The byte order of a section is that of its own magic, also in the middle of a file.
        match head[8..12] {
            [0x4d, 0x3c, 0x2b, 0x1a] => *big_endian = false,
            [0x1a, 0x2b, 0x3c, 0x4d] => *big_endian = true,
            _ => return Step::Damaged("a section without byte order"),
        }
        interfaces.clear();
    }
    let length = [head[4], head[5], head[6], head[7]];
    let whole = if *big_endian {
        u32::from_be_bytes(length)
    } else {
        u32::from_le_bytes(length)
    } as usize;
    if whole < 12 || !whole.is_multiple_of(4) {
        return Step::Damaged("a block with an impossible length");
    }
    if bytes.len() < whole {
        return Step::Need(whole);
    }
    let parse = if *big_endian {
        parse_block_be
    } else {
        parse_block_le
    };
    // The block is whole: whatever the parser still misses is missing inside it.
    let Ok((_, block)) = parse(&bytes[..whole]) else {
        return Step::Damaged("an unreadable block");
    };
    match block {
        Block::InterfaceDescription(description) => {
            if interfaces.len() >= MOST_INTERFACES {
                return Step::Damaged("too many interfaces");
            }
            let Some(interface) = Interface::new(&description, *big_endian) else {
                return Step::Damaged("an interface with an impossible time resolution");
            };
            interfaces.push(interface);
            Step::Skip(whole)
        }
        Block::EnhancedPacket(packet) => {
            let Some(interface) = interfaces.get(packet.if_id as usize) else {
                return Step::Damaged("a packet of an interface nobody described");
            };
            let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            take(Packet {
                at_ns: wall_ns(units, interface),
                link: interface.link,
                wire_len: packet.origlen as usize,
                data: packet.packet_data(),
            });
            Step::Packet(whole)
        }
        Block::SimplePacket(packet) => {
            let Some(interface) = interfaces.first() else {
                return Step::Damaged("a packet of an interface nobody described");
            };
            let mut data = packet.packet_data();
            if interface.snaplen > 0 {
                data = data.get(..interface.snaplen as usize).unwrap_or(data);
            }
            take(Packet {
                at_ns: 0,
                link: interface.link,
                wire_len: packet.origlen as usize,
                data,
            });
            Step::Packet(whole)
        }
        Block::Unknown(other) if other.block_type == OBSOLETE_PACKET => {
            Step::Damaged("packets in blocks of the kind that was given up in 2009")
        }
        _ => Step::Skip(whole),
    }
}

impl Interface {
    /// The options are read here: `pcap-parser` 0.17 takes resolutions in powers of two for impossible
    /// (`build_ts_resolution`) and reads the offset in little endian only.
    fn new(description: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Option<Self> {
        let value = |code| {
            let found = description.options.iter().find(|option| option.code == code);
            found.map(pcap_parser::PcapNGOption::value)
        };
        let per_second = match value(OptionCode::IfTsresol).and_then(<[u8]>::first) {
            None => 1_000_000,
            Some(power @ 0..=19) => 10_u64.pow(u32::from(*power)),
            Some(power @ 0x80..=0xbf) => 1 << (power & 0x7f),
            Some(_) => return None,
        };
        let offset = match value(OptionCode::IfTsoffset).and_then(<[u8]>::first_chunk::<8>) {
            None => 0,
            Some(bytes) if big_endian => i64::from_be_bytes(*bytes),
            Some(bytes) => i64::from_le_bytes(*bytes),
        };
        Some(Self {
            link: description.linktype,
            per_second,
            offset,
            snaplen: description.snaplen,
        })
    }
}

/// Saturates: a damaged time is far away, never wrapped around.
fn wall_ns(units: u64, interface: &Interface) -> u64 {
    let ns = u128::from(units) * 1_000_000_000 / u128::from(interface.per_second);
    let ns = i128::try_from(ns)
        .unwrap_or(i128::MAX)
        .saturating_add(i128::from(interface.offset) * 1_000_000_000);
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}
