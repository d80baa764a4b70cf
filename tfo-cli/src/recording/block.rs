//! Blocks: a piece of the file that is whole or not there.

use std::io::{self, Read};

/// Largest block there is, unpacked. A damaged length must not ask for all memory.
pub const MOST_RAW: usize = 64 << 20;
const HEADER: usize = 12;

/// Packs entries into a block.
pub fn pack(raw: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(raw);
    let mut block = Vec::with_capacity(HEADER + packed.len());
    for number in [length(packed.len()), length(raw.len()), checksum(&packed)] {
        block.extend(number.to_le_bytes());
    }
    block.extend(packed);
    block
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What reading a block came to.
pub enum Block {
    /// Its entries.
    Whole(Vec<u8>),
    /// The file ends here.
    End,
    /// The file ends inside it: the recorder was killed.
    Truncated,
    /// It is damaged.
    Damaged(&'static str),
}

/// Reads the next block.
pub fn read(file: &mut impl Read) -> io::Result<Block> {
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
    if checksum(&packed) != number(8) {
        return Ok(Block::Damaged("wrong checksum"));
    }
    Ok(match lz4_flex::block::decompress(&packed, raw_length) {
        Ok(raw) if raw.len() == raw_length => Block::Whole(raw),
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

/// Adler-32 (RFC 1950): enough to tell a torn write from a whole one.
fn checksum(bytes: &[u8]) -> u32 {
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
    fn the_checksum_is_adler_32() {
        assert_eq!(checksum(b"Wikipedia"), 0x11E6_0398);
    }
}
