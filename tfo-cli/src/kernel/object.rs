//! The compiled eBPF programs, inside this binary.

use super::Error;

/// The object file; empty in a binary built without the eBPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-ebpf.o"));

/// The object file, or an error that says how to get a binary that has one.
pub fn bytes() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() {
        Err(Error::NoObject)
    } else {
        Ok(OBJECT)
    }
}
