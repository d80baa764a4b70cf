//! Checks of the host: kernel, hooks, mounts, rights, lockdown, security modules.

use super::{Check, Facts};
use crate::clean::clean;

/// The oldest series of kernels that can be observed.
const OLDEST: (u32, u32) = (5, 10);
/// Capabilities (include/uapi/linux/capability.h), and what each is for.
const CAPABILITIES: [(u32, &str, &str, &str); 5] = [
    (39, "cap-bpf", "CAP_BPF", "BPF programs and maps"),
    (
        38,
        "cap-perfmon",
        "CAP_PERFMON",
        "reading kernel memory from BPF programs",
    ),
    (
        12,
        "cap-net-admin",
        "CAP_NET_ADMIN",
        "attaching to the network, forgetting cookies",
    ),
    (
        21,
        "cap-sys-admin",
        "CAP_SYS_ADMIN",
        "entering other network namespaces",
    ),
    (
        19,
        "cap-sys-ptrace",
        "CAP_SYS_PTRACE",
        "seeing whose sockets and namespaces these are",
    ),
];

/// Makes the checks of the host.
pub fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        kernel(facts),
        btf(facts),
        hooks(facts),
        object(facts),
        cgroup2(facts),
        bpffs(facts),
    ];
    for (bit, id, name, purpose) in CAPABILITIES {
        checks.push(if facts.capabilities >> bit & 1 == 1 {
            Check::pass(id, format!("{name}: {purpose}"))
        } else {
            Check::warn(
                id,
                format!("{name} is missing: {purpose}"),
                "sudo tfo-cli ...; in a container add the capability, or run it on the host",
            )
        });
    }
    checks.extend([lockdown(facts), security_module(facts)]);
    checks
}

fn kernel(facts: &Facts) -> Check {
    let id = "kernel";
    let release = clean(&facts.kernel);
    let mut numbers = facts
        .kernel
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Check::fail(
            id,
            format!("Linux {release} is too old to be observed"),
            "Linux 5.10 or newer",
        ),
        (Some(_), Some(_)) => Check::pass(id, format!("Linux {release}")),
        _ => Check::warn(
            id,
            format!("kernel.osrelease is {release:?}, which is no version"),
            "Linux 5.10 or newer",
        ),
    }
}

fn btf(facts: &Facts) -> Check {
    let id = "btf";
    match &facts.layout {
        Err(why) => Check::fail(
            id,
            why.clone(),
            "a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian 11+, RHEL 8.2+, Ubuntu 20.10+)",
        ),
        Ok(missing) if missing.is_empty() => {
            Check::pass(id, "/sys/kernel/btf/vmlinux has every member that is needed")
        }
        Ok(missing) => {
            let names: Vec<String> = missing
                .iter()
                .map(|(name, why)| format!("{name}: {why}"))
                .collect();
            Check::warn(id, names.join("; "), "a newer kernel; everything else is seen")
        }
    }
}

fn hooks(facts: &Facts) -> Check {
    let id = "hooks";
    match &facts.missing_hooks {
        Err(why) => Check::not_looked_at(id, why),
        Ok(missing) if missing.is_empty() => Check::pass(id, "every tracepoint and iterator is there"),
        Ok(missing) => Check::warn(
            id,
            format!("this kernel has no {}", missing.join(", ")),
            "a newer kernel",
        ),
    }
}

fn object(facts: &Facts) -> Check {
    let id = "programs";
    if facts.has_object {
        Check::pass(id, "the eBPF programs are inside this binary")
    } else {
        Check::warn(
            id,
            "this binary was built without its eBPF programs: nothing can be observed with it",
            "cargo xtask build",
        )
    }
}

fn cgroup2(facts: &Facts) -> Check {
    let id = "cgroup2";
    let mounts = &facts.mounts;
    match &mounts.cgroup2 {
        Some(path) => Check::pass(
            id,
            format!("cgroup v2 is mounted at {}", clean(&path.display().to_string())),
        ),
        None => Check::fail(
            id,
            if mounts.cgroup1 {
                "only cgroup v1 is mounted"
            } else {
                "no cgroup file system is mounted"
            },
            "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified    (undo: umount; v1 stays as it is)",
        ),
    }
}

fn bpffs(facts: &Facts) -> Check {
    let id = "bpffs";
    match (&facts.mounts.bpffs, &facts.bpffs) {
        (None, _) => Check::warn(
            id,
            "no BPF file system is mounted: `policy` and `guard` have no place to keep rules",
            "mount -t bpf bpf /sys/fs/bpf",
        ),
        (Some(_), Ok(())) => Check::pass(id, "a BPF file system is mounted"),
        // Only a security module refuses this to root.
        (Some(path), Err(why)) if facts.capabilities >> 1 & 1 == 1 => Check::fail(
            id,
            format!(
                "{}: {why}, although this is root: a security module forbids it",
                clean(&path.display().to_string())
            ),
            "run it outside of the container, or allow it in the profile: see `security-module`",
        ),
        (Some(_), Err(why)) => Check::not_looked_at(id, why),
    }
}

fn lockdown(facts: &Facts) -> Check {
    let id = "lockdown";
    match facts.lockdown.as_deref().map(str::trim) {
        Some(text) if text.contains("[confidentiality]") => Check::fail(
            id,
            "lockdown=confidentiality: BPF programs may not read kernel memory",
            "boot with lockdown=integrity, or lockdown=none",
        ),
        Some(text) => Check::pass(id, format!("lockdown: {}", clean(text))),
        None => Check::pass(id, "no lockdown, or not visible from here"),
    }
}

fn security_module(facts: &Facts) -> Check {
    let id = "security-module";
    let Some(label) = &facts.label else {
        return Check::pass(id, "no AppArmor or SELinux label");
    };
    let text = clean(label.text.trim_matches(['\0', '\n', ' ']));
    let is_free = text.contains("unconfined") || !label.is_enforced;
    if is_free {
        return Check::pass(id, format!("{}: {text}", label.module));
    }
    let fix = if label.module == "AppArmor" {
        "run it outside of the container, or with --security-opt apparmor=unconfined; what was refused: dmesg | grep DENIED"
    } else {
        "run it unconfined (runcon -t unconfined_t), or allow what was refused: ausearch -m avc -c tfo-cli"
    };
    Check::warn(
        id,
        format!(
            "{} confines this process ({text}): it may forbid BPF and files in /sys/fs/bpf",
            label.module
        ),
        fix,
    )
}
