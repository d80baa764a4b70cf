//! How fast `tfo-cli analyze` reads, on one core, beside `tshark` reading the same fields.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use super::observer::scratch;
use crate::commands::program_path;

/// Packets `tfo-cli` reads.
const PACKETS: u64 = 2_000_000;
/// Packets `tshark` reads: it takes that much longer.
const FEWER: u64 = 200_000;
/// Packets of each connection, the handshake among them.
const PER_CONNECTION: u64 = 20;

/// What was measured.
pub struct Speed {
    /// Packets per second of CPU time.
    pub per_second: f64,
    /// How many times faster than `tshark`, by CPU time per packet.
    pub of_tshark: f64,
}

/// Writes two captures, reads them, removes them.
pub fn speed() -> Result<Speed> {
    let (large, small) = (scratch("large.pcap")?, scratch("small.pcap")?);
    write(&large, PACKETS)?;
    write(&small, FEWER)?;
    let measured = measure(&large, &small);
    for file in [&large, &small] {
        let _ = std::fs::remove_file(file);
    }
    measured
}

fn measure(large: &Path, small: &Path) -> Result<Speed> {
    let mut analyze = Command::new(program_path("tfo-cli"));
    analyze.args(["analyze", "--format", "csv"]).arg(large);
    let ours_s = cpu_seconds(&mut analyze)?;
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-r"]).arg(small).args(["-T", "fields"]);
    // What the verdicts are made of.
    for field in [
        "frame.time_epoch",
        "ip.src",
        "ip.dst",
        "tcp.srcport",
        "tcp.dstport",
        "tcp.flags",
        "tcp.seq_raw",
        "tcp.ack_raw",
        "tcp.len",
        "tcp.options.tfo.request",
        "tcp.options.tfo.cookie",
    ] {
        tshark.args(["-e", field]);
    }
    let theirs_s = cpu_seconds(&mut tshark)?;
    let (ours, theirs) = (PACKETS as f64 / ours_s, FEWER as f64 / theirs_s);
    Ok(Speed {
        per_second: ours,
        of_tshark: ours / theirs,
    })
}

/// CPU time of a program that runs to its end.
fn cpu_seconds(command: &mut Command) -> Result<f64> {
    let before = children()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        status.success(),
        "{} failed: {status}",
        command.get_program().display()
    );
    Ok(children()? - before)
}

fn children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// A pcap of accepted connections of [`PER_CONNECTION`] packets, a hundred of them mixed at a time.
fn write(path: &Path, packets: u64) -> Result<()> {
    const MIXED: u64 = 100;
    let mut file =
        BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
    file.write_all(&[
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
    ])?;
    let mut frame = Vec::new();
    for number in 0..packets {
        let (round, inside) = (
            number / (MIXED * PER_CONNECTION),
            number % (MIXED * PER_CONNECTION),
        );
        let (step, connection) = (inside / MIXED, round * MIXED + inside % MIXED);
        frame.clear();
        packet(&mut frame, connection, step);
        let us = number * 2;
        for word in [
            1_767_323_045 + us / 1_000_000,
            us % 1_000_000,
            frame.len() as u64,
            frame.len() as u64,
        ] {
            file.write_all(&u32::try_from(word)?.to_le_bytes())?;
        }
        file.write_all(&frame)?;
    }
    file.flush().context("cannot write the capture")
}

/// SYN with cookie and data, SYN-ACK that acks it, ACK, then data from the server.
fn packet(frame: &mut Vec<u8>, connection: u64, step: u64) {
    const COOKIE: [u8; 12] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let (to_server, flags, sequence, acknowledgement, options, payload): (bool, u8, u32, u32, &[u8], usize) =
        match step {
            0 => (true, 0x02, 1_000, 0, &COOKIE, 100),
            1 => (false, 0x12, 5_000, 1_101, &[], 0),
            2 => (true, 0x10, 1_101, 5_001, &[], 0),
            other => {
                let sent = u32::try_from((other - 3) * 500).unwrap_or_default();
                (false, 0x10, 5_001 + sent, 1_101, &[], 500)
            }
        };
    let [.., high, mid, low] = connection.to_be_bytes();
    let client = ([10, high, mid, low], 40_000_u16);
    let server = ([192, 0, 2, 1], 443_u16);
    let (from, to) = if to_server {
        (client, server)
    } else {
        (server, client)
    };
    let length = u16::try_from(40 + options.len() + payload).unwrap_or_default();
    frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend(sequence.to_be_bytes());
    frame.extend(acknowledgement.to_be_bytes());
    let words = u8::try_from(5 + options.len() / 4).unwrap_or_default();
    frame.extend([words << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    frame.extend(options);
    frame.resize(frame.len() + payload, b'x');
}
