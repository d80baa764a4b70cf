//! Keys for people: fingerprints only.

use std::io;

use super::{
    aligned::{Heading, table},
    clean, listeners_text,
};
use crate::{
    fingerprint::Salt,
    inspect::{
        keys::{Key, Keys, Step},
        listeners::Listener,
        places::Netns,
    },
};

/// What `keys status` found.
#[derive(Debug)]
pub struct Found {
    /// Of the fingerprints.
    pub salt: Salt,
    /// Keys by namespace; `None` where there is none yet.
    pub places: Vec<(Netns, Option<Keys>)>,
    /// Keys of its own of each listener that gives cookies: `Ok(None)` where it uses those of its namespace.
    pub listeners: Vec<(io::Result<Option<Keys>>, Listener)>,
}

impl Found {
    /// Keys of a namespace.
    pub fn of(&self, netns: &Netns) -> Option<Keys> {
        self.places
            .iter()
            .find(|(place, _)| place.inode == netns.inode)?
            .1
    }
}

/// Namespaces, and below them their listeners.
pub fn status(found: &Found) -> String {
    let headings = [
        Heading::text("NETNS"),
        Heading::text("LISTENER"),
        Heading::text("PROCESS"),
        Heading::text("PRIMARY"),
        Heading::text("BACKUP"),
        Heading::text("KEYS"),
    ];
    let show =
        |key: Option<Key>| key.map_or_else(|| "-".to_owned(), |key| key.fingerprint(&found.salt).to_string());
    let mut rows = Vec::new();
    for (netns, keys) in &found.places {
        let of_place = match keys {
            Some(_) => "of the namespace",
            None => "none yet: no listener has asked for Fast Open",
        };
        rows.push([
            netns.to_string(),
            "-".to_owned(),
            "-".to_owned(),
            show(keys.map(|keys| keys.primary)),
            show(keys.and_then(|keys| keys.backup)),
            of_place.to_owned(),
        ]);
        let here = found
            .listeners
            .iter()
            .filter(|(_, one)| one.netns.inode == netns.inode);
        for (own, listener) in here {
            let (keys, whose) = match own {
                Ok(Some(own)) => (Some(*own), "of its own".to_owned()),
                Ok(None) => (*keys, "of the namespace".to_owned()),
                Err(error) => (None, format!("not looked at: {error}")),
            };
            rows.push([
                netns.to_string(),
                listener.address.to_string(),
                listeners_text::process(listener),
                show(keys.map(|keys| keys.primary)),
                show(keys.and_then(|keys| keys.backup)),
                whose,
            ]);
        }
    }
    if rows.is_empty() {
        String::new()
    } else {
        table(&headings, &rows)
    }
}

/// What a step did, and what comes next.
pub fn rotated(netns: &Netns, before: Option<Keys>, after: Keys, step: Step, salt: &Salt) -> String {
    let then = match step {
        Step::Prepare(_) => {
            "cookies of the new key are taken. When every server of the pool does: tfo-cli keys rotate --key FILE"
        }
        Step::Promote(..) => {
            "new cookies are of the new key, those of the old one are taken. A day later: tfo-cli keys rotate --step drop    \
                              (undo: tfo-cli keys rotate --step swap)"
        }
        Step::Drop => {
            "cookies of the key that was dropped are refused from now on; such clients get a new one at once"
        }
        Step::Swap => "the key that was the backup gives cookies again",
    };
    format!(
        "netns {netns}: {} -> {}\n{then}\n",
        text(before, salt),
        text(Some(after), salt)
    )
}

/// Nothing to do.
pub fn unchanged(netns: &Netns, keys: Option<Keys>, salt: &Salt) -> String {
    format!("netns {netns}: nothing to do: {}\n", text(keys, salt))
}

/// A listener that a rotation does not reach.
pub fn not_affected(listener: &Listener) -> String {
    format!(
        "tfo-cli: {}: it has keys of its own (TCP_FASTOPEN_KEY), which stay as they are; its application rotates them",
        clean(&listeners_text::socket(listener))
    )
}

fn text(keys: Option<Keys>, salt: &Salt) -> String {
    match keys {
        None => "no key".to_owned(),
        Some(Keys {
            primary,
            backup: None,
        }) => format!("primary {}", primary.fingerprint(salt)),
        Some(Keys {
            primary,
            backup: Some(backup),
        }) => format!(
            "primary {} backup {}",
            primary.fingerprint(salt),
            backup.fingerprint(salt)
        ),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::inspect::listeners::tests::listener;

    pub(crate) fn found() -> Found {
        let keys = |primary, backup: Option<u8>| Keys {
            primary: Key([primary; 16]),
            backup: backup.map(|byte| Key([byte; 16])),
        };
        let socket = listener("0.0.0.0:443", 7, 256);
        let other = Netns { inode: 9, name: None };
        Found {
            salt: Salt::of_text("tests"),
            places: vec![(socket.netns.clone(), Some(keys(1, Some(2)))), (other, None)],
            listeners: vec![
                (Ok(None), socket.clone()),
                (Ok(Some(keys(3, None))), listener("[::]:8443", 8, 16)),
                (Err(io::Error::other("EPERM")), listener("0.0.0.0:853", 9, 16)),
            ],
        }
    }

    #[test]
    fn only_fingerprints_are_shown() {
        insta::assert_snapshot!(status(&found()));
    }

    #[test]
    fn a_step_says_what_it_did_and_what_comes_next() {
        let found = found();
        let (netns, keys) = &found.places[0];
        let keys = keys.expect("it has two");
        let step = Step::Promote(keys.primary, false);
        insta::assert_snapshot!(rotated(netns, None, keys, step, &found.salt));
    }
}
