//! The programs and links that are loaded in the kernel, to check that nothing is left attached.

use std::collections::BTreeMap;

use anyhow::Result;
use aya::programs::{loaded_links, loaded_programs};

use super::{no_problems, wait_until};

/// Ends the test early where a copy of the tool runs that is not the test's: its callback flags would show.
macro_rules! needs_quiet_host {
    () => {
        if !crate::support::kernel::becomes_quiet() {
            println!("skipped: another copy of tfo-cli is running");
            return Ok(());
        }
    };
}
pub(crate) use needs_quiet_host;

/// Whether no copy of the tool is attached. One that has just ended gets the time the kernel takes to free it.
pub fn becomes_quiet() -> bool {
    wait_until("all copies to go", || Ok(Loaded::now().programs.is_empty())).is_ok()
}

/// Programs of this tool, whatever instance they belong to, and their links.
#[derive(Debug)]
pub struct Loaded {
    programs: BTreeMap<u32, String>,
    links: BTreeMap<u32, String>,
}

impl Loaded {
    /// What is there now.
    pub fn now() -> Self {
        // An error is a program that went away between being listed and being opened.
        let programs = loaded_programs().flatten();
        let ours = programs.filter_map(|program| {
            let name = program.name_as_str().filter(|name| name.starts_with("tfo_"))?;
            Some((program.id(), format!("program {} {name}", program.id())))
        });
        let programs: BTreeMap<u32, String> = ours.collect();
        let links = loaded_links()
            .flatten()
            .filter(|link| programs.contains_key(&link.program_id()));
        let links = links.map(|link| {
            (
                link.id(),
                format!("link {} of program {}", link.id(), link.program_id()),
            )
        });
        Self {
            links: links.collect(),
            programs,
        }
    }

    /// What is there now and was not there then.
    pub fn added(&self) -> Vec<String> {
        let now = Self::now();
        let programs = now
            .programs
            .into_iter()
            .filter(|(id, _)| !self.programs.contains_key(id));
        let links = now
            .links
            .into_iter()
            .filter(|(id, _)| !self.links.contains_key(id));
        programs.chain(links).map(|(_, what)| what).collect()
    }

    /// Fails unless everything added since is gone within the deadline: the kernel frees programs some time
    /// after their last user.
    pub fn nothing_added(&self, after: &str) -> Result<()> {
        let waited = wait_until("programs and links to go", || Ok(self.added().is_empty()));
        if waited.is_err() {
            let left = self.added();
            no_problems(
                &left
                    .iter()
                    .map(|what| format!("left after {after}: {what}"))
                    .collect::<Vec<_>>(),
            )?;
        }
        Ok(())
    }
}
