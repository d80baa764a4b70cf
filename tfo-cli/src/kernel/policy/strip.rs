//! On which interfaces the classifier that takes the TFO option out of SYNs is, and on which it is to be: egress, per
//! network namespace. Sockets meet it in their own namespace only: what crosses to another has lost its socket.

mod clsact;
mod pin;
mod tcx;

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::programs::SchedClassifier;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
};

use self::pin::{How, Pin};
use super::{
    super::{
        netns::{self, Id},
        programs as observer,
    },
    Error,
    bpffs::Directory,
    pins,
};
use crate::policy::{Interfaces, StripReport};

/// Where named namespaces are.
const NAMED: &str = "/run/netns";
/// Set in the environment, newer kernels are treated as those before TCX: for tests of that.
const NO_TCX: &str = "TFO_NO_TCX";

/// Attaches the classifier where asked. Interfaces that have it already are left alone.
pub fn attach(directory: &Directory, wanted: &Interfaces) -> Result<StripReport, Error> {
    let (id, namespace) = open(wanted.netns.as_deref())?;
    let present = interfaces(&namespace).map_err(Error::io("list interfaces of", id.to_string()))?;
    let chosen: Vec<(&String, u32)> = if wanted.devices.is_empty() {
        let up = present.iter().filter(|(_, found)| found.up);
        up.map(|(name, found)| (name, found.index)).collect()
    } else {
        let find = |name: &String| match present.get_key_value(name) {
            Some((name, found)) => Ok((name, found.index)),
            None => Err(Error::Interface {
                what: format!("interface {name}"),
                why: format!("there is none in {id}"),
            }),
        };
        wanted.devices.iter().map(find).collect::<Result<_, _>>()?
    };
    if wanted.devices.is_empty() {
        remember(directory, id)?;
    }
    let pinned = Pinned::read(directory)?;
    let mut report = StripReport::default();
    for (name, index) in chosen {
        let attached = pinned.attach(directory, (id, &namespace), (name, index), &mut report);
        if wanted.devices.is_empty() {
            unless_gone(attached, &namespace, index)?;
        } else {
            attached?;
        }
    }
    Ok(report)
}

/// Removes pins of interfaces that are gone, and attaches to those that have come up since, where all were asked
/// for.
pub fn refresh(directory: &Directory) -> Result<StripReport, Error> {
    let mut report = StripReport::default();
    let pinned = Pinned::read(directory)?;
    let ids = pinned.namespaces();
    let alive = match netns::living(&ids) {
        Ok(alive) => alive,
        Err(error) => {
            report
                .failed
                .push(format!("look for network namespaces: {error}"));
            return Ok(report);
        }
    };
    for id in ids {
        let Some(namespace) = alive.get(&id) else {
            for pin in pinned.of(id) {
                directory.unpin(&pin.name())?;
                report.gone += 1;
            }
            directory.unpin(&pin::every(id))?;
            continue;
        };
        let present = interfaces(namespace).map_err(Error::io("list interfaces of", id.to_string()))?;
        for pin in pinned.of(id) {
            if !present.values().any(|found| found.index == pin.index) {
                directory.unpin(&pin.name())?;
                report.gone += 1;
            }
        }
        let every = pinned.every.contains(&id);
        for (name, found) in &present {
            let has_it = pinned.at(id, found.index).is_some();
            if has_it || every && found.up {
                let attached = pinned.attach(directory, (id, namespace), (name, found.index), &mut report);
                match unless_gone(attached, namespace, found.index) {
                    Ok(()) => report.places.push(format!("{name} ({id})")),
                    Err(error) => report.failed.push(error.to_string()),
                }
            }
        }
    }
    Ok(report)
}

/// Detaches it everywhere it can. Returns the pins that have to stay because their filter could not be removed, and why.
pub fn detach_all(directory: &Directory) -> Result<Vec<(String, Error)>, Error> {
    let pinned = Pinned::read(directory)?;
    let is_filter = |pin: &&Pin| pin.how != How::Tcx;
    let filtered: Vec<Id> = pinned
        .pins
        .iter()
        .filter(is_filter)
        .map(|pin| pin.netns)
        .collect();
    let alive = netns::living(&filtered).map_err(Error::io("look for", "network namespaces"))?;
    let mut stuck = Vec::new();
    for pin in &pinned.pins {
        match alive.get(&pin.netns) {
            Some(namespace) if is_filter(&pin) => {
                let detached =
                    netns::inside(namespace, || clsact::detach(directory, *pin)).map_err(Error::io(
                        "detach the option stripper (clsact) from",
                        format!("interface {} ({})", pin.index, pin.netns),
                    ));
                match detached {
                    Ok(()) => directory.unpin(&pin.name())?,
                    Err(error) => stuck.push((pin.name(), error)),
                }
            }
            // A filter of a namespace that is gone went with it.
            _ => pins::detach(directory, &pin.name())?,
        }
    }
    for id in pinned.every {
        directory.unpin(&pin::every(id))?;
    }
    Ok(stuck)
}

/// Puts the classifier that is pinned as [`pins::PROG_STRIP`] in the place of the one before, everywhere.
pub fn replace(directory: &Directory) -> Result<(), Error> {
    let pinned = Pinned::read(directory)?;
    let alive = netns::living(&pinned.namespaces()).map_err(Error::io("look for", "network namespaces"))?;
    for pin in &pinned.pins {
        // What is gone has no classifier.
        let Some(namespace) = alive.get(&pin.netns) else {
            continue;
        };
        netns::inside(namespace, || match pin.how {
            How::Tcx => tcx::replace(directory, &directory.pin(&pin.name())),
            How::Clsact { .. } => clsact::replace(directory, *pin),
        })
        .map_err(Error::io(
            "replace the option stripper of",
            format!("interface {} ({})", pin.index, pin.netns),
        ))?;
    }
    for id in pinned.every {
        repin(directory, &pin::every(id)).map_err(Error::io("pin", pin::every(id)))?;
    }
    Ok(())
}

