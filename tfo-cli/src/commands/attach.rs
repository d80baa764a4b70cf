//! Where commands get their source of records from: the live kernel.

use crate::{
    exit::{self, Failure},
    model::feed::Source,
    options::AttachOptions,
};

/// Attaches to the kernel.
pub fn attach(_options: &AttachOptions) -> Result<Box<dyn Source>, Failure> {
    Err(Failure::new(
        exit::MISSING,
        "attach: this build has no kernel side",
    ))
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
