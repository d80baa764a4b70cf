//! Debian's kernels under software emulation: where they come from, how they boot, what they said.

pub mod document;
pub mod expected;
pub mod initramfs;
pub mod kernel;
pub mod machine;
pub mod release;
pub mod report;
pub mod serial;
mod suites;
pub mod verdict;
