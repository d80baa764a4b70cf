//! `tfo-cli keys`: shows keys as fingerprints, and rotates them.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::Path,
};

use super::cookies::{failure, tell};
use crate::{
    args::{KeySource, KeysConfig, ListFormat, RotateStep},
    exit::{self, Failure},
    fingerprint::Salt,
    inspect::{
        keys::{Key, Keys, Step, next},
        listeners::Listener,
    },
    kernel::{self, keys, listening_socket::ListeningSocket, places::Places},
    model::diagnosis::host_facts::{HostFact, KeyInUse},
    output::{
        self, keys_json,
        keys_text::{self, Found},
    },
};

/// Runs the command.
pub fn run(config: &KeysConfig) -> Result<u8, Failure> {
    match config {
        KeysConfig::Status { format, salt, netns } => {
            let salt = match salt {
                Some(text) => Salt::of_text(text),
                None => kernel::boot_salt().map_err(|error| failure(&error))?,
            };
            status(*format, &salt, netns.as_deref())
        }
        KeysConfig::Rotate { step, netns } => rotate(step, netns.as_deref()),
    }
}

fn status(format: ListFormat, salt: &Salt, netns: Option<&str>) -> Result<u8, Failure> {
    let places = Places::wanted(netns).map_err(|error| failure(&error))?;
    let (found, unseen) = places.each(|_| keys::read());
    let listeners = with_queue(&places);
    let found = Found {
        salt: *salt,
        places: found,
        listeners: listeners.into_iter().map(|one| (own_keys(&one), one)).collect(),
    };
    output::print(&match format {
        ListFormat::Text => keys_text::status(&found),
        ListFormat::Json => keys_json::status(&found)?,
    })?;
    if found.places.is_empty() {
        return Err(Failure::new(exit::MISSING, format!("keys: {unseen}"))
            .hint("net.ipv4.tcp_fastopen_key is for root only: sudo tfo-cli keys"));
    }
    tell(&unseen)
}

/// Listening sockets that give cookies.
fn with_queue(places: &Places) -> Vec<Listener> {
    let (mut listeners, _) = kernel::listeners::all(places);
    listeners.retain(|listener| listener.limit > 0);
    kernel::listeners::with_holders(&mut listeners);
    listeners
}

/// The keys that cookies of this host are made with, as fingerprints: of every network namespace in which a listener uses
/// those of the namespace, and of every listener with keys of its own. The reason where none could be read.
pub(super) fn in_use(salt: &Salt) -> HostFact<Vec<KeyInUse>> {
    let Ok(places) = Places::wanted(None) else {
        return Err("the network namespaces could not be listed");
    };
    let (found, unseen) = places.each(|_| keys::read());
    if found.is_empty() && !unseen.failed.is_empty() {
        return Err("net.ipv4.tcp_fastopen_key is for root only");
    }
    let of_namespace: HashMap<u32, Keys> = found
        .into_iter()
        .filter_map(|(netns, keys)| Some((netns.inode, keys?)))
        .collect();
    let mut told = BTreeSet::new();
    let mut in_use = Vec::new();
    for listener in with_queue(&places) {
        let netns = listener.netns.inode;
        let (port, keys) = match own_keys(&listener) {
            // The kernel gives what the listener uses, its own or those of the namespace.
            Ok(Some(own)) if of_namespace.get(&netns) != Some(&own) => (Some(listener.address.port()), own),
            _ => match of_namespace.get(&netns) {
                Some(keys) => (None, *keys),
                None => continue,
            },
        };
        if told.insert((netns, port)) {
            in_use.push(KeyInUse {
                netns,
                port,
                primary: keys.primary.fingerprint(salt).to_string(),
                backup: keys.backup.map(|key| key.fingerprint(salt).to_string()),
            });
        }
    }
    Ok(in_use)
}

/// Keys a listener was given by its application; `Ok(None)` where it uses those of its namespace.
fn own_keys(listener: &Listener) -> io::Result<Option<Keys>> {
    let socket = ListeningSocket::open(listener.inode, &listener.holders)?;
    Ok(Keys::of_listener(&socket.keys()?))
}

fn rotate(step: &RotateStep, netns: Option<&str>) -> Result<u8, Failure> {
    let own = format!("/proc/{}/ns/net", std::process::id());
    let places = Places::named(netns.unwrap_or(&own)).map_err(|error| failure(&error))?;
    let salt = kernel::boot_salt().map_err(|error| failure(&error))?;
    let Some(place) = places.places.first() else {
        return Err(Failure::new(
            exit::FAILED,
            "keys rotate: the network namespace is gone",
        ));
    };
    let fail = |what: &str, error: &io::Error| {
        let failed = Failure::new(
            exit::FAILED,
            format!(
                "{what} net.ipv4.tcp_fastopen_key in netns {}: {error}",
                place.netns
            ),
        );
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure {
                code: exit::MISSING,
                ..failed
            }
            .hint("run it as root: sudo tfo-cli keys rotate ..."),
            _ => failed,
        }
    };
    let before = place.run(keys::read).map_err(|error| fail("read", &error))?;
    // A step that is refused leaves no file behind: a key is kept only when it is to be used.
    let (step, keep) = resolve(step)?;
    let after = next(before, step).map_err(|why| {
        Failure::new(
            exit::FAILED,
            format!("keys rotate in netns {}: {why}", place.netns),
        )
        .hint("see `tfo-cli keys status`; --step drop forgets the backup, --key FILE promotes it")
    })?;
    let Some(after) = after else {
        output::print(&keys_text::unchanged(&place.netns, before, &salt))?;
        return Ok(exit::DONE);
    };
    if let Some((path, key)) = keep {
        keys::store(path, key).map_err(|error| Failure::usage("--new-key", path.display(), error))?;
    }
    place
        .run(|| keys::write(after))
        .map_err(|error| fail("write", &error))?;
    output::print(&keys_text::rotated(&place.netns, before, after, step, &salt))?;
    for listener in with_queue(&places) {
        if let Ok(Some(_)) = own_keys(&listener) {
            output::complain(&keys_text::not_affected(&listener))?;
        }
    }
    Ok(exit::DONE)
}

/// A new key, and the file it is to be kept in.
type Kept<'a> = (&'a Path, Key);

/// The step with its key, and the file a new one is to be kept in.
fn resolve(step: &RotateStep) -> Result<(Step, Option<Kept<'_>>), Failure> {
    let random =
        || keys::random().map_err(|error| Failure::new(exit::FAILED, format!("/dev/urandom: {error}")));
    let (source, is_promotion) = match step {
        RotateStep::Drop => return Ok((Step::Drop, None)),
        RotateStep::Swap => return Ok((Step::Swap, None)),
        RotateStep::Prepare(source) => (source, false),
        RotateStep::Promote(source) => (source, true),
    };
    let (key, is_new, keep) = match source {
        KeySource::Random => (random()?, true, None),
        KeySource::File(path) => {
            let key = keys::load(path).map_err(|error| Failure::usage("--key", path.display(), error))?;
            (key, false, None)
        }
        KeySource::New(path) => {
            let key = random()?;
            (key, true, Some((path.as_path(), key)))
        }
    };
    let step = if is_promotion {
        Step::Promote(key, is_new)
    } else {
        Step::Prepare(key)
    };
    Ok((step, keep))
}
