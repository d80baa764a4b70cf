//! Compares `analyze` with `trace`, flow by flow: the same connections as tcpdump captured them and as the kernel saw them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Family},
    lab::{self, Lab},
    scenario::{Params, Run, Scenario},
};

use crate::support::{
    BINARY, NO_CONFIG,
    flow::{Flow, Role},
    needs_kernel, needs_programs, no_problems,
    sandbox::Sandbox,
    tcpdump, wait_until,
};

/// Labs working in parallel: most scenarios wait for the kernel's SYN timer.
const LABS: usize = 6;
/// A port nobody uses: the datagram to it is the last packet of a capture.
const MARK: u16 = 64_001;

/// Where a capture on the client's device must differ from the kernel's own account: which end, what `trace` says,
/// what `analyze` says, and why. Every line must occur, and nothing else may.
const DIFFERENCES: &[(Role, &str, &str, &str)] = &[
    (
        Role::Client,
        "paused",
        "plain",
        "a bare SYN does not say what the application asked for",
    ),
    (
        Role::Client,
        "local-drop",
        "cookie-granted",
        "the data never reached the wire, the request for a cookie did",
    ),
    (
        Role::Client,
        "cookie-refused",
        "cookie-granted",
        "the cookie was taken out of the answer behind the capture",
    ),
    (
        Role::Client,
        "failed",
        "?capture-end",
        "the application gave up, which sends no packet, and the capture ended",
    ),
    (
        Role::Server,
        "plain",
        "?listener-state",
        "the path dropped the first SYN behind the capture",
    ),
    (
        Role::Server,
        "not-enabled",
        "?listener-state",
        "off, full and SYN cookies look alike",
    ),
    (
        Role::Server,
        "queue-overflow",
        "?listener-state",
        "off, full and SYN cookies look alike",
    ),
    (
        Role::Server,
        "syncookie",
        "?listener-state",
        "off, full and SYN cookies look alike",
    ),
    (
        Role::Server,
        "option-stripped",
        "?listener-state",
        "the option was taken out behind the capture",
    ),
    (
        Role::Server,
        "cookie-granted",
        "?listener-state",
        "the cookie was taken out, or its answer was lost, before the capture",
    ),
    (
        Role::Server,
        "accepted",
        "?listener-state",
        "without data nothing shows that a child was made from the SYN",
    ),
];

/// tcpdump on the client's device of a lab.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    fn start(lab: &Lab, file: PathBuf) -> Result<Self> {
        let args = [OsStr::new("-U"), OsStr::new("-w"), file.as_os_str()];
        let child = tcpdump::start(lab, &args)?;
        Ok(Self { child, file })
    }

    /// Waits until what was sent by now is in the file, and ends it.
    fn stop(mut self, lab: &Lab) -> Result<PathBuf> {
        const LAST: &[u8] = b"the last packet of this capture";
        let written = |file: &Path| -> bool {
            fs::read(file).is_ok_and(|bytes| bytes.windows(LAST.len()).any(|window| window == LAST))
        };
        wait_until("tcpdump to write the last packet", || {
            let sent = lab.in_client(|| {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                // What nobody listens for is answered by an ICMP error, which is no error of this.
                let _ = socket.send_to(LAST, SocketAddr::new(lab::server_v4(0), MARK));
                Ok(())
            });
            Ok(sent.is_ok() && written(&self.file))
        })?;
        let id = i32::try_from(self.child.id()).context("process id")?;
        kill(Pid::from_raw(id), Signal::SIGINT).context("SIGINT to tcpdump")?;
        self.child.wait().context("waiting for tcpdump")?;
        Ok(self.file.clone())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `trace` or `analyze` reports about one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EndReport {
    /// Name of the outcome, or `?` and the name of what a capture does not tell.
    outcome: String,
    option_sent: String,
    /// 34 or 254; `None` without an option.
    option_kind: Option<u64>,
    syn_data_len: u64,
    /// `None` for a server.
    client: Option<ClientReport>,
}

/// What only the client's end has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClientReport {
    syn_data_acked: u64,
    cookie_received: bool,
    syn_retrans: u64,
}

