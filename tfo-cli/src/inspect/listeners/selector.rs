//! The selector of `listeners set`: the sockets that it stands for, and the command that undoes a change.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

use super::{Listener, judge::quoted};

/// A group of sockets, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Sockets bound to this address and port: `203.0.113.5:443`, `[::]:443`.
    Address(SocketAddr),
    /// Sockets bound to this port, whatever the address: `:443`.
    Port(u16),
    /// Sockets of a systemd unit: `unit:nginx`.
    Unit(String),
}

impl FromStr for Selector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let why = "not ADDR:PORT as bound (0.0.0.0:443, [::]:443), :PORT or unit:NAME";
        if let Some(name) = text.strip_prefix("unit:") {
            return if name.is_empty() {
                Err(why)
            } else {
                Ok(Self::Unit(name.to_owned()))
            };
        }
        if let Some(port) = text.strip_prefix(':') {
            // `parse` would accept a sign.
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            return port
                .parse()
                .ok()
                .filter(|port| is_number && *port > 0)
                .map(Self::Port)
                .ok_or(why);
        }
        text.parse().map(Self::Address).map_err(|_| why)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Port(port) => write!(f, ":{port}"),
            Self::Unit(name) => write!(f, "unit:{name}"),
        }
    }
}

impl Selector {
    fn fits(&self, listener: &Listener) -> bool {
        match self {
            Self::Address(address) => listener.address == *address,
            Self::Port(port) => listener.address.port() == *port,
            Self::Unit(name) => listener
                .cgroup
                .as_ref()
                .and_then(|cgroup| cgroup.unit.as_deref())
                .is_some_and(|unit| unit == name || unit.strip_suffix(".service") == Some(name)),
        }
    }

    /// The sockets that the selector stands for. Of a `SO_REUSEPORT` group always all, because the kernel gives a
    /// connection to any of them. `only` keeps those with these inodes, unless it is empty.
    pub fn select<'a>(&self, all: &'a [Listener], only: &[u64]) -> Vec<&'a Listener> {
        let direct: Vec<&Listener> = all.iter().filter(|socket| self.fits(socket)).collect();
        all.iter()
            .filter(|socket| direct.iter().any(|found| found.shares_address(socket)))
            .filter(|socket| only.is_empty() || only.contains(&socket.inode))
            .collect()
    }
}

/// The commands that set queues back to their lengths: one when all had the same, otherwise one for each length, which
/// names its sockets.
pub fn undo(selector: &Selector, netns: Option<&str>, only: &[u64], old: &[(u64, u32)]) -> Vec<String> {
    let mut by_length: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (inode, length) in old {
        by_length.entry(*length).or_default().push(*inode);
    }
    let is_uniform = by_length.len() == 1;
    let netns = netns
        .map(|name| format!(" --netns {}", quoted(name)))
        .unwrap_or_default();
    let commands = by_length.into_iter().map(|(length, inodes)| {
        let named = if is_uniform { only } else { &inodes };
        let sockets = named
            .iter()
            .flat_map(|inode| [" --socket ".to_owned(), inode.to_string()]);
        let sockets: String = sockets.collect();
        let selector = quoted(&selector.to_string());
        format!("tfo-cli listeners set {selector} --qlen {length} --yes{netns}{sockets}")
    });
    commands.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{inspect::listeners::tests::listener, model::cgroup};

    fn selected(text: &str, all: &[Listener]) -> Vec<u64> {
        let selector: Selector = text.parse().expect(text);
        selector
            .select(all, &[])
            .iter()
            .map(|socket| socket.inode)
            .collect()
    }

    #[test]
    fn selectors_mean_what_they_say() {
        let mut all = vec![
            listener("0.0.0.0:443", 1, 0),
            listener("0.0.0.0:443", 2, 0),
            listener("[::]:443", 3, 0),
            listener("127.0.0.1:443", 4, 0),
            listener("0.0.0.0:444", 5, 0),
            listener("0.0.0.0:443", 6, 0),
        ];
        all[5].netns.inode = 2;
        all[4].cgroup = Some(cgroup::parse("/system.slice/app.service"));
        all[1].cgroup = Some(cgroup::parse("/system.slice/other.service"));
        assert_eq!(selected("0.0.0.0:443", &all), [1, 2, 6]);
        assert_eq!(selected("[::]:443", &all), [3]);
        assert_eq!(selected(":443", &all), [1, 2, 3, 4, 6]);
        assert_eq!(selected("unit:app", &all), [5]);
        assert_eq!(selected("unit:app.service", &all), [5]);
        // The other socket of the group comes with it, the one in another namespace does not.
        assert_eq!(selected("unit:other", &all), [1, 2]);
        assert!(selected("unit:ngin", &all).is_empty() && selected("10.0.0.1:443", &all).is_empty());
        let only: Vec<u64> = Selector::Port(443)
            .select(&all, &[2, 5])
            .iter()
            .map(|one| one.inode)
            .collect();
        assert_eq!(only, [2]);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "", "443", ":0", ":+1", ":65536", "unit:", "::443", "*:443", "0.0.0.0", "nginx",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_undo_is_exact() {
        let selector = Selector::Address("[::]:443".parse().expect("an address"));
        assert_eq!(
            undo(&selector, None, &[], &[(1, 0), (2, 0)]),
            ["tfo-cli listeners set '[::]:443' --qlen 0 --yes"]
        );
        assert_eq!(
            undo(&Selector::Port(80), Some("web"), &[], &[(1, 0), (2, 16), (3, 0)]),
            [
                "tfo-cli listeners set :80 --qlen 0 --yes --netns web --socket 1 --socket 3",
                "tfo-cli listeners set :80 --qlen 16 --yes --netns web --socket 2"
            ]
        );
        assert_eq!(
            undo(&Selector::Port(80), None, &[9], &[(9, 5)]),
            ["tfo-cli listeners set :80 --qlen 5 --yes --socket 9"]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_round_trips(text in "\\PC{0,40}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
            }
        }
    }
}
