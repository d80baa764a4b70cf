//! `--record FILE`: what the source says goes into a recording too.

use std::path::Path;

use crate::{
    exit::{self, Failure},
    model::source::{Degradation, Source},
    options::AttachOptions,
    recording::{Preamble, Recorder, RecordingError},
};

/// Begins a recording of a source.
pub fn begin(path: &Path, source: &dyn Source, options: &AttachOptions) -> Result<Recorder, Failure> {
    let preamble = Preamble {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wall_offset_ns: source.wall_offset_ns(),
        server_prefixes: (options.server_v4_prefix, options.server_v6_prefix),
        attached: source.attached(),
        degradations: degradations(source.degradations()),
    };
    Recorder::create(path, &preamble).map_err(|error| failure(&error))
}

/// What this host cannot do, as it is recorded.
pub fn degradations(found: &[Degradation]) -> Vec<(String, String)> {
    let pairs = found.iter().map(|one| (one.name.to_owned(), one.why.clone()));
    pairs.collect()
}

/// A recording's error as the user sees it.
pub fn failure(error: &RecordingError) -> Failure {
    let failure = Failure::new(exit::FAILED, error);
    match error {
        RecordingError::Io {
            operation: "create",
            error,
            ..
        } if error.kind() == std::io::ErrorKind::AlreadyExists => {
            failure.hint("a recording is never overwritten: name another file")
        }
        RecordingError::Foreign(_) => failure
            .hint("recordings are made by 'tfo-cli top --record FILE' and 'tfo-cli trace --record FILE'"),
        RecordingError::Version { .. } => failure.hint("read it with the tfo-cli that made it"),
        _ => failure,
    }
}
