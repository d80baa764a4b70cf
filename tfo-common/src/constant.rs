//! Loads of 64-bit constants in compiled programs, in the place of which user space puts what it knows of this kernel
//! ([`crate::layout`], [`crate::exchange`]).
//!
//! Such a load (`BPF_LD | BPF_IMM | BPF_DW`) is two instructions of eight bytes: operation 0x18, register, no offset, lower half; then
//! nothing but the upper half.

/// Bytes of a load.
pub const LOAD: usize = 16;

/// The constant that is loaded where these bytes begin; `None` where they begin with anything else.
pub fn loaded(bytes: &[u8]) -> Option<u64> {
    let pair = bytes.get(..LOAD)?;
    let is_load = pair[0] == 0x18 && pair[1] < 16 && pair[2..4] == [0, 0] && pair[8..12] == [0; 4];
    is_load.then(|| u64::from(word(pair, 4)) | u64::from(word(pair, 12)) << 32)
}

/// Has the load that begins here load something else. Of less than [`LOAD`] bytes nothing is changed.
pub fn put(bytes: &mut [u8], value: u32) {
    if let Some(pair) = bytes.get_mut(..LOAD) {
        pair[4..8].copy_from_slice(&value.to_ne_bytes());
        pair[12..].fill(0);
    }
}

/// Shows `fill` every load of a constant in an object file, with the constant and the bytes from there on. Returns how many of them it
/// says it has filled in.
pub(crate) fn fill_each(object: &mut [u8], mut fill: impl FnMut(u64, &mut [u8]) -> bool) -> usize {
    let mut filled = 0;
    let mut at = 0;
    while at + LOAD <= object.len() {
        let rest = &mut object[at..];
        if let Some(constant) = loaded(rest)
            && fill(constant, rest)
        {
            filled += 1;
        }
        at += 8;
    }
    filled
}

/// Four bytes as a number. There have to be as many.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A load of a constant into register 1, for tests.
#[cfg(test)]
pub fn load(value: u64) -> [u8; LOAD] {
    let mut pair = [0; LOAD];
    pair[..2].copy_from_slice(&[0x18, 1]);
    pair[4..8].copy_from_slice(&(value as u32).to_ne_bytes());
    pair[12..].copy_from_slice(&((value >> 32) as u32).to_ne_bytes());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_read_and_replaced() {
        let mut pair = load(0x1234_5678_9abc_def0);
        assert_eq!(loaded(&pair), Some(0x1234_5678_9abc_def0));
        put(&mut pair, 7);
        assert_eq!(pair, load(7));
        assert_eq!(loaded(&pair[..15]), None);
        put(&mut pair[..15], 8);
        assert_eq!(pair, load(7));
    }
}
