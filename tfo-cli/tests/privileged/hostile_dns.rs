//! `probe` asks a name server that lies: each answer ends in a clear error or in nothing at all, and nothing is sent to where
//! nobody wanted to connect.

use std::{
    fs,
    net::UdpSocket,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tfo_lab::lab::Lab;

use crate::support::{BINARY, NO_CONFIG, ground::temporary_directory, needs_lab};

/// What becomes of the question's first twelve bytes: an answer to it with this many records.
fn head(question: &[u8], answers: u8) -> Vec<u8> {
    let mut bytes = question[..12].to_vec();
    (bytes[2], bytes[3]) = (0x81, 0x80);
    (bytes[6], bytes[7]) = (0, answers);
    bytes[8..12].fill(0);
    bytes
}

/// The question itself: name, type and class.
fn asked(question: &[u8]) -> &[u8] {
    let end = question[12..]
        .iter()
        .position(|byte| *byte == 0)
        .map_or(question.len(), |end| 12 + end + 5);
    &question[12..end.min(question.len())]
}

/// A record of the question's type and name with this data.
fn record(question: &[u8], name: &[u8], data: &[u8]) -> Vec<u8> {
    let kind = asked(question);
    let kind = &kind[kind.len() - 4..];
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    [name, kind, &[0, 0, 0, 60], &length.to_be_bytes()[..], data].concat()
}

fn lie(question: &[u8]) -> Option<Vec<u8>> {
    let name = String::from_utf8_lossy(&question[13..]).into_owned();
    let whole =
        |answers: u8, record: Vec<u8>| [head(question, answers), asked(question).to_vec(), record].concat();
    let back = [0xc0, 12];
    let is_v4 = asked(question).ends_with(&[0, 1, 0, 1]);
    Some(match name.split('\u{4}').next()? {
        "multicast" if is_v4 => whole(1, record(question, &back, &[224, 0, 0, 1])),
        // The name of the record is where its name is.
        "loop" => {
            let at = u8::try_from(12 + asked(question).len()).ok()?;
            whole(1, record(question, &[0xc0, at], &[10, 77, 0, 2]))
        }
        "long" => whole(1, record(question, &back, &[10])),
        "many" => whole(255, record(question, &back, &[10, 77, 0, 2])),
        "short" => question[..7].to_vec(),
        "noise" => vec![0xff; 900],
        _ => whole(0, Vec::new()),
    })
}

#[test]
fn a_name_server_that_lies_gets_a_clear_error() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let directory = temporary_directory()?;
    let conf = directory.join("resolv.conf");
    fs::write(&conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
    let socket = lab
        .client()
        .run(|| UdpSocket::bind("127.0.0.1:53").context("bind the name server"))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let server = std::thread::spawn(move || {
        let mut bytes = [0; 1_024];
        while !stopped.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut bytes) else {
                continue;
            };
            let question = &bytes[..length];
            if let Some(answer) = (length > 17).then(|| lie(question)).flatten() {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    let mut problems = Vec::new();
    for (name, word) in [
        ("multicast", "multicast"),
        ("loop", "look up the name"),
        ("long", "look up the name"),
        ("short", "look up the name"),
        ("noise", "look up the name"),
        ("nothing", "has no address"),
    ] {
        let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        let output = lab.client().run(|| {
            Command::new("unshare")
                .args(["--mount", "sh", "-c", script, "sh"])
                .arg(&conf)
                .args([BINARY, "probe", &format!("{name}.test:80"), "--count", "1"])
                .envs(NO_CONFIG)
                .stdin(Stdio::null())
                .output()
                .context("run the probe")
        })?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_clear =
            output.status.code() == Some(1) && said.starts_with("tfo-cli: ") && said.contains(word);
        if !is_clear || said.contains("panicked") || said.contains('\u{1b}') || !output.stdout.is_empty() {
            problems.push(format!("{name}: {output:?}"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the name server panicked"))?;
    fs::remove_dir_all(&directory)?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
