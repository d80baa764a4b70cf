//! A payload for tests: every byte depends on its position, so that loss and reordering show.

/// The first `len` bytes of the pattern.
pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(byte_at).collect()
}

/// Whether `data` is the pattern from its start.
pub fn matches(data: &[u8]) -> bool {
    data.iter()
        .enumerate()
        .all(|(position, byte)| *byte == byte_at(position))
}

/// 251 is prime: the pattern does not repeat in step with any buffer or segment size.
fn byte_at(position: usize) -> u8 {
    u8::try_from(position % 251).unwrap_or_default()
}
