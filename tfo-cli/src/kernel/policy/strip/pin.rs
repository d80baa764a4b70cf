//! Names of the pins that record where the classifier is attached.
//!
//! ```text
//! every-<netns>                  every interface of this namespace is meant, now and later (pins the program)
//! tcx-<netns>-<interface>        attached to this interface (pins the link)
//! clsact-<own|shared>-<netns>-<interface>   the same before Linux 6.6 (pins the program)
//! ```
//! A namespace is written as `<inode>-<cookie>`, an interface as its index.

use std::str::FromStr;

use super::super::{
    super::netns::Id,
    pins::{CLSACT, EVERY, TCX},
};

/// How the classifier is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By a TCX link, which lives as long as its pin (from Linux 6.6 on).
    Tcx,
    /// By a filter of the clsact discipline, which lives as long as its interface.
    Clsact {
        /// Whether we added the discipline.
        own: bool,
    },
}

/// An interface that the classifier is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// How it is attached.
    pub how: How,
    /// The network namespace.
    pub netns: Id,
    /// Index of the interface.
    pub index: u32,
}

impl Pin {
    /// The name of the pin that records it.
    pub fn name(self) -> String {
        let how = match self.how {
            How::Tcx => TCX.to_owned(),
            How::Clsact { own: true } => format!("{CLSACT}own-"),
            How::Clsact { own: false } => format!("{CLSACT}shared-"),
        };
        format!("{how}{}-{}", written(self.netns), self.index)
    }

    /// The attachment that a name records; `None` for any other name.
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

    /// Whether this is the interface with this index in this namespace.
    pub fn is_at(self, netns: Id, index: u32) -> bool {
        (self.netns, self.index) == (netns, index)
    }
}

/// The name of the pin which says that every interface of a namespace is meant.
pub fn every(netns: Id) -> String {
    format!("{EVERY}{}", written(netns))
}

/// The namespace that such a name is about; `None` for any other name.
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

/// A number written with digits only: `parse` would take a sign, too.
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
