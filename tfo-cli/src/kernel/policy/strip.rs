//! Attaches the classifier that strips the TFO option from SYNs to the egress of interfaces. It must be in the namespace of
//! the sockets: a packet that crosses into another network namespace has lost its socket.

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

/// The directory of named network namespaces (ip-netns(8)).
const NAMED: &str = "/run/netns";
/// Environment variable with which kernels with TCX are treated as those without, for tests.
const NO_TCX: &str = "TFO_NO_TCX";

/// Attaches the classifier to the interfaces that the user wants. Those that have it already are left alone.
pub fn attach(directory: &Directory, wanted: &Interfaces) -> Result<StripReport, Error> {
    let (id, namespace) = open(wanted.netns.as_deref())?;
    let present = interfaces(&namespace).map_err(Error::io("list interfaces of", id.to_string()))?;
    let chosen: Vec<(&String, u32)> = if wanted.devices.is_empty() {
        let up = present.iter().filter(|(_, found)| found.is_up);
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
        pin_every(directory, id)?;
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

/// Removes the pins of interfaces that are gone, repairs the attachments that others have removed and, where the user
/// wants all interfaces, attaches to those that have come up.
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
            if has_it || every && found.is_up {
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

/// Detaches the classifier from every interface. Returns the names of the pins that have to stay because their filter
/// could not be removed, each with the error.
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
            // The filter of a namespace that is gone is gone, too.
            _ => pins::detach(directory, &pin.name())?,
        }
    }
    for id in pinned.every {
        directory.unpin(&pin::every(id))?;
    }
    Ok(stuck)
}

/// Replaces the classifier on every interface by the one that is pinned as [`pins::PROG_STRIP`].
pub fn replace(directory: &Directory) -> Result<(), Error> {
    let pinned = Pinned::read(directory)?;
    let alive = netns::living(&pinned.namespaces()).map_err(Error::io("look for", "network namespaces"))?;
    for pin in &pinned.pins {
        // A namespace that is gone has no classifier.
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

/// Replaces the program of a pin by the pinned classifier, in one step.
fn repin(directory: &Directory, name: &str) -> io::Result<()> {
    let next = directory.pin(pins::NEXT);
    program(directory)?.pin(&next).map_err(refused)?;
    fs::rename(next, directory.pin(name))
}

/// The namespaces in which every interface is to have the classifier. Only names of pins are read, which needs no lock.
pub fn followed(directory: &Path) -> Vec<Id> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| pin::parse_every(&entry.file_name().to_string_lossy()))
        .collect()
}

/// Ignores the error of an interface that has vanished meanwhile, where every interface is meant: those of containers
/// come and go all the time.
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

/// The attachments that are pinned.
struct Pinned {
    /// Interfaces with the classifier.
    pins: Vec<Pin>,
    /// Namespaces in which every interface is to have it.
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

    /// All namespaces with an attachment, or in which every interface is meant.
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

    /// Attaches the classifier to an interface, or repairs the attachment that is there.
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
            None if env::var_os(NO_TCX).is_none() && tcx::is_supported(name) => {
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

/// Makes the pin which says that every interface of a namespace is meant.
fn pin_every(directory: &Directory, netns: Id) -> Result<(), Error> {
    let path = directory.pin(&pin::every(netns));
    if path.exists() {
        return Ok(());
    }
    program(directory)
        .and_then(|mut program| program.pin(&path).map_err(refused))
        .map_err(Error::io("pin", path.display().to_string()))
}

/// The pinned classifier.
fn program(directory: &Directory) -> io::Result<SchedClassifier> {
    let path = directory.pin(pins::PROG_STRIP);
    if !path.exists() {
        return Err(io::Error::other("this kernel refused to load it"));
    }
    SchedClassifier::from_pin(path).map_err(refused)
}

/// An error of aya as an I/O error, with its causes.
fn refused(error: impl std::error::Error) -> io::Error {
    io::Error::other(observer::chain(&error))
}

/// Opens a network namespace by the name, path, inode or process id that the user gave; `None` for that of this process.
fn open(wanted: Option<&str>) -> Result<(Id, File), Error> {
    if let Some(inode) = wanted.and_then(netns::named_inode) {
        let fail = |why: String| Error::Interface {
            what: format!("network namespace {inode}"),
            why,
        };
        let found = netns::all().remove(&inode);
        let file =
            found.ok_or_else(|| fail("no process, thread or name leads to one of this inode".into()))?;
        let id = netns::id(&file).map_err(|error| fail(error.to_string()))?;
        return Ok((id, file));
    }
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
    // A file that is no namespace is refused here, before anything is changed.
    Ok((netns::id(&file).map_err(fail)?, file))
}

/// An interface of a network namespace.
struct Interface {
    index: u32,
    is_up: bool,
}

/// Interfaces of a namespace, by name.
fn interfaces(namespace: &File) -> io::Result<BTreeMap<String, Interface>> {
    netns::inside(namespace, || {
        let mut found = BTreeMap::new();
        // One entry per address; a name with a colon is a label of an address (ip-address(8)), not an interface.
        for entry in getifaddrs()?.filter(|entry| !entry.interface_name.contains(':')) {
            if let Ok(index) = if_nametoindex(&*entry.interface_name) {
                let is_up = entry.flags.contains(InterfaceFlags::IFF_UP);
                found.insert(entry.interface_name, Interface { index, is_up });
            }
        }
        Ok(found)
    })
}
