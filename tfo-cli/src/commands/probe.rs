//! `tfo-cli probe`: one destination with and without Fast Open, or the partner that answers.

mod raw;

use std::{
    fs::File,
    future::Future,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use crate::{
    args::{Payload, ProbeConfig, ProbeFormat},
    exit::{self, Failure},
    fingerprint::Salt,
    kernel::{self, tcp_metrics},
    output::{self, probe_json, probe_text},
    probe::{
        MOST_ATTEMPTS, PAUSE,
        attempt::{Attempt, Carried, Cookie, Step},
        connect::{self, Destination},
        report::Report,
        serve,
        target::{Target, one_of_each_family},
        verdict::Verdict,
    },
    resolver::Resolver,
    runtime,
    signals::{self, Stop},
};

/// Bytes of a file that are sent at most: more than a SYN of any usual link holds.
const MOST_DATA: u64 = 64 * 1024;
/// How long a name may take.
const RESOLVE: Duration = Duration::from_secs(10);
/// Attempts beyond `--count` that may go into getting a cookie: one with option 34, one with 254.
const REQUESTS: u32 = 2;

/// Runs the command.
pub fn run(config: &ProbeConfig) -> Result<u8, Failure> {
    let stop = signals::watch(|| {})?;
    match config {
        ProbeConfig::Serve { address, queue } => serve_until_stopped(*address, *queue, &stop),
        ProbeConfig::Probe {
            target,
            count,
            payload,
            source,
            raw,
            locate,
            format,
        } => {
            let by_hand = raw::Wanted {
                raw: *raw,
                locate: *locate,
                count: *count,
            };
            let destinations = block_on(destinations(target, payload, *source))?;
            by_hand.check(&destinations)?;
            announce(target, &destinations, payload, *count)?;
            by_hand.announce(&destinations)?;
            let mut reports = Vec::new();
            for destination in &destinations {
                let attempts = block_on(attempts(destination, *count, &stop))?;
                let mut report = Report::new(destination.address, attempts);
                by_hand.add(destination, &mut report, &stop)?;
                output::print(&match format {
                    ProbeFormat::Text => probe_text::report(&report),
                    ProbeFormat::Json => probe_json::report(target, &report),
                })?;
                reports.push(report);
            }
            Ok(exit_code(&reports))
        }
    }
}

/// The worst of all addresses.
fn exit_code(reports: &[Report]) -> u8 {
    let verdicts = || reports.iter().map(|report| report.verdict);
    if verdicts().any(Verdict::is_fault) {
        exit::FOUND
    } else if verdicts().all(|verdict| verdict == Verdict::Works) {
        exit::DONE
    } else {
        exit::FAILED
    }
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime::handle()?.block_on(future)
}

/// Resolves the name, once, and makes the bytes to send.
async fn destinations(
    target: &Target,
    payload: &Payload,
    source: Option<IpAddr>,
) -> anyhow::Result<Vec<Destination>> {
    let resolver = Resolver::of_the_system();
    let looked_up = timeout(RESOLVE, resolver.addresses(&target.host)).await;
    let found = looked_up
        .map_err(|_| anyhow::anyhow!("no answer within {} s", RESOLVE.as_secs()))
        .and_then(|found| found.map_err(Into::into))
        .with_context(|| format!("probe {target}: look up the name"))?;
    let found = found.into_iter().map(|ip| SocketAddr::new(ip, target.port));
    let addresses = one_of_each_family(found, source).with_context(|| format!("probe {target}"))?;
    anyhow::ensure!(
        !addresses.is_empty(),
        "probe {target}: the name has no address of the family of --source"
    );
    let payload = match payload {
        Payload::Protocol(protocol) => protocol.bytes(&target.host, random()?),
        Payload::File(path) => read_payload(path)?,
    };
    Ok(addresses
        .into_iter()
        .map(|address| Destination {
            address,
            source,
            payload: payload.clone(),
        })
        .collect())
}

fn read_payload(path: &Path) -> anyhow::Result<Vec<u8>> {
    let what = || format!("probe: read --data {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(what)?
        .take(MOST_DATA + 1)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    anyhow::ensure!(
        !bytes.is_empty(),
        "{}: the file is empty, and a SYN without data shows nothing",
        what()
    );
    anyhow::ensure!(
        bytes.len() as u64 <= MOST_DATA,
        "{}: the file has more than {} KiB",
        what(),
        MOST_DATA / 1024
    );
    Ok(bytes)
}

fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("probe: read /dev/urandom")?;
    Ok(bytes)
}

/// Says beforehand what will be sent, and where.
fn announce(
    target: &Target,
    destinations: &[Destination],
    payload: &Payload,
    count: u32,
) -> Result<(), Failure> {
    let sent = destinations
        .first()
        .map_or(&[][..], |destination| &*destination.payload);
    let bytes = sent.len();
    let what = match payload {
        Payload::Protocol(protocol) => protocol.describe().to_owned(),
        Payload::File(path) => output::clean(&path.display().to_string()),
    };
    for destination in destinations {
        output::complain(&format_args!(
            "tfo-cli: probe {target}: {} gets {count} plain connections and at most {} with Fast Open, each with {bytes} \
             bytes ({what})",
            destination.address,
            fast_open_attempts(count),
        ))?;
    }
    if let Some(looks_like) = not_to_repeat(sent) {
        output::complain(&format_args!(
            "tfo-cli: warning: not-idempotent: what is sent begins like {looks_like}; a SYN can reach the server twice, and \
             then it is done twice (RFC 7413 section 6.1)"
        ))?;
    }
    Ok(())
}

/// What these bytes look like, where they must not be done twice.
fn not_to_repeat(sent: &[u8]) -> Option<&'static str> {
    let length = u32::try_from(sent.len()).unwrap_or(u32::MAX);
    tfo_common::Carried::of(sent, length).not_to_repeat()
}

