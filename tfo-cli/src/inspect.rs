//! What `doctor`, `listeners`, `cookies` and `keys` make of what the kernel side found. Pure.

pub mod cookies;
pub mod places;
