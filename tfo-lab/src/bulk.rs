//! One TCP connection that carries as much as it can, on the loopback of a namespace of its own.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::netns::Namespace;

/// Written and read at a time.
const PIECE: usize = 128 * 1024;

/// What was carried.
#[derive(Clone, Debug, Serialize)]
pub struct BulkReport {
    /// Bytes that arrived.
    pub bytes: u64,
    /// From the first write to the end of the stream.
    pub seconds: f64,
    /// `bytes` per second.
    pub per_second: f64,
}

/// Sends for this long.
pub fn run(duration: Duration) -> Result<BulkReport> {
    Namespace::anonymous("bulk")?.run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bulk: listening")?;
        let address = listener.local_addr().context("bulk: its address")?;
        thread::scope(|scope| {
            let reader = scope.spawn(move || drain(&listener));
            let mut stream = TcpStream::connect(address).context("bulk: connecting")?;
            let piece = vec![7; PIECE];
            let begun = Instant::now();
            while begun.elapsed() < duration {
                stream.write_all(&piece).context("bulk: writing")?;
            }
            drop(stream);
            let bytes = reader
                .join()
                .map_err(|_| anyhow!("bulk: the reader panicked"))??;
            let seconds = begun.elapsed().as_secs_f64();
            Ok(BulkReport {
                bytes,
                seconds,
                per_second: bytes as f64 / seconds,
            })
        })
    })
}

fn drain(listener: &TcpListener) -> Result<u64> {
    let (mut stream, _) = listener.accept().context("bulk: accepting")?;
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match stream.read(&mut piece).context("bulk: reading")? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}
