//! Keys as JSON, schema 1: one object per network namespace, and one per listener that gives cookies. Fingerprints only.
//! Fields may be added, none is renamed.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    json::{SCHEMA, lines},
    keys_text::Found,
};
use crate::{fingerprint::Fingerprint, inspect::keys::Keys};

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    r#type: &'static str,
    id: String,
    netns: u32,
    netns_name: Option<&'a str>,
    /// `namespace` or `listener`.
    scope: &'static str,
    local_addr: Option<IpAddr>,
    local_port: Option<u16>,
    /// Whose keys a listener uses: its own (true) or those of its namespace; `null` where nobody could look.
    own: Option<bool>,
    /// `null`: there is none yet, or nobody could look.
    primary: Option<Fingerprint>,
    backup: Option<Fingerprint>,
}

/// Namespaces, and listeners.
pub fn status(found: &Found) -> anyhow::Result<String> {
    let show = |keys: Option<Keys>| {
        let primary = keys.map(|keys| keys.primary.fingerprint(&found.salt));
        let backup = keys
            .and_then(|keys| keys.backup)
            .map(|key| key.fingerprint(&found.salt));
        (primary, backup)
    };
    let places = found.places.iter().map(|(netns, keys)| {
        let (primary, backup) = show(*keys);
        Line {
            schema: SCHEMA,
            r#type: "key",
            id: netns.inode.to_string(),
            netns: netns.inode,
            netns_name: netns.name.as_deref(),
            scope: "namespace",
            local_addr: None,
            local_port: None,
            own: None,
            primary,
            backup,
        }
    });
    let listeners = found.listeners.iter().map(|(own, listener)| {
        let keys = match own {
            Ok(Some(keys)) => Some(*keys),
            Ok(None) => found.of(&listener.netns),
            Err(_) => None,
        };
        let (primary, backup) = show(keys);
        Line {
            schema: SCHEMA,
            r#type: "key",
            id: listener.id(),
            netns: listener.netns.inode,
            netns_name: listener.netns.name.as_deref(),
            scope: "listener",
            local_addr: Some(listener.address.ip()),
            local_port: Some(listener.address.port()),
            own: own.as_ref().ok().map(Option::is_some),
            primary,
            backup,
        }
    });
    lines(places.chain(listeners))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::keys_text::tests::found;

    #[test]
    fn one_object_per_line() {
        insta::assert_snapshot!(status(&found()).expect("plain values"));
    }
}
