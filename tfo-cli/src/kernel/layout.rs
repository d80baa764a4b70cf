//! Member positions of the running kernel, and what is missing on it.

use std::{collections::BTreeMap, fs};

use tfo_common::layout::{Feature, FieldLoc, Layout};

use super::{Error, btf::Btf};
use crate::model::feed::Degradation;

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
        btf.member(spec.container, spec.path).unwrap_or_else(|| {
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
        .collect();
    Ok((layout, degradations))
}
