//! Reads a policy file and plans the changes that it asks for.

use std::{collections::HashMap, fs, io::Read as _, iter, path::Path};

use nix::unistd::{Uid, geteuid};

use super::{log, open};
use crate::{
    args::FileConfig,
    config::owner,
    exit::{self, Failure},
    policy::{
        Access, CgroupRef, CgroupSelector, Cgroups, Enforcement, EnforcementError, ErrorKind, GuardSpec,
        InForce, Plan, Policies,
        file::{self, File},
        plan::Wanted,
    },
};

/// Longest file that is read, in bytes: 10,000 rules are 2 MB.
const MAX_LEN: u64 = 16 << 20;

/// Reads the file, looks its cgroups up and plans the changes from the policy in force.
pub fn plan(
    policies: &dyn Policies,
    config: &FileConfig,
    access: Access,
) -> Result<(Box<dyn Enforcement>, Plan), Failure> {
    let text = read(&config.path)?;
    let store = open(policies, access)?;
    let wanted = resolve(&config.path, &text, store.cgroups())?;
    for (line, error) in &wanted.missing {
        if !config.skip_missing {
            let hint = "start the service, or leave such rules out with --skip-missing";
            return Err(in_line(&config.path, *line, error).hint(hint));
        }
        log::skipped(&config.path, *line, &error.failure.message)?;
    }
    let in_force = InForce {
        rules: store.rules()?,
        guards: store.guards()?,
    };
    let plan = Plan::exactly(&wanted.policy, &in_force);
    Ok((store, plan))
}

/// Reads a file.
pub fn read(path: &Path) -> Result<File, Failure> {
    let fail = |why: &dyn std::fmt::Display| Failure::new(exit::FAILED, format!("{}: {why}", path.display()));
    let file = fs::File::open(path).map_err(|error| fail(&error))?;
    if geteuid().is_root() {
        let owners: Vec<Uid> = iter::once(Uid::from_raw(0)).chain(owner::sudo_caller()).collect();
        owner::check(&file, path, &owners)?;
    }
    let mut text = String::new();
    let read = file.take(MAX_LEN + 1).read_to_string(&mut text);
    if read.map_err(|error| fail(&error))? as u64 > MAX_LEN {
        return Err(fail(&format_args!(
            "more than {MAX_LEN} bytes is too long for a policy file"
        )));
    }
    file::parse(&text).map_err(|error| {
        Failure::new(exit::USAGE, format!("{}: {error}", path.display()))
            .hint("see the format in `tfo-cli policy apply --help`")
    })
}

/// An error with the file and the line that it is about.
fn in_line(path: &Path, line: usize, error: &EnforcementError) -> Failure {
    let mut failed = error.failure.clone();
    failed.message = format!("{}: line {line}: {}", path.display(), failed.message);
    failed
}

/// The contents of a file, with its cgroups looked up.
pub struct Resolved {
    /// Rules and guards whose cgroup exists.
    pub policy: Wanted,
    /// Lines of rules and guards whose cgroup does not exist, and why not.
    pub missing: Vec<(usize, EnforcementError)>,
}

/// Looks the cgroups of a file up. Two rules for the same cgroup and prefix are an error that names the lines of both; a
/// selector that cannot be a cgroup, or stands for several, is one that names its line.
pub fn resolve(path: &Path, file: &File, cgroups: &dyn Cgroups) -> Result<Resolved, Failure> {
    let mut missing = Vec::new();
    // Thousands of rules may be about a few services.
    let mut known: HashMap<CgroupSelector, CgroupRef> = HashMap::new();
    let mut find = |line: usize, selector: &CgroupSelector| {
        if let Some(found) = known.get(selector) {
            return Ok(Some(found.clone()));
        }
        match cgroups.find(selector) {
            Ok(found) => {
                known.insert(selector.clone(), found.clone());
                Ok(Some(found))
            }
            Err(error) if error.kind == ErrorKind::NoCgroup => {
                missing.push((line, error));
                Ok(None)
            }
            Err(error) => Err(in_line(path, line, &error)),
        }
    };
    let twice = |line: usize, other: usize, what: &dyn std::fmt::Display, hint: &str| {
        let message = format!(
            "{}: line {line}: {what} is in line {other} already",
            path.display()
        );
        Failure::new(exit::USAGE, message).hint(hint)
    };
    let mut rules = Vec::new();
    let mut lines = HashMap::new();
    for rule in &file.rules {
        let Some(cgroup) = find(rule.line, &rule.spec.cgroup)? else {
            continue;
        };
        let spec = rule.spec.with_cgroup(cgroup);
        if let Some(other) = lines.insert(spec.key(), rule.line) {
            let what = format!("a rule for {} to {}", spec.cgroup.path, spec.dst);
            return Err(twice(
                rule.line,
                other,
                &what,
                "give one rule all the ports it is for",
            ));
        }
        rules.push(spec);
    }
    let mut guards = Vec::new();
    let mut lines = HashMap::new();
    for guard in &file.guards {
        let Some(cgroup) = find(guard.line, &guard.spec.cgroup)? else {
            continue;
        };
        if let Some(other) = lines.insert(cgroup.id, guard.line) {
            return Err(twice(
                guard.line,
                other,
                &format_args!("a guard on {}", cgroup.path),
                "a cgroup has one guard",
            ));
        }
        guards.push(GuardSpec {
            cgroup,
            settings: guard.spec.settings,
        });
    }
    Ok(Resolved {
        policy: Wanted { rules, guards },
        missing,
    })
}
