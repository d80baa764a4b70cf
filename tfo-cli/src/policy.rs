//! Enforcement, the part without I/O: rules and guards, the policy file, and the plan of changes from the policy in force
//! to the one that is wanted.
//!
//! ```text
//! args, file ─> wanted ─┐
//!                       ├─> plan ─> changes ─> kernel::policy
//! kernel::policy ─> installed ┘        └─> output
//! ```
//!
//! Commands reach the kernel through the traits [`Policies`] and [`Enforcement`]; tests keep a policy in memory.

pub mod decide;
mod enforcement;
#[cfg(test)]
pub mod fake;
pub mod file;
pub mod gaps;
pub mod guard;
mod interfaces;
mod now;
pub mod plan;
pub mod request;
pub mod rule;
#[cfg(test)]
pub(crate) mod sample;
pub mod transition;

pub use self::{
    decide::InForce,
    enforcement::{Access, Cgroups, Enforcement, EnforcementError, ErrorKind, Loaded, Policies, Removed},
    guard::{GuardSpec, InstalledGuard},
    interfaces::{Interfaces, StripReport},
    now::Now,
    plan::{Change, Plan},
    request::Request,
    rule::{CgroupRef, CgroupSelector, Installed, RuleSpec},
};
