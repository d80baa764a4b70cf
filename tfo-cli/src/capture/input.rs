//! Where the bytes come from: a file, or standard input, which may be a live pipe. The only part of `capture`
//! that does I/O.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    CaptureError,
    format::{self, Magic},
};
use crate::signals::Stop;

/// Longest wait for a pipe: how late a signal is noticed, ms.
const POLL_MS: u16 = 50;

/// The bytes of a capture, unpacked, and how far the file was read.
pub struct Input {
    /// The capture's own bytes.
    pub bytes: Box<dyn Read + Send>,
    /// Bytes of the file, still packed, that were read.
    pub read: Arc<AtomicU64>,
    /// Bytes the file has; `None` for a pipe.
    pub size: Option<u64>,
    /// More may come at any time: what is known should be said at once.
    pub live: bool,
}

/// Opens a capture; `-` is standard input. Reads its first four bytes.
pub fn open(path: &Path, stop: &Stop) -> Result<Input, CaptureError> {
    let failed = |operation| {
        move |error| CaptureError::Io {
            operation,
            path: path.display().to_string(),
            error,
        }
    };
    let file: OwnedFd = if path.as_os_str() == "-" {
        io::stdin().as_fd().try_clone_to_owned().map_err(failed("open"))?
    } else {
        File::open(path).map_err(failed("open"))?.into()
    };
    let file = File::from(file);
    let kind = file.metadata().map_err(failed("open"))?;
    let read = Arc::new(AtomicU64::new(0));
    let mut source = Source {
        file,
        live: !kind.is_file(),
        read: Arc::clone(&read),
        stop: stop.clone(),
    };
    let mut first = Vec::new();
    (&mut source)
        .take(4)
        .read_to_end(&mut first)
        .map_err(failed("read"))?;
    if first.is_empty() {
        return Err(CaptureError::Empty(path.to_owned()));
    }
    let whole = io::Cursor::new(first.clone()).chain(source);
    let bytes: Box<dyn Read + Send> = match format::magic(&first) {
        None => return Err(CaptureError::Foreign(path.to_owned())),
        Some(Magic::Gzip) => unpacked(whole, path)?,
        Some(Magic::Pcap | Magic::Pcapng) => Box::new(whole),
    };
    Ok(Input {
        bytes,
        read,
        size: kind.is_file().then_some(kind.len()),
        live: !kind.is_file(),
    })
}

/// Looks into a gzip: it may hold anything.
fn unpacked(packed: impl Read + Send + 'static, path: &Path) -> Result<Box<dyn Read + Send>, CaptureError> {
    let mut unpacked = MultiGzDecoder::new(packed);
    let mut first = Vec::new();
    // A gzip that is damaged this early is no capture either.
    let ended = (&mut unpacked).take(4).read_to_end(&mut first);
    match (ended, format::magic(&first)) {
        (Ok(_), Some(Magic::Pcap | Magic::Pcapng)) => Ok(Box::new(io::Cursor::new(first).chain(unpacked))),
        _ => Err(CaptureError::Foreign(path.to_owned())),
    }
}

/// A file that ends when it is time to stop, and counts.
struct Source {
    file: File,
    live: bool,
    read: Arc<AtomicU64>,
    stop: Stop,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A file is always there; a pipe may never say anything again.
        let mut ready = !self.live;
        while !ready {
            if self.stop.raised() {
                return Ok(0);
            }
            let mut wanted = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, PollTimeout::from(POLL_MS)) {
                Ok(count) => ready = count > 0,
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
