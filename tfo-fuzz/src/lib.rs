//! Every parser of what others wrote, as a function of bytes. Each must come to an end without a panic, in little
//! memory, whatever the bytes are; what it finds does not matter here.

mod targets;

/// A parser by name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. The name is that of the directory below `corpus`.
pub const TARGETS: [Target; 8] = [
    ("recording", targets::recording),
    ("capture", targets::capture),
    ("rules", targets::rules),
    ("config", targets::config),
    ("filter", targets::filter),
    ("btf", targets::btf),
    ("procfs", targets::procfs),
    ("netlink", targets::netlink),
];

/// The parser of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target)
}
