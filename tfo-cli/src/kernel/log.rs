//! Log lines of the BPF programs, in objects built with `cargo xtask build --bpf-log`; others have none.

use std::io::Write as _;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Reads the log ring of the programs.
pub struct BpfLog(EbpfLogger<Stderr>);

impl BpfLog {
    /// The log of this object, if it was built with one.
    pub fn open(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, Stderr).ok().map(Self)
    }

    /// Prints what has come in.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// Writes each line to stderr.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // A closed stderr is no reason to stop.
        let _ = writeln!(std::io::stderr().lock(), "bpf: {}", record.args());
    }

    fn flush(&self) {}
}
