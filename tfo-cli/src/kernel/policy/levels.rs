//! In how many levels of the cgroup hierarchy there are rules, or guards: the kernel side looks no deeper.

use tfo_common::policy::MAX_DEPTH;

use super::Cgroups;
use crate::policy::CgroupRef;

/// All that the kernel side ever looks at.
pub const ALL: u32 = MAX_DEPTH.unsigned_abs();

/// How many levels, from the root of the hierarchy on, have one of these cgroups: 0 of none, [`ALL`] where it is not known of
/// one of them how deep it lies.
pub fn of<'a>(cgroups: &Cgroups, there: impl Iterator<Item = &'a CgroupRef>) -> u32 {
    let levels = there.map(|cgroup| {
        cgroups
            .level(cgroup.id)
            .map_or(ALL, |level| level.saturating_add(1))
    });
    levels.max().unwrap_or(0).min(ALL)
}
