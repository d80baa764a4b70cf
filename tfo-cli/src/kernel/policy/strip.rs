//! Where the classifier that takes the TFO option out of SYNs is attached: TCX, egress, per interface of a
//! network namespace. Sockets meet it in their own namespace only: what crosses to another has lost its socket.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, links::FdLink, tc::TcAttachOptions};

use super::{
    super::{netns, programs as observer, sys},
    Error,
    bpffs::Directory,
    pins,
};

/// Where named namespaces are.
const NAMED: &str = "/run/netns";

/// On which interfaces the option is stripped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// A network namespace: its name, a path, or the id of a process in it. `None` is the caller's own.
    pub netns: Option<String>,
    /// Names; none means all that are up, and at every later command those that are up by then.
    pub devices: Vec<String>,
}

/// What changed on interfaces, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripReport {
    /// `lo (netns 4026531840)`.
    pub attached: Vec<String>,
    /// Interfaces that are gone.
    pub gone: usize,
}

/// A pin: how it was asked for, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pin {
    all: bool,
    netns: u32,
    index: u32,
}

impl Pin {
    fn name(self) -> String {
        let kind = if self.all { "all" } else { "dev" };
        format!("{}{kind}-{}-{}", pins::TCX, self.netns, self.index)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut fields = name.strip_prefix(pins::TCX)?.split('-');
        let (kind, netns, index) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self {
            all: match kind {
                "all" => true,
                "dev" => false,
                _ => return None,
            },
            netns: netns.parse().ok()?,
            index: index.parse().ok()?,
        })
        .filter(|_| fields.next().is_none())
    }
}

/// Attaches the classifier where asked. Interfaces that have it already are left alone.
pub fn attach(directory: &Directory, wanted: &Interfaces) -> Result<StripReport, Error> {
    let (inode, namespace) = open(wanted.netns.as_deref())?;
    let present =
        interfaces(&namespace).map_err(Error::io("list interfaces of", format!("netns {inode}")))?;
    let chosen: Vec<(&String, u32)> = if wanted.devices.is_empty() {
        let up = present.iter().filter(|(_, found)| found.up);
        up.map(|(name, found)| (name, found.index)).collect()
    } else {
        let find = |name: &String| match present.get_key_value(name) {
            Some((name, found)) => Ok((name, found.index)),
            None => Err(Error::Interface {
                what: format!("interface {name}"),
                why: format!("there is none in netns {inode}"),
            }),
        };
        wanted.devices.iter().map(find).collect::<Result<_, _>>()?
    };
    let mut report = StripReport::default();
    for (name, index) in chosen {
        let pin = Pin {
            all: wanted.devices.is_empty(),
            netns: inode,
            index,
        };
        attach_one(directory, &namespace, name, pin, &mut report)?;
    }
    Ok(report)
}

/// Removes pins of interfaces that are gone, and attaches to those that have come up since, where all were
/// asked for.
pub fn refresh(directory: &Directory) -> Result<StripReport, Error> {
    let mut report = StripReport::default();
    let pinned = pinned(directory)?;
    if pinned.is_empty() {
        return Ok(report);
    }
    let namespaces = netns::all();
    let mut by_netns: BTreeMap<u32, Vec<Pin>> = BTreeMap::new();
    for pin in pinned {
        by_netns.entry(pin.netns).or_default().push(pin);
    }
    for (inode, pins) in by_netns {
        let Some(namespace) = namespaces.get(&inode) else {
            for pin in pins {
                pins::detach(directory, &pin.name())?;
                report.gone += 1;
            }
            continue;
        };
        let present =
            interfaces(namespace).map_err(Error::io("list interfaces of", format!("netns {inode}")))?;
        for pin in &pins {
            if !present.values().any(|found| found.index == pin.index) {
                pins::detach(directory, &pin.name())?;
                report.gone += 1;
            }
        }
        if pins.iter().any(|pin| pin.all) {
            for (name, found) in present.iter().filter(|(_, found)| found.up) {
                let pin = Pin {
                    all: true,
                    netns: inode,
                    index: found.index,
                };
                attach_one(directory, namespace, name, pin, &mut report)?;
            }
        }
    }
    Ok(report)
}

/// Detaches it everywhere.
pub fn detach_all(directory: &Directory) -> Result<(), Error> {
    for pin in pinned(directory)? {
        pins::detach(directory, &pin.name())?;
    }
    Ok(())
}

fn pinned(directory: &Directory) -> Result<Vec<Pin>, Error> {
    let names = directory.names()?.unwrap_or_default();
    Ok(names.iter().filter_map(|name| Pin::parse(name)).collect())
}

fn attach_one(
    directory: &Directory,
    namespace: &File,
    name: &str,
    pin: Pin,
    report: &mut StripReport,
) -> Result<(), Error> {
    let has_it = |all| directory.pin(&Pin { all, ..pin }.name()).exists();
    if has_it(true) || has_it(false) {
        return Ok(());
    }
    let path = directory.pin(&pin.name());
    netns::inside(namespace, || pin_link(directory, name, &path)).map_err(Error::io(
        "attach the option stripper (TCX, Linux 6.6) to",
        format!("{name} (netns {})", pin.netns),
    ))?;
    report.attached.push(format!("{name} (netns {})", pin.netns));
    Ok(())
}

/// Runs inside the namespace.
fn pin_link(directory: &Directory, interface: &str, path: &Path) -> io::Result<()> {
    let other = |error: &dyn std::error::Error| io::Error::other(observer::chain(error));
    let mut program =
        SchedClassifier::from_pin(directory.pin(pins::PROG_STRIP)).map_err(|error| other(&error))?;
    let id = program
        .attach_with_options(
            interface,
            TcAttachType::Egress,
            TcAttachOptions::TcxOrder(LinkOrder::default()),
        )
        .map_err(|error| other(&error))?;
    let link = program.take_link(id).map_err(|error| other(&error))?;
    let link = FdLink::try_from(link).map_err(|error| other(&error))?;
    link.pin(path).map(drop).map_err(|error| other(&error))
}

/// Opens a namespace by what the user calls it.
fn open(wanted: Option<&str>) -> Result<(u32, File), Error> {
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
    let inode = file.metadata().map_err(fail)?.ino();
    // A path that is no namespace is found out here, before anything is changed.
    netns::inside(&file, || Ok(())).map_err(fail)?;
    Ok((u32::try_from(inode).unwrap_or(0), file))
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
        sys::each_interface(|name: &CStr, flags| {
            let index = sys::interface_index(name);
            if index > 0 {
                let up = flags & libc::IFF_UP.unsigned_abs() != 0;
                found.insert(name.to_string_lossy().into_owned(), Interface { index, up });
            }
        })?;
        Ok(found)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pins_are_named_for_what_they_are(all: bool, netns: u32, index: u32) {
            let pin = Pin { all, netns, index };
            prop_assert_eq!(Pin::parse(&pin.name()), Some(pin));
            prop_assert!(pins::is_ours(&pin.name()));
        }

        #[test]
        fn any_name_is_safe(name in "(tcx-)?[a-z0-9-]{0,20}") {
            if let Some(pin) = Pin::parse(&name) {
                prop_assert_eq!(Pin::parse(&pin.name()), Some(pin));
            }
        }
    }
}
