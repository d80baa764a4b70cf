//! Member positions of the running kernel, and what is missing on it.

use std::{collections::BTreeMap, fs};

use tfo_common::layout::{Feature, FieldLoc, FieldSpec, Layout};

use super::{Error, btf::Btf};
use crate::model::source::Degradation;

/// Where the kernel publishes its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Resolves every member the programs read. A missing member switches off one feature, by name; only what
/// [`Feature::Core`] needs is an error.
pub fn resolve() -> Result<(Layout, Vec<Degradation>), Error> {
    let data = fs::read(VMLINUX).map_err(|error| Error::NoBtf {
        why: error.to_string(),
    })?;
    let btf = Btf::parse(&data).map_err(|error| Error::NoBtf {
        why: error.to_string(),
    })?;
    let mut missing: BTreeMap<Feature, Vec<String>> = BTreeMap::new();
    let layout = Layout::resolve(|spec| {
        find(spec, &btf).unwrap_or_else(|| {
            missing
                .entry(spec.feature)
                .or_default()
                .push(format!("{}.{}", spec.container, spec.path));
            FieldLoc::NONE
        })
    });
    if let Some(members) = missing.get(&Feature::Core) {
        return Err(Error::NoMember {
            member: members.join(", "),
        });
    }
    let number = (layout.sk_cgroup.bit == NUMBER).then(|| Degradation {
        name: "cgroup-number",
        why: "sockets made while net_cls or net_prio is in use have no service (before Linux 5.15 both share a \
              member)"
            .to_owned(),
    });
    let degradations = missing
        .into_iter()
        .map(|(feature, members)| Degradation {
            name: feature.name(),
            why: format!(
                "{} (kernel BTF has no {})",
                feature.describe(),
                members.join(", ")
            ),
        })
        .chain(number)
        .collect();
    Ok((layout, degradations))
}

/// Where a kernel with this BTF keeps a member; `None` where it has none.
pub(super) fn find(spec: &FieldSpec, btf: &Btf<'_>) -> Option<FieldLoc> {
    let found = btf.member(spec.container, spec.path);
    found
        .or_else(|| cgroup_number(spec, btf))
        .or_else(|| defer_connect(spec, btf))
        .or_else(|| element(spec, btf))
}

/// In [`FieldLoc::bit`] of a socket's cgroup: a number, of which the programs check the low bits.
const NUMBER: u8 = 1;

/// Before Linux 5.15 a socket keeps its cgroup as a number, with marks in its low bits (`struct sock_cgroup_data`,
/// include/linux/cgroup-defs.h).
fn cgroup_number(spec: &FieldSpec, btf: &Btf<'_>) -> Option<FieldLoc> {
    if spec.path != "sk_cgrp_data.cgroup" {
        return None;
    }
    let found = btf.member(spec.container, "sk_cgrp_data.val")?;
    Some(FieldLoc { bit: NUMBER, ..found })
}

/// Since Linux 6.6 the mark is a bit of `inet_flags` (`INET_FLAGS_DEFER_CONNECT`, `include/net/inet_sock.h`).
fn defer_connect(spec: &FieldSpec, btf: &Btf<'_>) -> Option<FieldLoc> {
    if (spec.container, spec.path) != ("inet_sock", "defer_connect") {
        return None;
    }
    let flags = btf.member(spec.container, "inet_flags")?;
    let number = btf.enumerator("INET_FLAGS_DEFER_CONNECT")?;
    Some(FieldLoc {
        byte: flags.byte.checked_add(number / 8)?,
        bit: u8::try_from(number % 8).ok()?,
        width: 1,
        pad: 0,
    })
}

/// Elements of arrays, which a path does not lead to: the programs of one hook of a cgroup, and the second of them. The number of
/// the hook has had this name since Linux 5.15, when hooks of cgroups got numbers of their own (include/linux/bpf-cgroup-defs.h).
fn element(spec: &FieldSpec, btf: &Btf<'_>) -> Option<FieldLoc> {
    let (array, path, bytes) = match (spec.container, spec.path) {
        ("cgroup", "bpf.effective[CGROUP_SOCK_OPS]") => {
            let hook = btf.enumerator("CGROUP_SOCK_OPS");
            let hook = hook.or_else(|| btf.enumerator("BPF_CGROUP_SOCK_OPS"))?;
            ("cgroup", "bpf.effective", hook.checked_mul(POINTER)?)
        }
        ("bpf_prog_array", "items[1].prog") => {
            let program = btf.member("bpf_prog_array_item", "prog")?.byte;
            let bytes = btf.size_of("bpf_prog_array_item")?.checked_add(program)?;
            ("bpf_prog_array", "items", bytes)
        }
        _ => return None,
    };
    let array = btf.member(array, path)?;
    Some(FieldLoc {
        byte: array.byte.checked_add(bytes)?,
        bit: 0,
        width: 64,
        pad: 0,
    })
}

/// Bytes of a pointer: the kernels that are claimed are of 64 bits.
const POINTER: u32 = 8;
