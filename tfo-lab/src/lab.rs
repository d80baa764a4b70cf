//! The lab: the namespaces `tfo-client` and `tfo-server`, joined by a veth pair, removed when dropped.
//!
//! Addresses, the same in every lab, as labs do not see each other:
//! ```text
//! client  10.77.0.1    fd77::1        plus 10.77.0.101.. / fd77::101.. as further clients
//! server  10.77.0.2    fd77::2        service 0
//!         10.77.0.3    fd77::3        service 1, and so on: separate destinations
//! ```

mod stale;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

use crate::{command, guardian::Guardian, netns::Namespace};

/// Number of server addresses, each a destination of its own, that a lab has.
pub const DESTINATIONS: u8 = 16;
/// Number of client addresses beyond the first.
pub const EXTRA_CLIENTS: u8 = 4;
/// Name of both ends of the veth pair, each in its own namespace.
pub const DEVICE: &str = "tfo0";
/// How long the pair may take to come up.
const LINK_DEADLINE: Duration = Duration::from_secs(10);

/// A running lab. Dropping it removes the namespaces and with them everything inside; if this
/// process dies in any other way, a guardian process does the same.
#[derive(Debug)]
pub struct Lab {
    client: Namespace,
    server: Namespace,
    tag: String,
    /// `None` for a lab that another process brought up and will take down.
    guardian: Option<Guardian>,
}

impl Lab {
    /// Brings up a lab whose namespaces are `tfo-client<tag>` and `tfo-server<tag>`.
    ///
    /// A lab of the same name is removed first, and so are labs of processes that no longer run.
    pub fn up(tag: &str) -> Result<Self> {
        stale::remove_orphans();
        remove(tag);
        let guardian = Guardian::over_namespaces(&names(tag))?;
        let [client, server] = names(tag);
        let link = format!(
            "netns add {client}\nnetns add {server}\n\
             link add {DEVICE} netns {client} type veth peer name {DEVICE} netns {server}\n"
        );
        command::run_with_input("ip", &["-batch", "-"], &link)
            .context("lab: creating the namespaces; this needs root and iproute2")?;
        let lab = Self {
            client: Namespace::open_named(&client)?,
            server: Namespace::open_named(&server)?,
            tag: tag.to_owned(),
            guardian: Some(guardian),
        };
        configure(&lab.client, &client_addresses())?;
        configure(&lab.server, &server_addresses())?;
        await_link(&lab.client)?;
        await_link(&lab.server)?;
        Ok(lab)
    }

    /// Brings up a lab under a name no other process or test uses.
    pub fn up_unique() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::up(&format!("-{}-{number}", process::id()))
    }

    /// Uses a lab that is already up, without taking charge of its removal.
    pub fn attach(tag: &str) -> Result<Self> {
        let [client, server] = names(tag);
        Ok(Self {
            client: Namespace::open_named(&client)?,
            server: Namespace::open_named(&server)?,
            tag: tag.to_owned(),
            guardian: None,
        })
    }

    /// Uses the lab called `tag` if it is up, else brings one up.
    pub fn attach_or_up(tag: &str) -> Result<Self> {
        Self::attach(tag).or_else(|_| Self::up(tag))
    }

    /// Leaves the lab behind, for a later [`Lab::attach`] or [`Lab::down`].
    pub fn keep(mut self) {
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss();
        }
    }

    /// Removes the lab called `tag`, whoever brought it up. Returns whether there was one.
    pub fn down(tag: &str) -> bool {
        remove(tag)
    }

    /// The client's namespace.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The server's namespace, which is also where the middlebox sits.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// The end of the names of this lab's namespaces.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Runs `work` inside the client's namespace.
    pub fn in_client<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.client.run(work)
    }

    /// Runs `work` inside the server's namespace.
    pub fn in_server<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.server.run(work)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(guardian) = self.guardian.take() {
            remove(&self.tag);
            guardian.dismiss();
        }
    }
}

/// IPv4 address of service number `index`.
pub fn server_v4(index: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 2 + index).into()
}

/// IPv6 address of service number `index`.
pub fn server_v6(index: u8) -> IpAddr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2 + u16::from(index)).into()
}

/// IPv4 address of client number `index`; 0 is the one that sockets have which are not bound.
pub fn client_v4(index: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, if index == 0 { 1 } else { 100 + index }).into()
}

/// IPv6 address of client number `index`.
pub fn client_v6(index: u8) -> IpAddr {
    let last = if index == 0 { 1 } else { 0x100 + u16::from(index) };
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last).into()
}

/// Why a privileged test cannot run here, or `None` when it can. For `skipped: reason`.
pub fn why_not() -> Option<String> {
    if !Uid::effective().is_root() {
        return Some("needs root (network namespaces)".to_owned());
    }
    let missing = ["ip", "nft"]
        .into_iter()
        .find(|program| !command::is_installed(program))?;
    Some(format!("needs `{missing}` in PATH (Debian: iproute2, nftables)"))
}

fn names(tag: &str) -> [String; 2] {
    [format!("tfo-client{tag}"), format!("tfo-server{tag}")]
}

/// Removes both namespaces; returns whether one existed. The veth pair goes with them.
fn remove(tag: &str) -> bool {
    let mut existed = false;
    for name in names(tag) {
        existed |= stale::remove_namespace(&name);
    }
    existed
}

fn client_addresses() -> Vec<IpAddr> {
    (0..=EXTRA_CLIENTS)
        .flat_map(|index| [client_v4(index), client_v6(index)])
        .collect()
}

fn server_addresses() -> Vec<IpAddr> {
    (0..DESTINATIONS)
        .flat_map(|index| [server_v4(index), server_v6(index)])
        .collect()
}

/// Waits until the device transmits. The kernel activates the end that came up first only some time after its peer came
/// up, and drops packets until then: the first ARP request would be lost, and with it a second of time.
fn await_link(namespace: &Namespace) -> Result<()> {
    let deadline = Instant::now() + LINK_DEADLINE;
    loop {
        let link = namespace.command("ip", &["link", "show", "dev", DEVICE])?;
        if link.contains("state UP") && !link.contains("qdisc noop ") {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{DEVICE} in {}: does not come up: {link}",
            namespace.label()
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Gives a fresh namespace its addresses and switches TFO on.
fn configure(namespace: &Namespace, addresses: &[IpAddr]) -> Result<()> {
    let mut batch = vec!["link set lo up".to_owned(), format!("link set {DEVICE} up")];
    for (index, address) in addresses.iter().enumerate() {
        // `nodad`: an address under duplicate detection cannot be bound for a second.
        let (prefix, nodad) = if address.is_ipv4() {
            (24, "")
        } else {
            (64, "nodad")
        };
        // A deprecated address can be bound but is never chosen: without a bind it is always the
        // first of its family.
        let lifetime = if address.is_ipv4() || index < 2 {
            ""
        } else {
            "preferred_lft 0"
        };
        batch.push(format!(
            "addr add {address}/{prefix} dev {DEVICE} {nodad} {lifetime}"
        ));
    }
    let batch = batch.join("\n") + "\n";
    // Both bits: a namespace starts with client TFO only, whatever the host has.
    namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
    namespace.run(|| command::run_with_input("ip", &["-batch", "-"], &batch).map(drop))
}
