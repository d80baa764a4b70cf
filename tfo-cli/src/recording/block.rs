//! Blocks: a piece of the file that is whole or not there.

use std::io::{self, Read};

/// Largest block there is, unpacked. A damaged length must not ask for all memory.
pub const MOST_RAW: usize = 64 << 20;
const HEADER: usize = 12;

/// Packs entries into a block.
pub fn pack(raw: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(raw);
    let mut block = Vec::with_capacity(HEADER + packed.len());
    block.extend(length(packed.len()).to_le_bytes());
    block.extend(length(raw.len()).to_le_bytes());
    let checksum = Checksum::Crc32.work_out(&block, &packed);
    block.extend(checksum.to_le_bytes());
    block.extend(packed);
    block
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What reading a block came to.
pub enum Block {
    /// Its entries, and the bytes it takes in the file.
    Whole(Vec<u8>, u64),
    /// The file ends here.
    End,
    /// The file ends inside it: the recorder was killed.
    Truncated,
    /// It is damaged.
    Damaged(&'static str),
}

/// Reads the next block.
pub fn read(file: &mut impl Read, checksum: Checksum) -> io::Result<Block> {
    let mut header = [0; HEADER];
    match fill(file, &mut header)? {
        0 => return Ok(Block::End),
        HEADER => {}
        _ => return Ok(Block::Truncated),
    }
    let number = |place: usize| {
        u32::from_le_bytes([
            header[place],
            header[place + 1],
            header[place + 2],
            header[place + 3],
        ])
    };
    let (packed_length, raw_length) = (number(0) as usize, number(4) as usize);
    if raw_length > MOST_RAW || packed_length > lz4_flex::block::get_maximum_output_size(MOST_RAW) {
        return Ok(Block::Damaged("impossible length"));
    }
    // Read what there is instead of reserving what the header claims.
    let mut packed = Vec::new();
    file.take(packed_length as u64).read_to_end(&mut packed)?;
    if packed.len() < packed_length {
        return Ok(Block::Truncated);
    }
    if checksum.work_out(&header[..8], &packed) != number(8) {
        return Ok(Block::Damaged("wrong checksum"));
    }
    Ok(match lz4_flex::block::decompress(&packed, raw_length) {
        Ok(raw) if raw.len() == raw_length => Block::Whole(raw, (HEADER + packed_length) as u64),
        _ => Block::Damaged("cannot be unpacked"),
    })
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// How the checksum of a block is worked out: by the format of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Format 1: Adler-32 (RFC 1950) of what is packed. It misses changes that make up for each other.
    Adler32,
    /// Since format 2: CRC-32 of both lengths and what is packed.
    Crc32,
}

impl Checksum {
    /// That of a format; `None` when this version does not know it.
    pub fn of(format: u8) -> Option<Self> {
        match format {
            1 => Some(Self::Adler32),
            2 => Some(Self::Crc32),
            _ => None,
        }
    }

    fn work_out(self, lengths: &[u8], packed: &[u8]) -> u32 {
        match self {
            Self::Adler32 => adler32(packed),
            Self::Crc32 => {
                let mut crc = crc32fast::Hasher::new();
                crc.update(lengths);
                crc.update(packed);
                crc.finalize()
            }
        }
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    // The largest run for which the sums fit, as in zlib.
    for run in bytes.chunks(5_552) {
        for byte in run {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_well_known_ones() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert_eq!(Checksum::Crc32.work_out(b"1234", b"56789"), 0xCBF4_3926);
    }
}
