//! Values of flags that clap does not know: durations and counts with bounds.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    exit::Failure,
    model::filter::{Filter, FilterError},
};

/// A duration such as `500ms`, `30s`, `1h30m`; a bare number is seconds.
pub fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    let bad = |why: &str| Failure::usage(flag, text, why).hint("use for example 500ms, 30s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| bad("not a duration"));
    }
    let signed: SignedDuration = text.parse().map_err(|_| bad("not a duration"))?;
    Duration::try_from(signed).map_err(|_| bad("a duration cannot be negative"))
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
