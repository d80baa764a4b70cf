//! Sends as much as one TCP connection carries, over the loopback of a namespace of its own.
//!
//! Its ends have a CPU each, the first and the last: moving about, two runs differ by a tenth.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::{cpu, netns::Namespace, noted::Noted};

/// Bytes of one write or read.
const CHUNK: usize = 128 * 1024;

/// What a connection carried.
#[derive(Clone, Debug, Serialize)]
pub struct BulkReport {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Time from the first write to the end of the stream.
    pub seconds: f64,
    /// `bytes` per second.
    pub per_second: f64,
    /// How many bytes had arrived when, for who changes something meanwhile; none unless asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<Noted>,
}

/// Sends for this time. `every`: how often to note what has arrived.
pub fn run(duration: Duration, every: Option<Duration>) -> Result<BulkReport> {
    Namespace::anonymous("bulk")?.run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bulk: listening")?;
        let address = listener.local_addr().context("bulk: its address")?;
        let cpus = cpu::cpus()?;
        let (first, last) = (cpus.first().copied(), cpus.last().copied());
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                last.map_or(Ok(()), cpu::stay_on)?;
                drain(&listener, every)
            });
            let started = Instant::now();
            let send = || send(address, started + duration);
            first.map_or_else(send, |first| cpu::on_cpu(first, send))?;
            let (bytes, noted) = reader
                .join()
                .map_err(|_| anyhow!("bulk: the reader panicked"))??;
            let seconds = started.elapsed().as_secs_f64();
            Ok(BulkReport {
                bytes,
                seconds,
                per_second: bytes as f64 / seconds,
                noted,
            })
        })
    })
}

/// Writes until then.
fn send(address: SocketAddr, end: Instant) -> Result<()> {
    let mut stream = TcpStream::connect(address).context("bulk: connecting")?;
    let chunk = vec![7; CHUNK];
    while Instant::now() < end {
        stream.write_all(&chunk).context("bulk: writing")?;
    }
    Ok(())
}

fn drain(listener: &TcpListener, every: Option<Duration>) -> Result<(u64, Vec<Noted>)> {
    let (mut stream, _) = listener.accept().context("bulk: accepting")?;
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    let mut noted = Vec::new();
    let mut latest = Instant::now();
    loop {
        match stream.read(&mut chunk).context("bulk: reading")? {
            0 => return Ok((bytes, noted)),
            length => bytes += length as u64,
        }
        if every.is_some_and(|every| latest.elapsed() >= every) {
            latest = Instant::now();
            noted.push(Noted::now(bytes));
        }
    }
}
