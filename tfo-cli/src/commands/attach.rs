//! Where commands get their source of records from: the live kernel.

use crate::{
    exit::Failure,
    kernel::{self, Session},
    model::source::Source,
    options::AttachOptions,
};

/// Attaches to the kernel.
pub fn attach(options: &AttachOptions) -> Result<Box<dyn Source>, Failure> {
    match Session::attach(options) {
        Ok(session) => Ok(Box::new(session)),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &kernel::Error) -> Failure {
    let failure = Failure::new(error.exit_code(), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What is said on stderr once counting has begun.
pub fn announce(source: &dyn Source) -> std::io::Result<()> {
    let programs = source.attached();
    crate::output::complain(&format_args!(
        "tfo-cli: attached ({} programs: {})",
        programs.len(),
        programs.join(", ")
    ))?;
    for one in source.degradations() {
        crate::output::complain(&format_args!("tfo-cli: degraded: {}: {}", one.name, one.why))?;
    }
    Ok(())
}
