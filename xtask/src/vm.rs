//! Debian's older kernels under software emulation: where they come from, how they boot, what they said.

pub mod initramfs;
pub mod kernel;
pub mod machine;
pub mod serial;
pub mod verdict;
