//! Names of the pins that say where the classifier is.
//!
//! ```text
//! every-<netns>                  it is to be on every interface of this namespace, now and later (the program)
//! tcx-<netns>-<interface>        it is on this one (the link)
//! clsact-<own|shared>-<netns>-<interface>   the same before Linux 6.6 (the program)
//! ```
//! A namespace is written as `<inode>-<cookie>`, an interface as its index.

use std::str::FromStr;

use super::super::{
    super::netns::Id,
    pins::{CLSACT, EVERY, TCX},
};

/// How it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A link that lives with its pin (Linux 6.6).
    Tcx,
    /// A filter, which lives with its interface.
    Clsact {
        /// The discipline it hangs on was made for it.
        own: bool,
    },
}

/// Where it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// How.
    pub how: How,
    /// The network namespace.
    pub netns: Id,
    /// Index of the interface.
    pub index: u32,
}

impl Pin {
    /// Name of the pin.
    pub fn name(self) -> String {
        let how = match self.how {
            How::Tcx => TCX.to_owned(),
            How::Clsact { own: true } => format!("{CLSACT}own-"),
            How::Clsact { own: false } => format!("{CLSACT}shared-"),
        };
        format!("{how}{}-{}", written(self.netns), self.index)
    }

    /// The other way.
    pub fn parse(name: &str) -> Option<Self> {
        let (how, rest) = if let Some(rest) = name.strip_prefix(TCX) {
            (How::Tcx, rest)
        } else {
            let rest = name.strip_prefix(CLSACT)?;
            if let Some(rest) = rest.strip_prefix("own-") {
                (How::Clsact { own: true }, rest)
            } else {
                (How::Clsact { own: false }, rest.strip_prefix("shared-")?)
            }
        };
        let (netns, index) = rest.rsplit_once('-')?;
        Some(Self {
            how,
            netns: read(netns)?,
            index: number(index)?,
        })
    }

    /// Whether two are about one interface.
    pub fn is_at(self, netns: Id, index: u32) -> bool {
        (self.netns, self.index) == (netns, index)
    }
}

/// Name of the pin for every interface of a namespace.
pub fn every(netns: Id) -> String {
    format!("{EVERY}{}", written(netns))
}

/// The namespace it is for.
pub fn parse_every(name: &str) -> Option<Id> {
    read(name.strip_prefix(EVERY)?)
}

fn written(netns: Id) -> String {
    format!("{}-{}", netns.inode, netns.cookie)
}

fn read(text: &str) -> Option<Id> {
    let (inode, cookie) = text.split_once('-')?;
    Some(Id {
        inode: number(inode)?,
        cookie: number(cookie)?,
    })
}

/// Only the digits we write: `parse` takes a sign, too.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::super::pins, *};

    fn how() -> impl Strategy<Value = How> {
        let clsact = any::<bool>().prop_map(|own| How::Clsact { own });
        prop_oneof![Just(How::Tcx), clsact]
    }

    proptest! {
        #[test]
        fn pins_are_named_for_what_they_are(how in how(), inode: u32, cookie: u64, index: u32) {
            let netns = Id { inode, cookie };
            let pin = Pin { how, netns, index };
            prop_assert_eq!(Pin::parse(&pin.name()), Some(pin));
            prop_assert!(pins::is_ours(&pin.name()));
            prop_assert_eq!(parse_every(&every(netns)), Some(netns));
            prop_assert!(pins::is_ours(&every(netns)) && Pin::parse(&every(netns)).is_none());
        }

        #[test]
        fn any_name_is_safe(name in "(tcx-|clsact-(own-|shared-)?|every-)?[a-z0-9+-]{0,20}") {
            if let Some(pin) = Pin::parse(&name) {
                prop_assert_eq!(Pin::parse(&pin.name()), Some(pin));
            }
            if let Some(netns) = parse_every(&name) {
                prop_assert_eq!(parse_every(&every(netns)), Some(netns));
            }
        }
    }
}
