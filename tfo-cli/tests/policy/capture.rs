//! The SYNs that leave the client, as tcpdump captures them on its device.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::Child,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Connect, Family},
    command,
    lab::{self, Lab},
};

use crate::{
    enforce::{is_fast, primed, service},
    policy::add,
    support::{sandbox::Sandbox, tcpdump, wait_until},
};

/// A running tcpdump.
pub struct Capture {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Datagrams that have been sent to mark the end of a capture.
    marks: AtomicU16,
}

/// The first of the unused ports to which datagrams mark the end of a capture.
const FIRST_MARK: u16 = 64_000;

/// One SYN of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Destination port.
    pub port: u16,
    /// Bytes of payload.
    pub payload: usize,
    /// Whether it has the TFO option, of either kind.
    pub option: bool,
    /// Whether that is the experimental kind (254).
    pub experimental: bool,
    /// Whether its checksum is right, which can only be told with the device's offload off.
    pub checksum: bool,
}

impl Capture {
    /// Starts tcpdump in the client's namespace; `None` when it is not installed.
    pub fn start(lab: &Lab) -> Result<Option<Self>> {
        if !command::is_installed("tcpdump") {
            println!("skipped: needs tcpdump");
            return Ok(None);
        }
        // Of the ring a packet takes 64 KiB where segments may be that long (32 packets in 2 MiB), so it is cut.
        let args = ["-l", "-vv", "-Q", "out", "-s", "2000", "tcp or udp or ip6"];
        let mut child = tcpdump::start(lab, &args.map(OsStr::new))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let theirs = Arc::clone(&lines);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                theirs.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Some(Self {
            child,
            lines,
            marks: AtomicU16::new(0),
        }))
    }

    /// The SYNs that have left since the last call: waits until a datagram that was sent after them has been captured.
    pub fn syns(&self, lab: &Lab) -> Result<Vec<Syn>> {
        let port = FIRST_MARK + self.marks.fetch_add(1, Ordering::Relaxed);
        let all = || {
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .join("\n")
        };
        let mark = format!(" > {}.{port}: ", lab::server_v4(0));
        wait_until("tcpdump to see the last packet", || {
            let seen = all().contains(&mark);
            if !seen {
                send_datagram(lab, port, b"mark")?;
            }
            Ok(seen)
        })?;
        Ok(all().lines().filter_map(syn).collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `10.77.0.1.40000 > 10.77.0.2.8080: Flags [S], cksum 0x1639 (correct), ..., options [...,tfo  cookie ..], length 300`
fn syn(line: &str) -> Option<Syn> {
    let (addresses, rest) = line.split_once(": Flags [S], ")?;
    let port = addresses.rsplit('.').next()?.parse().ok()?;
    let payload = rest
        .rsplit("length ")
        .next()?
        .trim()
        .split(' ')
        .next()?
        .trim_end_matches(':')
        .parse()
        .ok()?;
    Some(Syn {
        port,
        payload,
        option: rest.contains("tfo ") || rest.contains("exp-tfo") || rest.contains("f989"),
        experimental: rest.contains("exp-tfo") || rest.contains("f989"),
        checksum: !rest.contains("(incorrect"),
    })
}

/// Sends a datagram from the client's device to a port of the server nobody reads.
fn send_datagram(lab: &Lab, port: u16, content: &[u8]) -> Result<()> {
    lab.in_client(|| {
        let socket = UdpSocket::bind((lab::client_v4(0), 0)).context("UDP")?;
        let sent = socket.send_to(content, (lab::server_v4(0), port));
        sent.map(drop).context("UDP: sending")
    })
}

pub fn no_data_leaves() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (_ruled, ruled) = primed(&lab, family, 0)?;
        let (_other, other) = primed(&lab, family, 1)?;
        add(sandbox.path(), &service(family, 0).to_string(), &[])?;
        let Some(capture) = Capture::start(&lab)? else {
            return Ok(());
        };
        for connect in [&ruled, &other] {
            for api in [Api::MsgFastopen, Api::FastopenConnect, Api::Plain] {
                for payload in [1, 300, 5_000] {
                    let report = Connect {
                        api,
                        payload,
                        reply: payload,
                        ..connect.clone()
                    }
                    .run_in(lab.client())?;
                    ensure!(report.reply_matched, "{report:?}");
                }
            }
        }
        // UDP passes by as if nothing were there.
        send_datagram(&lab, 9, &[7; 300])?;
        let last = ruled.clone();
        last.run_in(lab.client())?;
        ensure!(
            is_fast(&other.run_in(lab.client())?),
            "the other destination lost TFO"
        );
        let syns = capture.syns(&lab)?;
        let to = |port: u16| syns.iter().filter(move |syn| syn.port == port);
        ensure!(to(ruled.target.port()).count() == 10, "{syns:?}");
        ensure!(
            to(ruled.target.port()).all(|syn| syn.payload == 0),
            "SYN data left: {syns:?}"
        );
        ensure!(
            to(other.target.port()).filter(|syn| syn.payload > 0).count() == 7,
            "{syns:?}"
        );
        crate::policy::clear()?;
    }
    Ok(())
}
