//! `tfo-cli listeners`: shows listening sockets, and sets their Fast Open queues.

mod set;

use super::cookies::{failure, tell};
use crate::{
    args::{ListFormat, ListenersConfig, ListenersWhat},
    exit::Failure,
    kernel::{self, places::Places},
    output::{self, listeners_json, listeners_text},
};

/// Runs the command.
pub fn run(config: &ListenersConfig) -> Result<u8, Failure> {
    let places = Places::wanted(config.netns.as_deref()).map_err(|error| failure(&error))?;
    let (mut found, unseen) = kernel::listeners::all(&places);
    kernel::listeners::with_holders(&mut found);
    match &config.what {
        ListenersWhat::Set(wanted) => {
            tell(&unseen)?;
            set::run(wanted, config.netns.as_deref(), &found)
        }
        ListenersWhat::Show(format, details) => {
            if let Err(error) = kernel::listeners::with_lengths(&mut found) {
                output::complain(&format!("tfo-cli: lengths of queues not looked at: {error}"))?;
            }
            output::print(&match format {
                ListFormat::Text => listeners_text::listeners(&found, *details),
                ListFormat::Json => listeners_json::listeners(&found)?,
            })?;
            tell(&unseen)
        }
    }
}
