//! Scenarios and their near misses, group by group.

mod case;
mod client;
mod cookies;
mod path;
mod server;
mod worth;

use super::*;
