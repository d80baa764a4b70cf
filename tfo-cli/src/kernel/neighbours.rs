//! Programs of others on a cgroup: those that keep ours from it, and those that may drop what it sends. Ours are attached as "multi"; the kernel refuses that where somebody is
//! attached to the same cgroup exclusively or with override, or exclusively to one above it (`hierarchy_allows_attach`,
//! `__cgroup_bpf_attach`, kernel/bpf/cgroup.c), and says no more than EPERM.

use std::{fs::File, os::fd::AsFd as _, path::Path};

use aya::programs::loaded_programs;
use tfo_common::policy;

use super::{cgroup::Cgroup, sys};

/// `BPF_F_ALLOW_OVERRIDE`, `BPF_F_ALLOW_MULTI` (include/uapi/linux/bpf.h).
const OVERRIDE: u32 = 1;
const MULTI: u32 = 2;

/// Where a program is attached in a cgroup (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// `BPF_CGROUP_INET_EGRESS`.
    Egress = 1,
    /// `BPF_CGROUP_SOCK_OPS`.
    SockOps = 3,
}

/// Who is in the way, in words; nothing where nobody is, or where the kernel does not tell.
pub fn in_the_way(cgroup: &Cgroup, hook: Hook) -> Option<String> {
    let ancestors = cgroup.path.ancestors();
    let mut found = ancestors
        .take_while(|path| path.starts_with(&cgroup.mount))
        .filter_map(|path| blocking(path, hook, path == cgroup.path));
    found.next()
}

/// Programs of others that see what the sockets of a cgroup send, and may drop it: those on it and above it, in words.
pub fn on_egress(mount: &Path, cgroup: &Path) -> Vec<String> {
    let ancestors = cgroup.ancestors().take_while(|path| path.starts_with(mount));
    let of_one = |path: &Path| -> Vec<String> {
        let programs = File::open(path)
            .and_then(|directory| sys::attached_programs(directory.as_fd(), Hook::Egress as u32))
            .map(|attached| attached.programs)
            .unwrap_or_default();
        let names = programs.into_iter().map(|id| (id, name_of(id)));
        names
            .filter(|(_, name)| name != policy::PROG_EGRESS)
            .map(|(id, name)| format!("BPF program {name} (id {id}) on egress of {}", path.display()))
            .collect()
    };
    ancestors.flat_map(of_one).collect()
}

/// The name of a loaded program; empty where it has none, or is gone.
fn name_of(id: u32) -> String {
    let mut programs = loaded_programs().flatten();
    let found = programs.find(|program| program.id() == id);
    found
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// What is attached to a cgroup in a way that keeps others out: of this one, or of those below it.
fn blocking(path: &Path, hook: Hook, is_this: bool) -> Option<String> {
    let directory = File::open(path).ok()?;
    let attached = sys::attached_programs(directory.as_fd(), hook as u32).ok()?;
    let how = match attached.flags {
        _ if attached.programs.is_empty() => return None,
        flags if flags & MULTI != 0 => return None,
        // Whoever allows it is overridden below by one that is attached there.
        flags if flags & OVERRIDE != 0 => is_this.then_some("with override")?,
        _ => "exclusively",
    };
    let name = |id: u32| format!("{} (program {id})", name_of(id));
    let names: Vec<String> = attached.programs.into_iter().map(name).collect();
    Some(format!(
        "{} is attached {how} to {}",
        names.join(", "),
        path.display()
    ))
}
