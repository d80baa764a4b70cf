//! `tfo-cli guard`: guards are set, removed and shown.

use super::policy::{change, failure, open};
use crate::{
    args::{GuardCommand, GuardWhat, ListFormat},
    exit::{self, Failure},
    kernel::{self, policy::Access},
    output::{self, policy_json, policy_text},
    policy::{Change, GuardSpec, Interfaces},
};

/// Runs the command.
pub fn run(command: &GuardCommand) -> Result<u8, Failure> {
    let mut store = open(&command.bpffs, Access::Look)?;
    let guards = store.guards().map_err(|error| failure(&error))?;
    match &command.what {
        GuardWhat::On(scope, settings, interfaces) => {
            let cgroup = store.cgroups().find(scope).map_err(|error| failure(&error))?;
            let spec = GuardSpec {
                cgroup,
                settings: *settings,
            };
            change(&mut store, &[Change::Guard(spec)], interfaces)?;
        }
        GuardWhat::Off(scope) => {
            let cgroup = store.cgroups().find(scope).map_err(|error| failure(&error))?;
            let Some(guard) = guards.into_iter().find(|guard| guard.spec.cgroup.id == cgroup.id) else {
                let message = format!("guard on {}: there is none", cgroup.path);
                return Err(Failure::new(exit::FAILED, message).hint("see `tfo-cli guard status`"));
            };
            change(&mut store, &[Change::Unguard(guard)], &Interfaces::default())?;
        }
        GuardWhat::Status(format) => {
            let destinations = store.destinations().map_err(|error| failure(&error))?;
            let now = kernel::now();
            output::print(&match format {
                ListFormat::Text => policy_text::guards(&guards, &destinations, now),
                ListFormat::Json => policy_json::guards(&guards, &destinations, &store.stats(), now)?,
            })?;
        }
    }
    Ok(exit::DONE)
}
