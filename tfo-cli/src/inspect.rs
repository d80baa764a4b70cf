//! Judges the facts that `kernel` has gathered, for `doctor`, `listeners`, `cookies` and `keys`. Without I/O.

pub mod cookies;
pub mod doctor;
pub mod keys;
pub mod listeners;
pub mod places;
