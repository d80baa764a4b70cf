//! Parts of `cargo xtask bench`: load, observers, what they cost, and the table.

pub mod captures;
pub mod cost;
pub mod dashboard;
pub mod load;
pub mod observer;
pub mod policy;
pub mod rate;
pub mod report;
pub mod stats;
pub mod temporary;
