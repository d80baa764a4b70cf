//! `tfo-cli probe`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use crate::{
    exit::{self, Failure},
    probe::{MOST_ATTEMPTS, payload::Protocol, target::Target},
};

/// What the help ends with.
pub(super) const NOTES: &str = "\
Data in a SYN can reach the server twice: the network may duplicate it, and an attacker may replay it (RFC 7413 section 6.1). \
So a probe sends only what does no harm when it is done again: a HEAD, a ClientHello, a DNS question. Take care that the \
same holds for the bytes of --data.

The kernel decides what a SYN carries: with a cookie for the address in its cache, cookie and data; without one, a request \
for a cookie, first with option 34, then with 254. `tfo-cli cookies forget` empties the cache for an address.

Exit codes: 0 Fast Open works; 4 it does not; 1 the probe cannot tell (offline, transient), or something failed; 2 wrong \
usage; 3 a permission or kernel feature is missing.";

/// The options of `tfo-cli probe`, as the user typed them.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct ProbeArgs {
    /// The one destination: HOST:PORT, ADDRESS:PORT or [ADDRESS]:PORT. A name with both families is probed over both.
    #[arg(
        value_name = "HOST:PORT",
        required_unless_present = "serve",
        conflicts_with = "serve"
    )]
    target: Option<String>,
    /// Number of attempts with Fast Open, and as many without, at least 100 ms apart.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "serve")]
    count: u32,
    /// Send the bytes of this file first.
    #[arg(long, value_name = "FILE", group = "payload", conflicts_with = "serve")]
    data: Option<PathBuf>,
    /// Send `HEAD / HTTP/1.1` first (the default for port 80).
    #[arg(long, group = "payload", conflicts_with = "serve")]
    http: bool,
    /// Send a TLS `ClientHello` first (the default for port 443).
    #[arg(long, group = "payload", conflicts_with = "serve")]
    tls: bool,
    /// Send a DNS question first (the default for port 53).
    #[arg(long, group = "payload", conflicts_with = "serve")]
    dns: bool,
    /// Also send hand-made SYNs: with the experimental option 254, with an unassigned option, and with data but no option.
    /// Needs `CAP_NET_RAW`.
    #[arg(long, conflicts_with = "serve")]
    raw: bool,
    /// Also find the two hops between which SYNs with the option, or with data, are lost, by raising the TTL step by step.
    /// Needs `CAP_NET_RAW`.
    #[arg(long, conflicts_with = "serve")]
    locate: bool,
    /// Connect from this local address.
    #[arg(long, value_name = "IP", conflicts_with = "serve")]
    source: Option<IpAddr>,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = ProbeFormat::Text, conflicts_with = "serve")]
    format: ProbeFormat,
    /// Act as the server of a probe: listen on ADDRESS:PORT with Fast Open, and answer every request.
    #[arg(long, value_name = "ADDRESS:PORT")]
    serve: Option<SocketAddr>,
    /// With --serve: length of the Fast Open queue, the maximum number of connections whose handshake is not finished; 0
    /// switches Fast Open off.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "serve")]
    qlen: u32,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeFormat {
    /// For people.
    Text,
    /// One JSON object per line: attempts, then a verdict per address.
    Json,
}

/// What is sent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Bytes of a protocol.
    Protocol(Protocol),
    /// The bytes of a file.
    File(PathBuf),
}

/// What to do.
#[derive(Clone, Debug)]
pub enum ProbeConfig {
    /// Probe a destination.
    Probe {
        /// The destination.
        target: Target,
        /// Attempts of each kind.
        count: u32,
        /// What is sent first.
        payload: Payload,
        /// Our own address.
        source: Option<IpAddr>,
        /// SYNs made by hand, too.
        raw: bool,
        /// Walk the way, too.
        locate: bool,
        /// How results are written.
        format: ProbeFormat,
    },
    /// Serve probes.
    Serve {
        /// Where to listen.
        address: SocketAddr,
        /// Length of the Fast Open queue.
        queue: u32,
    },
}

impl ProbeArgs {
    /// Checks what was typed.
    pub fn resolve(self) -> Result<ProbeConfig, Failure> {
        if let Some(address) = self.serve {
            return Ok(ProbeConfig::Serve {
                address,
                queue: self.qlen,
            });
        }
        let text = self
            .target
            .ok_or_else(|| Failure::new(exit::USAGE, "probe: the destination is missing (HOST:PORT)"))?;
        let target: Target = text
            .parse()
            .map_err(|why| Failure::usage("probe", format!("{text:?}"), why))?;
        if !(1..=MOST_ATTEMPTS).contains(&self.count) {
            return Err(Failure::usage(
                "--count",
                self.count,
                format!("must be from 1 to {MOST_ATTEMPTS}: a probe is no load test"),
            ));
        }
        let payload = match self.data {
            Some(path) => Payload::File(path),
            None if self.http => Payload::Protocol(Protocol::Http),
            None if self.tls => Payload::Protocol(Protocol::Tls),
            None if self.dns => Payload::Protocol(Protocol::Dns),
            None => Payload::Protocol(Protocol::of_port(target.port)),
        };
        Ok(ProbeConfig::Probe {
            target,
            count: self.count,
            payload,
            source: self.source,
            raw: self.raw,
            locate: self.locate,
            format: self.format,
        })
    }
}
