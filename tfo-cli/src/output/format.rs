//! The formats of flow records, and who writes each: flows that were observed, and flows that a capture shows.

use clap::ValueEnum;

use super::{TraceWriter, csv::Csv, judged, ndjson::Ndjson, text::Text};

/// Formats of `trace` and `analyze`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Aligned lines for people.
    Text,
    /// One JSON object per line, schema 1.
    Json,
    /// RFC 4180, with a header.
    Csv,
}

impl TraceFormat {
    /// Writes flows that were observed.
    pub fn flows(self) -> Box<dyn TraceWriter> {
        match self {
            Self::Text => Box::new(Text::default()),
            Self::Json => Box::new(Ndjson),
            Self::Csv => Box::new(Csv),
        }
    }

    /// Writes flows that a capture shows.
    pub fn judged(self) -> Box<dyn judged::JudgedWriter> {
        match self {
            Self::Text => Box::new(judged::Text::default()),
            Self::Json => Box::new(judged::Json),
            Self::Csv => Box::new(judged::Csv),
        }
    }
}
