//! `probe --raw` and `--locate` (`CAP_NET_RAW`): three routers in a row, and a middlebox at the door of the second, which is
//! between the first and the second.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
    process::{self, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    command,
    netns::Namespace,
    server::{Listen, Server},
};

use crate::support::{BINARY, NO_CONFIG, needs_lab, wait_until};

/// Client, three routers, server.
const HOPS: usize = 5;

/// A chain of namespaces: `10.81.N.0/24` and `fd81:N::/64` between the N-th and the next, `.1` at the near end.
struct Chain {
    names: Vec<String>,
    hosts: Vec<Namespace>,
}

impl Chain {
    fn up(tag: &str) -> Result<Self> {
        let names: Vec<String> = (0..HOPS)
            .map(|hop| format!("tfo-hop{tag}-{}-{hop}", process::id()))
            .collect();
        let mut batch: Vec<String> = names.iter().map(|name| format!("netns add {name}")).collect();
        for (near, far) in names.iter().zip(&names[1..]) {
            batch.push(format!(
                "link add right netns {near} type veth peer name left netns {far}"
            ));
        }
        let mut chain = Self {
            names,
            hosts: Vec::new(),
        };
        command::run_with_input("ip", &["-batch", "-"], &(batch.join("\n") + "\n"))?;
        for hop in 0..HOPS {
            let host = Namespace::open_named(&chain.names[hop])?;
            for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                host.set_sysctl(&format!("net/{family}"), "1")?;
            }
            // Six messages a second to one peer are not enough for a test that does not wait.
            host.set_sysctl("net/ipv4/icmp_ratelimit", "0")?;
            host.set_sysctl("net/ipv6/icmp/ratelimit", "0")?;
            host.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
            let mut lines = vec!["link set lo up".to_owned()];
            if hop > 0 {
                lines.push("link set left up".to_owned());
                lines.push(format!("addr add 10.81.{}.2/24 dev left", hop - 1));
                lines.push(format!("addr add fd81:{}::2/64 dev left nodad", hop - 1));
            }
            if hop + 1 < HOPS {
                lines.push("link set right up".to_owned());
                lines.push(format!("addr add 10.81.{hop}.1/24 dev right"));
                lines.push(format!("addr add fd81:{hop}::1/64 dev right nodad"));
            }
            host.run(|| {
                command::run_with_input("ip", &["-batch", "-"], &(lines.join("\n") + "\n")).map(drop)
            })?;
            chain.hosts.push(host);
        }
        for hop in 0..HOPS {
            let mut lines = Vec::new();
            for net in 0..HOPS - 1 {
                let near = |family: &str| match (net + 1 < hop, family) {
                    (true, "4") => format!("10.81.{}.1", hop - 1),
                    (true, _) => format!("fd81:{}::1", hop - 1),
                    (false, "4") => format!("10.81.{hop}.2"),
                    (false, _) => format!("fd81:{hop}::2"),
                };
                // Own networks have their routes.
                if net != hop && net + 1 != hop {
                    lines.push(format!("route add 10.81.{net}.0/24 via {}", near("4")));
                    lines.push(format!("-6 route add fd81:{net}::/64 via {}", near("6")));
                }
            }
            let batch = lines.join("\n") + "\n";
            chain.hosts[hop].run(|| {
                for line in batch.lines() {
                    command::run("ip", &line.split(' ').collect::<Vec<_>>())?;
                }
                Ok(())
            })?;
        }
        // The links are up and the neighbours know each other: the first packet of a test is not the one that finds them.
        for address in ["10.81.3.2:9", "[fd81:3::2]:9"] {
            let closed: SocketAddr = address.parse()?;
            wait_until("a way to the server", || {
                chain.hosts[0].run(|| {
                    let tried = TcpStream::connect_timeout(&closed, Duration::from_secs(1));
                    Ok(tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
                })
            })?;
        }
        Ok(chain)
    }

    fn server(&self) -> &Namespace {
        &self.hosts[HOPS - 1]
    }