/// Inode of the client's namespace, role, address of the client, address of the server.
type Key = (u64, &'static str, SocketAddr, SocketAddr);

#[test]
fn captures_say_what_the_kernel_says() -> Result<()> {
    needs_kernel!();
    needs_programs!("tcpdump");
    let sandbox = Sandbox::enter()?;
    let folder = std::env::temp_dir().join(format!("tfo-captures-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let trace = sandbox.trace(&["--all", "--ttfb-wait", "20s"])?;
    let runs = run_everything(&folder);
    let traced = trace.stop()?.complete_records()?.0;
    let compared = runs.and_then(|runs| compare(&runs, &traced));
    fs::remove_dir_all(&folder)?;
    let (problems, seen) = compared?;
    println!(
        "{}",
        Vec::from_iter(seen).join(
            "
"
        )
    );
    no_problems(&problems)
}

/// One lab's runs and what was captured meanwhile.
struct Recorded {
    runs: Vec<Run>,
    file: PathBuf,
}

/// Plays all scenarios in both families, in labs side by side, each beside a tcpdump.
fn run_everything(folder: &Path) -> Result<Vec<Recorded>> {
    let params = [Family::V4, Family::V6].map(|family| Params {
        family,
        api: Api::MsgFastopen,
        blocking: true,
        first_port: None,
    });
    let jobs: Vec<(Scenario, Params)> = Scenario::ALL
        .iter()
        .flat_map(|scenario| params.map(|params| (*scenario, params)))
        .collect();
    let next = AtomicUsize::new(0);
    let recorded = Mutex::new(Vec::new());
    let work = |number: usize| -> Result<()> {
        let mut lab = Lab::up_unique()?;
        let capture = Capture::start(&lab, folder.join(format!("{number}.pcap")))?;
        let mut runs = Vec::new();
        while let Some((scenario, params)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            runs.push(scenario.run(&mut lab, *params)?);
        }
        let file = capture.stop(&lab)?;
        recorded
            .lock()
            .expect("no thread panics with it")
            .push(Recorded { runs, file });
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let work = &work;
        let workers: Vec<_> = (0..LABS)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        for worker in workers {
            worker.join().expect("a lab does not panic")?;
        }
        Ok(())
    })?;
    Ok(recorded.into_inner().expect("no thread panicked with it"))
}

/// Problems, and every difference that was seen.
fn compare(recorded: &[Recorded], traced: &[Flow]) -> Result<(Vec<String>, BTreeSet<String>)> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    let mut met = BTreeSet::new();
    for one in recorded {
        let Some(run) = one.runs.first() else { continue };
        let kernel = of_trace(traced, run);
        let wire = of_capture(&one.file, run.client_netns)?;
        let scenarios: Vec<&str> = one.runs.iter().map(|run| run.scenario).collect();
        for (key, kernel) in &kernel {
            let wire = wire.get(key).map_or(&[][..], Vec::as_slice);
            if kernel.len() != wire.len() {
                problems.push(format!(
                    "{key:?}: {kernel:?}, captured {wire:?}, in one of {scenarios:?}"
                ));
                continue;
            }
            for (kernel, wire) in kernel.iter().zip(wire) {
                let known = DIFFERENCES.iter().position(|(role, kernels, wires, _)| {
                    role_name(*role) == key.1 && *kernels == kernel.outcome && *wires == wire.outcome
                });
                if let Some(line) = known {
                    met.insert(line);
                    seen.insert(format!("{} {} is {}", key.1, kernel.outcome, wire.outcome));
                } else if kernel != wire {
                    problems.push(format!("{key:?}: {kernel:?}, captured {wire:?}"));
                }
            }
        }
    }
    ensure!(!recorded.is_empty(), "nothing was captured");
    let unmet = (0..DIFFERENCES.len()).filter(|line| !met.contains(line));
    problems.extend(unmet.map(|line| format!("no longer different: {:?}", DIFFERENCES[line])));
    Ok((problems, seen))
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// The reports of `trace` by connection, in the order of their verdicts.
fn of_trace(traced: &[Flow], run: &Run) -> BTreeMap<Key, Vec<EndReport>> {
    let mut reports: BTreeMap<Key, Vec<(String, EndReport)>> = BTreeMap::new();
    for flow in traced {
        let (client, server) = match flow.role {
            Role::Client if flow.netns == Some(run.client_netns) => (flow.local(), flow.remote()),
            Role::Server if flow.netns == Some(run.server_netns) => (flow.remote(), flow.local()),
            _ => continue,
        };
        let key = (run.client_netns, role_name(flow.role), client, server);
        let one = EndReport {
            outcome: flow.outcome.clone(),
            option_sent: flow.option_sent.clone(),
            option_kind: flow.option_kind.map(u64::from),
            syn_data_len: flow.syn_data_len as u64,
            client: (flow.role == Role::Client).then(|| ClientReport {
                syn_data_acked: flow.syn_data_acked as u64,
                cookie_received: flow.cookie_received,
                syn_retrans: u64::from(flow.syn_retrans),
            }),
        };
        reports.entry(key).or_default().push((flow.ts.clone(), one));
    }
    in_order(reports)
}

fn in_order(reports: BTreeMap<Key, Vec<(String, EndReport)>>) -> BTreeMap<Key, Vec<EndReport>> {
    let sorted = reports.into_iter().map(|(key, mut all)| {
        all.sort_by(|left, right| left.0.cmp(&right.0));
        (key, all.into_iter().map(|(_, one)| one).collect())
    });
    sorted.collect()
}

/// The reports of `analyze` about a capture.
fn of_capture(file: &Path, client_netns: u64) -> Result<BTreeMap<Key, Vec<EndReport>>> {
    let output = Command::new(BINARY)
        .args(["analyze", "--all", "--format", "json"])
        .arg(file)
        .envs(NO_CONFIG)
        .output()
        .context("tfo-cli analyze: starting it")?;
    ensure!(
        output.status.success(),
        "analyze: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut reports: BTreeMap<Key, Vec<(String, EndReport)>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        if value["type"] != "flow" && value["type"] != "unclassified" {
            continue;
        }
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let end = |side: &str| -> Result<SocketAddr> {
            let port = u16::try_from(value[&format!("{side}_port")].as_u64().context("no port")?)?;
            Ok(SocketAddr::new(text(&format!("{side}_addr")).parse()?, port))
        };
        let is_client = value["role"] == "client";
        let (local, remote) = (end("local")?, end("remote")?);
        let key = if is_client {
            (client_netns, "client", local, remote)
        } else {
            (client_netns, "server", remote, local)
        };
        let number = |field: &str| value[field].as_u64().unwrap_or_default();
        let one = EndReport {
            outcome: value["outcome"]
                .as_str()
                .map_or_else(|| format!("?{}", text("unknown")), str::to_owned),
            option_sent: text("option_sent"),
            option_kind: value["option_kind"].as_u64(),
            syn_data_len: number("syn_data_len"),
            client: is_client.then(|| ClientReport {
                syn_data_acked: number("syn_data_acked"),
                cookie_received: value["cookie_received"].as_bool().unwrap_or_default(),
                syn_retrans: number("syn_retrans"),
            }),
        };
        reports.entry(key).or_default().push((text("ts"), one));
    }
    Ok(in_order(reports))
}
