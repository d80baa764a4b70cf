//! Reads the values of options that clap has no parser for: durations and filter expressions.

use std::time::Duration;

use crate::{
    duration,
    exit::Failure,
    model::filter::{Filter, FilterError},
};

/// A duration, with the flag's name in the error.
pub fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    duration::parse(text).map_err(|why| Failure::usage(flag, text, why))
}

/// A duration that is not shorter than `least`.
pub fn duration_at_least(flag: &str, text: &str, least: Duration) -> Result<Duration, Failure> {
    let value = duration(flag, text)?;
    if value < least {
        return Err(Failure::usage(
            flag,
            text,
            format!("must be at least {}ms", least.as_millis()),
        ));
    }
    Ok(value)
}

/// An expression of the filter language.
pub fn filter(text: Option<&str>) -> Result<Filter, Failure> {
    let text = text.unwrap_or_default();
    text.parse()
        .map_err(|error: FilterError| Failure::usage("--filter", &text[error.at.clone()], error))
}
