//! Scenarios and their near misses, group by group.

mod case;
mod path;

use super::*;
