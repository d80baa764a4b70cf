//! `tfo-cli guard`: guards are set, removed and shown.

use super::policy::{change, open};
use crate::{
    args::{GuardCommand, GuardWhat, ListFormat},
    exit::{self, Failure},
    kernel::{self, policy::Pinned},
    output::{self, policy_json, policy_text},
    policy::{Access, Change, GuardSpec, Interfaces, Policies},
};

/// Runs the command.
pub fn run(command: &GuardCommand) -> Result<u8, Failure> {
    run_on(&Pinned::new(&*command.bpffs), &command.what)
}

/// The same, on a policy of this place.
pub fn run_on(policies: &dyn Policies, what: &GuardWhat) -> Result<u8, Failure> {
    let access = match what {
        GuardWhat::On(..) => Access::Change,
        GuardWhat::Off(_) | GuardWhat::Status(_) => Access::Repair,
    };
    let mut store = open(policies, access)?;
    let guards = store.guards()?;
    match what {
        GuardWhat::On(wanted, interfaces) => {
            let cgroup = store.cgroups().find(&wanted.cgroup)?;
            let spec = GuardSpec {
                cgroup,
                settings: wanted.settings,
            };
            change(&mut *store, &[Change::Guard(spec)], interfaces)?;
        }
        GuardWhat::Off(scope) => {
            let cgroup = store.cgroups().find(scope)?;
            let Some(guard) = guards.into_iter().find(|guard| guard.spec.cgroup.id == cgroup.id) else {
                let message = format!("guard on {}: there is none", cgroup.path);
                return Err(Failure::new(exit::FAILED, message).hint("see `tfo-cli guard status`"));
            };
            change(&mut *store, &[Change::Unguard(guard)], &Interfaces::default())?;
        }
        GuardWhat::Status(format) => {
            let destinations = store.destinations()?;
            let now = kernel::now();
            output::print(&match format {
                ListFormat::Text => policy_text::guards(&guards, &destinations, &store.stats(), now),
                ListFormat::Json => policy_json::guards(&guards, &destinations, &store.stats(), now)?,
            })?;
        }
    }
    Ok(exit::DONE)
}
