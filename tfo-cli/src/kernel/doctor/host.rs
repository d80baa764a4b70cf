//! Facts of the host: kernel, mounts, rights, security modules, BPF programs of others, and our pins.

use std::{fs, io, path::Path};

use aya::programs::loaded_programs;

use super::{
    super::{btf::Btf, layout, object, policy, procfs, programs, rights},
    read, text,
};
use crate::{
    inspect::doctor::{Fact, Facts, Label, Mounts, PolicyFacts},
    policy::Loaded,
};

/// What stands for the iterator over TCP sockets in BTF (`DEFINE_BPF_ITER_FUNC`), and its name.
const ITERATOR: (&str, &str) = ("bpf_iter__tcp", "iter/tcp");
/// Kinds of programs that share our hooks (`enum bpf_prog_type`).
const KINDS: [(u32, &str); 3] = [(13, "sock_ops"), (8, "cgroup_skb"), (3, "sched_cls")];

/// Facts of the host; those of namespaces, programs and pins are left empty.
pub fn facts() -> Facts {
    let mounts = mounts(&read("/proc/self/mounts").unwrap_or_default());
    let bpffs = mounts
        .bpffs
        .as_deref()
        .map_or(Ok(()), |path| fs::read_dir(path).map(drop).map_err(text));
    Facts {
        kernel: read("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        layout: layout::resolve()
            .map(|(_, missing)| {
                missing
                    .into_iter()
                    .map(|one| (one.name.to_owned(), one.why))
                    .collect()
            })
            .map_err(|error| error.to_string()),
        missing_hooks: missing_hooks().map_err(text),
        has_object: object::bytes().is_ok(),
        mounts,
        capabilities: rights::capabilities(),
        lockdown: read("/sys/kernel/security/lockdown"),
        label: label(),
        bpffs,
        places: Vec::new(),
        unseen: crate::inspect::places::Unseen::default(),
        watched: std::time::Duration::ZERO,
        listeners: Vec::new(),
        programs: Ok(Vec::new()),
        pins: std::path::PathBuf::new(),
        policy: PolicyFacts::None,
    }
}

/// Mounts that matter, out of a mount table.
fn mounts(table: &str) -> Mounts {
    Mounts {
        cgroup2: procfs::mount_of_type(table, "cgroup2"),
        cgroup1: procfs::mount_of_type(table, "cgroup").is_some(),
        bpffs: procfs::mount_of_type(table, "bpf"),
    }
}

fn missing_hooks() -> io::Result<Vec<&'static str>> {
    let data = fs::read(layout::VMLINUX)?;
    let btf = Btf::parse(&data).map_err(|error| io::Error::other(error.to_string()))?;
    // `__DEFINE_TRACE...` makes a type for each tracepoint.
    let missing = programs::tracepoints().filter(|name| !btf.has_type(&format!("btf_trace_{name}")));
    let iterator = (!btf.has_type(ITERATOR.0)).then_some(ITERATOR.1);
    Ok(missing.chain(iterator).collect())
}

fn label() -> Option<Label> {
    if let Some(text) = read("/proc/self/attr/apparmor/current").filter(|text| !text.trim().is_empty()) {
        let is_enforced = text.contains("(enforce)");
        return Some(Label {
            module: "AppArmor",
            text,
            is_enforced,
        });
    }
    let enforce = read("/sys/fs/selinux/enforce")?;
    Some(Label {
        module: "SELinux",
        text: read("/proc/self/attr/current")?,
        is_enforced: enforce.trim() == "1",
    })
}

/// Programs of others that are loaded and of a kind that shares our hooks.
pub fn foreign_programs() -> Fact<Vec<(u32, String, &'static str)>> {
    let mut found = Vec::new();
    for program in loaded_programs() {
        // One that went away between being listed and being opened is an error, too; so is a missing right.
        let program = match program {
            Ok(program) => program,
            Err(error) if rights::check().is_err() => return Err(programs::chain(&error)),
            Err(_) => continue,
        };
        let kind = KINDS
            .iter()
            .find(|(number, _)| *number == program.program_type() as u32);
        let name = String::from_utf8_lossy(program.name()).into_owned();
        if let Some((_, kind)) = kind.filter(|_| !name.starts_with("tfo_")) {
            found.push((program.id(), name, *kind));
        }
    }
    Ok(found)
}

/// What of ours is pinned, looked at without the lock and without repairing anything.
pub fn policy(pins: &Path) -> PolicyFacts {
    match fs::read_dir(pins) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return PolicyFacts::None,
        Err(error) => return PolicyFacts::NotLookedAt(error.to_string()),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return PolicyFacts::None;
            }
        }
    }
    match policy::in_force(pins, |_| None) {
        Ok(found) if found.rules.is_empty() && found.guards.is_empty() => PolicyFacts::HalfMade,
        Ok(found) => PolicyFacts::InForce {
            rules: found.rules.len(),
            guards: found.guards.len(),
            is_current: policy::loaded(pins).is_ok_and(|loaded| loaded.is_none_or(Loaded::is_current)),
        },
        Err(policy::Error::Version { why, .. }) => PolicyFacts::OtherVersion(why),
        Err(error) => PolicyFacts::NotLookedAt(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let v1 = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n";
        assert_eq!(
            mounts(v1),
            Mounts {
                cgroup2: None,
                cgroup1: true,
                bpffs: None
            }
        );
        let hybrid = format!(
            "{v1}cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n"
        );
        assert_eq!(
            mounts(&hybrid),
            Mounts {
                cgroup2: Some("/sys/fs/cgroup/unified".into()),
                cgroup1: true,
                bpffs: Some("/sys/fs/bpf".into())
            }
        );
        assert_eq!(mounts("odd\n\n"), Mounts::default());
    }
}
