//! What `doctor`, `listeners`, `cookies` and `keys` make of what the kernel side found. Pure.

pub mod cookies;
pub mod doctor;
pub mod keys;
pub mod listeners;
pub mod places;
