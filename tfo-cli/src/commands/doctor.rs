//! `tfo-cli doctor`: looks at the host and says what is wrong with it.

use super::cookies::failure;
use crate::{
    args::{DoctorConfig, ListFormat},
    exit::{self, Failure},
    inspect::doctor,
    kernel,
    output::{self, doctor_json, doctor_text},
};

/// Runs the command.
pub fn run(config: &DoctorConfig) -> Result<u8, Failure> {
    let salt = kernel::boot_salt().map_err(|error| failure(&error))?;
    let facts = kernel::doctor::facts(&config.bpffs, config.watch, &salt);
    let checks = doctor::examine(&facts);
    output::print(&match config.format {
        ListFormat::Text => doctor_text::checks(&checks, config.details),
        ListFormat::Json => doctor_json::checks(&checks)?,
    })?;
    Ok(if doctor::has_failed(&checks) {
        exit::FOUND
    } else {
        exit::DONE
    })
}
