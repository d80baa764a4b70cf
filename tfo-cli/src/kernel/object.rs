//! The compiled eBPF programs, inside this binary.

use super::Error;

/// The object file; empty in a binary built without the eBPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-ebpf.o"));

/// The enforcement programs, likewise.
static POLICY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-policy.o"));

/// The object file, or an error that says how to get a binary that has one.
pub fn bytes() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() {
        Err(Error::NoObject)
    } else {
        Ok(OBJECT)
    }
}

/// The object with the enforcement programs.
pub fn policy_bytes() -> Result<&'static [u8], Error> {
    if POLICY.is_empty() {
        Err(Error::NoObject)
    } else {
        Ok(POLICY)
    }
}