    /// The second router, with these rules until the result is dropped.
    fn rules(&self, chain: &str) -> Result<Rules<'_>> {
        let router = &self.hosts[2];
        let table = format!("table inet middlebox {{\nchain c {{\n{chain}\n}}\n}}\n");
        router.run(|| command::run_with_input("nft", &["-f", "-"], &table).map(drop))?;
        Ok(Rules(router))
    }

    fn probe(&self, address: SocketAddr, more: &[&str]) -> Result<Vec<Value>> {
        let destination = address.to_string();
        let output = self.hosts[0].run(|| {
            Command::new(BINARY)
                .args(["probe", &destination, "--format", "json", "--count", "3"])
                .args(more)
                .envs(NO_CONFIG)
                .stdin(Stdio::null())
                .output()
                .context("run the probe")
        })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        for flag in more {
            ensure!(
                stderr.contains(&format!("probe {flag}: ")),
                "it says beforehand what it sends: {stderr}"
            );
        }
        let text = String::from_utf8(output.stdout)?;
        let objects: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let last = objects.last().with_context(|| format!("nothing: {stderr}"))?;
        ensure!(last["verdict"].is_string(), "{last}");
        Ok(objects)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was never made is fine.
            let _ = command::run("ip", &["netns", "delete", name]);
        }
    }
}

struct Rules<'a>(&'a Namespace);

impl Drop for Rules<'_> {
    fn drop(&mut self) {
        let _ = self.0.command("nft", &["delete", "table", "inet", "middlebox"]);
    }
}

/// Fate, and the hop after which that is.
type Expected = (&'static str, u64);

const DOOR: &str = "type filter hook prerouting priority raw;\n";
const SYN: &str = "tcp flags & (syn|ack) == syn";

fn object<'a>(objects: &'a [Value], id: &str, syn: &str) -> Result<&'a Value> {
    let found = objects
        .iter()
        .find(|object| object["id"] == id && object["syn"] == syn);
    found.with_context(|| format!("no {id} {syn} in {objects:#?}"))
}

