//! Queueing disciplines and filters that may drop or rewrite packets, in the calling thread's network namespace.

use std::{collections::BTreeMap, io};

use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex};

use super::super::tc;

/// Disciplines that lose or change packets on purpose.
const KINDS: [&str; 3] = ["netem", "plug", "blackhole"];
/// Places of filters.
const FILTERED: [&str; 2] = ["clsact", "ingress"];

/// By interface: the discipline, or the filters it has.
pub fn found() -> io::Result<Vec<(String, String)>> {
    let mut names = BTreeMap::new();
    // One entry per address; a name with a colon is a label of an address (ip-address(8)), not an interface.
    for entry in getifaddrs()?.filter(|entry| !entry.interface_name.contains(':')) {
        if let Ok(index) = if_nametoindex(&*entry.interface_name) {
            names.insert(index, entry.interface_name);
        }
    }
    let mut found = Vec::new();
    for (index, kind) in tc::disciplines()? {
        let Some(name) = names.get(&index) else { continue };
        if KINDS.contains(&&*kind) {
            found.push((name.clone(), kind));
        } else if FILTERED.contains(&&*kind) && tc::has_filters(index)? {
            found.push((name.clone(), format!("filters of {kind}")));
        }
    }
    Ok(found)
}
