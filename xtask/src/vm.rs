//! Debian's kernels under software emulation: gets them, boots them, and judges what the programs did on them.

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