#[test]
fn the_hops_around_the_middlebox_are_named_over_both_families() -> Result<()> {
    needs_lab!();
    let chain = Chain::up("l")?;
    let addresses: [IpAddr; 2] = ["10.81.3.2".parse()?, "fd81:3::2".parse()?];
    for address in addresses {
        let server = Server::start(chain.server(), &Listen::new((address, 0).into()))?;
        let hop = |number: u16| match address {
            IpAddr::V4(_) => format!("10.81.{}.2", number - 1),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd81, number - 1, 0, 0, 0, 0, 0, 2).to_string(),
        };
        // What the middlebox does, and what becomes of SYNs with the option and of those with data: fate, and the hop after
        // which that is.
        let drop_data = format!("{DOOR}{SYN} meta length > 120 drop");
        let drop_option = format!("{DOOR}{SYN} tcp option 34 exists drop");
        let strip = format!("{DOOR}{SYN} tcp option 34 exists reset tcp option 34");
        // On its way through the router, behind the place where the TTL is looked at.
        let reset = format!(
            "type filter hook forward priority filter;\n{SYN} meta length > 120 reject with tcp reset"
        );
        let table: [(Option<&str>, Expected, Expected); 5] = [
            (None, ("arrive", 4), ("arrive", 4)),
            (Some(&drop_data), ("arrive", 4), ("dropped", 1)),
            (Some(&drop_option), ("dropped", 1), ("dropped", 1)),
            (Some(&strip), ("stripped", 1), ("stripped", 1)),
            (Some(&reset), ("arrive", 4), ("reset", 2)),
        ];
        for (rules, option, data) in table {
            let _middlebox = rules.map(|rules| chain.rules(rules)).transpose()?;
            let objects = chain.probe(server.address(), &["--locate"])?;
            let seen: Vec<&Value> = objects.iter().filter(|object| object["id"] == "hop").collect();
            ensure!(seen.len() == 4, "{rules:?}: {objects:#?}");
            for (number, seen) in (1..).zip(seen) {
                ensure!(
                    seen["ttl"] == number && seen["address"] == hop(number).as_str(),
                    "{rules:?}: {seen}"
                );
            }
            for (syn, (fate, after)) in [("option-34", option), ("data", data)] {
                let located = object(&objects, "located", syn)?;
                ensure!(
                    located["fate"] == fate && located["after_ttl"] == after,
                    "{rules:?}: {located}"
                );
                if fate != "arrive" {
                    let number = u16::try_from(after)?;
                    ensure!(
                        located["after_address"] == hop(number).as_str(),
                        "{rules:?}: {located}"
                    );
                    ensure!(
                        located["before_address"] == hop(number + 1).as_str(),
                        "{rules:?}: {located}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_the_kernel_would_not_send_tells_options_from_data() -> Result<()> {
    needs_lab!();
    let chain = Chain::up("r")?;
    for address in ["10.81.3.2".parse::<IpAddr>()?, "fd81:3::2".parse()?] {
        let server = Server::start(chain.server(), &Listen::new((address, 0).into()))?;
        let counts = |objects: &[Value], syn: &str| -> Result<[Option<u64>; 4]> {
            let object = object(objects, "raw", syn)?;
            Ok(["sent", "answered", "cookies", "data_acked"].map(|name| object[name].as_u64()))
        };
        let some = |numbers: [u64; 4]| numbers.map(Some);
        let healthy = chain.probe(server.address(), &["--raw"])?;
        for (syn, wanted) in [
            ("plain", [3, 3, 0, 0]),
            ("option-34", [3, 3, 3, 0]),
            ("option-254", [3, 3, 3, 0]),
            ("unknown-option", [3, 3, 0, 0]),
            // Linux drops data in a SYN without a cookie (`tcp_conn_request`), and answers.
            ("data-without-option", [3, 3, 0, 0]),
        ] {
            ensure!(counts(&healthy, syn)? == some(wanted), "{syn}: {healthy:#?}");
        }
        // A path that drops what it does not know, and one that drops data whatever stands before it.
        let unknown = format!("{DOOR}{SYN} tcp option 253 exists drop\n{SYN} tcp option 254 exists drop");
        {
            let _middlebox = chain.rules(&unknown)?;
            let objects = chain.probe(server.address(), &["--raw"])?;
            ensure!(
                counts(&objects, "unknown-option")? == some([3, 0, 0, 0]),
                "{objects:#?}"
            );
            ensure!(
                counts(&objects, "option-254")? == some([3, 0, 0, 0]),
                "{objects:#?}"
            );
            ensure!(
                counts(&objects, "option-34")? == some([3, 3, 3, 0]),
                "{objects:#?}"
            );
        }
        let _middlebox = chain.rules(&format!("{DOOR}{SYN} meta length > 120 drop"))?;
        let objects = chain.probe(server.address(), &["--raw"])?;
        ensure!(
            counts(&objects, "data-without-option")? == some([3, 0, 0, 0]),
            "{objects:#?}"
        );
        ensure!(counts(&objects, "plain")? == some([3, 3, 0, 0]), "{objects:#?}");
    }
    Ok(())
}

#[test]
fn without_the_right_nothing_is_sent() -> Result<()> {
    needs_lab!();
    let chain = Chain::up("n")?;
    let server = Server::start(chain.server(), &Listen::new("10.81.3.2:0".parse()?))?;
    for flag in ["--raw", "--locate"] {
        let output = chain.hosts[0].run(|| {
            Command::new("setpriv")
                .args([
                    "--bounding-set=-all",
                    "--inh-caps=-all",
                    "--no-new-privs",
                    BINARY,
                    "probe",
                ])
                .args([&server.address().to_string(), flag])
                .output()
                .context("run the probe")
        })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(3) && output.stdout.is_empty(),
            "{output:?}"
        );
        ensure!(
            stderr.contains("missing CAP_NET_RAW") && stderr.contains("sudo"),
            "{stderr}"
        );
    }
    ensure!(server.accepted() == 0, "it connected");
    Ok(())
}