/// Lets a pin hold the new program; at no time is there none.
fn repin(directory: &Directory, name: &str) -> io::Result<()> {
    let next = directory.pin(pins::NEXT);
    program(directory)?.pin(&next).map_err(refused)?;
    fs::rename(next, directory.pin(name))
}

/// Namespaces in which it is to be on every interface. Reads names only, so that those who look need no lock.
pub fn followed(directory: &Path) -> Vec<Id> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| pin::parse_every(&entry.file_name().to_string_lossy()))
        .collect()
}

/// Where every interface is meant, one that went meanwhile is no error: those of containers come and go all the
/// time.
fn unless_gone(attached: Result<(), Error>, namespace: &File, index: u32) -> Result<(), Error> {
    let is_there = || {
        let list = interfaces(namespace).unwrap_or_default();
        list.values().any(|found| found.index == index)
    };
    match attached {
        Err(_) if !is_there() => Ok(()),
        result => result,
    }
}

/// What the pins say.
struct Pinned {
    pins: Vec<Pin>,
    every: Vec<Id>,
}

impl Pinned {
    fn read(directory: &Directory) -> Result<Self, Error> {
        let names = directory.names()?.unwrap_or_default();
        Ok(Self {
            pins: names.iter().filter_map(|name| Pin::parse(name)).collect(),
            every: names.iter().filter_map(|name| pin::parse_every(name)).collect(),
        })
    }

    /// Namespaces that any of them speaks of.
    fn namespaces(&self) -> Vec<Id> {
        let mut ids = self.every.clone();
        ids.extend(self.pins.iter().map(|pin| pin.netns));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn of(&self, netns: Id) -> impl Iterator<Item = &Pin> {
        self.pins.iter().filter(move |pin| pin.netns == netns)
    }

    fn at(&self, netns: Id, index: u32) -> Option<Pin> {
        self.pins.iter().copied().find(|pin| pin.is_at(netns, index))
    }

    /// Attaches to an interface, or makes sure that it still is.
    fn attach(
        &self,
        directory: &Directory,
        (netns, namespace): (Id, &File),
        (name, index): (&str, u32),
        report: &mut StripReport,
    ) -> Result<(), Error> {
        let there = self.at(netns, index);
        let place = format!("{name} ({netns})");
        netns::inside(namespace, || match there {
            Some(Pin { how: How::Tcx, .. }) => Ok(()),
            Some(mut pin) => clsact::ensure(directory, name, &mut pin),
            None if env::var_os(NO_TCX).is_none() && tcx::is_there(name) => {
                let pin = Pin {
                    how: How::Tcx,
                    netns,
                    index,
                };
                tcx::attach(directory, name, &directory.pin(&pin.name()))
            }
            None => clsact::attach(directory, name, netns, index),
        })
        .map_err(Error::io("attach the option stripper to", place.clone()))?;
        if there.is_none() {
            report.attached.push(place);
        }
        Ok(())
    }
}

/// Pins what says that every interface of a namespace is meant.
fn remember(directory: &Directory, netns: Id) -> Result<(), Error> {
    let path = directory.pin(&pin::every(netns));
    if path.exists() {
        return Ok(());
    }
    program(directory)
        .and_then(|mut program| program.pin(&path).map_err(refused))
        .map_err(Error::io("pin", path.display().to_string()))
}

/// The pinned program.
fn program(directory: &Directory) -> io::Result<SchedClassifier> {
    let path = directory.pin(pins::PROG_STRIP);
    if !path.exists() {
        return Err(io::Error::other("this kernel refused to load it"));
    }
    SchedClassifier::from_pin(path).map_err(refused)
}

/// An error of aya with its causes.
fn refused(error: impl std::error::Error) -> io::Error {
    io::Error::other(observer::chain(&error))
}

/// Opens a namespace by what the user calls it.
fn open(wanted: Option<&str>) -> Result<(Id, File), Error> {
    let path: PathBuf = match wanted {
        None => "/proc/self/ns/net".into(),
        Some(path) if path.contains('/') => path.into(),
        Some(pid) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("/proc/{pid}/ns/net").into()
        }
        Some(name) => Path::new(NAMED).join(name),
    };
    let fail = |error: io::Error| Error::Interface {
        what: format!("network namespace {}", wanted.unwrap_or("of this process")),
        why: format!("{}: {error}", path.display()),
    };
    let file = File::open(&path).map_err(fail)?;
    // A path that is no namespace is found out here, before anything is changed.
    Ok((netns::id(&file).map_err(fail)?, file))
}

/// An interface.
struct Interface {
    index: u32,
    up: bool,
}

/// Interfaces of a namespace, by name.
fn interfaces(namespace: &File) -> io::Result<BTreeMap<String, Interface>> {
    netns::inside(namespace, || {
        let mut found = BTreeMap::new();
        // One entry per address; a name with a colon is a label of an address (ip-address(8)), not an interface.
        for entry in getifaddrs()?.filter(|entry| !entry.interface_name.contains(':')) {
            if let Ok(index) = if_nametoindex(&*entry.interface_name) {
                let up = entry.flags.contains(InterfaceFlags::IFF_UP);
                found.insert(entry.interface_name, Interface { index, up });
            }
        }
        Ok(found)
    })
}
