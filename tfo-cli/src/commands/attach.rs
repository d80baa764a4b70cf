//! Where commands get their source of records from: the live kernel.

use crate::{
    exit::Failure,
    kernel::{self, Session, rights},
    model::source::{Keep, Source},
    options::AttachOptions,
    runtime,
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

/// Gives up every right that is not needed any more once everything is attached and every file is open. Where that fails
/// the command goes on, and says so.
pub fn give_up_rights(source: &mut dyn Source, keep: Keep) -> std::io::Result<()> {
    let mut give_up = || -> anyhow::Result<()> {
        if source.give_up_rights(keep)? {
            // The thread that waits for signals was started before rights are given up: it does so itself.
            let runtime = runtime::handle()?;
            runtime.block_on(runtime.spawn(async move { rights::give_up(keep) }))??;
        }
        Ok(())
    };
    give_up().or_else(|error| crate::output::complain(&format_args!("tfo-cli: {error:#}")))
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
