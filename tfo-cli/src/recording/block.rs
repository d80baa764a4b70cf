//! The blocks that the file consists of. Each has a checksum: it is read whole or not at all.

use std::io::{self, Read};

/// Largest block, unpacked, in bytes. It keeps a damaged length from taking all memory.
pub const MAX_RAW_LEN: usize = 64 << 20;
/// Bytes of the header of a block: two lengths and the checksum.
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

/// The result of reading a block.
pub enum Block {
    /// A good block: its entries, unpacked, and the bytes that it takes in the file.
    Whole(Vec<u8>, u64),
    /// The file has no more blocks.
    End,
    /// The file ends within the block: the recorder was killed, or still writes it.
    Truncated,
    /// The block is damaged, in this way.
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
    if raw_length > MAX_RAW_LEN || packed_length > lz4_flex::block::get_maximum_output_size(MAX_RAW_LEN) {
        return Ok(Block::Damaged("impossible length"));
    }
    // Reads what there is instead of allocating the length that the header claims.
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

/// The kind of checksum that the blocks of a recording have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Format 1: Adler-32 (RFC 1950) of the packed entries. It misses changes of neighbouring bytes that cancel out.
    Adler32,
    /// Format 2: CRC-32 of both lengths and the packed entries.
    Crc32,
}

impl Checksum {
    /// The checksum of a format; `None` when this version does not know the format.
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
    // The longest run for which the sums fit into 32 bits, as in zlib.
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
