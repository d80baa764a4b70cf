//! Parts of `cargo xtask bench`: load, observers, what they cost, and the report.

pub mod bpftool;
pub mod captures;
pub mod cost;
pub mod dashboard;
pub mod empty;
pub mod load;
pub mod neighbour;
pub mod nginx;
pub mod observer;
pub mod policy;
pub mod rate;
pub mod report;
pub mod slices;
pub mod stats;
pub mod temporary;
pub mod terminal;
pub mod watcher;