/// Attempts with Fast Open at most.
fn fast_open_attempts(count: u32) -> u32 {
    (count + REQUESTS).min(MOST_ATTEMPTS)
}

/// Plain and Fast Open attempts in turns, so that both meet the same network.
async fn attempts(destination: &Destination, count: u32, stop: &Stop) -> anyhow::Result<Vec<Attempt>> {
    let source = source_of(destination);
    let salt = kernel::boot_salt().ok();
    let cookie = || cookie(destination.address.ip(), source, salt.as_ref());
    let mut attempts = Vec::new();
    let mut with_data = 0;
    for turn in 0..fast_open_attempts(count) {
        if turn < count {
            attempts.push(connect::attempt(destination, Step::Plain, cookie).await?);
            sleep(PAUSE).await;
        }
        // Nothing is learnt about Fast Open where not even plain SYNs are answered, and each waits for seconds.
        let is_offline = turn > 0
            && !attempts
                .iter()
                .any(|attempt: &Attempt| attempt.step == Step::Plain && attempt.answer.is_established());
        if with_data < count && !is_offline {
            let attempt = connect::attempt(destination, Step::FastOpen, cookie).await?;
            with_data += u32::from(matches!(attempt.carried, Carried::Data(_)));
            attempts.push(attempt);
            sleep(PAUSE).await;
        }
        anyhow::ensure!(!stop.raised(), "probe: interrupted");
    }
    Ok(attempts)
}

/// The kernel's cookie for the destination, as its hash.
fn cookie(destination: IpAddr, source: Option<IpAddr>, salt: Option<&Salt>) -> Cookie {
    let (Some(source), Some(salt)) = (source, salt) else {
        return Cookie::NotLookedAt;
    };
    match tcp_metrics::entry(destination, source, salt) {
        Ok(entry) => match entry.and_then(|entry| entry.cookie) {
            Some(cookie) => Cookie::Hash(cookie.fingerprint.to_string()),
            None => Cookie::None,
        },
        Err(_) => Cookie::NotLookedAt,
    }
}

/// The address our SYNs come from: the kernel keeps a cookie for each pair of addresses. A UDP socket sends nothing when it is
/// connected, and tells what the routes say.
fn source_of(destination: &Destination) -> Option<IpAddr> {
    let any: IpAddr = match destination.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((destination.source.unwrap_or(any), 0)).ok()?;
    socket.connect(destination.address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Listens until a signal comes.
fn serve_until_stopped(address: SocketAddr, queue: u32, stop: &Stop) -> Result<u8, Failure> {
    let listener = serve::open(address, queue)?;
    let bound = listener.local_addr()?;
    output::complain(&format_args!(
        "tfo-cli: probe --serve: listening on {bound}, Fast Open queue {queue}; Ctrl-C ends it"
    ))?;
    block_on(async {
        tokio::select! {
            result = serve::serve(listener) => result,
            () = stop.ended() => Ok(()),
        }
    })?;
    Ok(exit::DONE)
}
