//! `tfo-cli cookies`: shows the kernel's cookie cache, and makes it forget.

use crate::{
    addr::Prefix,
    args::{CookiesConfig, CookiesWhat, ListFormat},
    exit::{self, Failure},
    inspect::cookies::{self, Cached},
    inspect::places::Unseen,
    kernel::{self, places::Places, tcp_metrics},
    output::{self, cookies_json, cookies_text},
};

/// Runs the command.
pub fn run(config: &CookiesConfig) -> Result<u8, Failure> {
    let salt = kernel::boot_salt().map_err(|error| failure(&error))?;
    let places = Places::wanted(config.netns.as_deref()).map_err(|error| failure(&error))?;
    let (found, unseen) = places.each(|_| tcp_metrics::entries(&salt));
    let found = found.into_iter().flat_map(|(netns, entries)| {
        entries.into_iter().map(move |entry| Cached {
            netns: netns.clone(),
            entry,
        })
    });
    let found = found.collect();
    match &config.what {
        CookiesWhat::Show(format) => show(&cookies::select(found, None), &unseen, *format),
        CookiesWhat::Forget(prefix) => {
            let wanted = cookies::select(found, Some(prefix));
            forget(prefix, &wanted, &places, unseen)
        }
    }
}

fn show(found: &[Cached], unseen: &Unseen, format: ListFormat) -> Result<u8, Failure> {
    output::print(&match format {
        ListFormat::Text => cookies_text::entries(found),
        ListFormat::Json => cookies_json::entries(found)?,
    })?;
    tell(unseen)
}

/// Deletes what was found. Entries that have gone meanwhile are as good as deleted.
fn forget(prefix: &Prefix, wanted: &[Cached], places: &Places, mut unseen: Unseen) -> Result<u8, Failure> {
    let mut forgotten = Vec::new();
    for place in &places.places {
        let here: Vec<&Cached> = wanted
            .iter()
            .filter(|cached| cached.netns == place.netns)
            .collect();
        if here.is_empty() {
            continue;
        }
        let deleted = place.run(|| {
            let mut deleted = Vec::new();
            for cached in here {
                match tcp_metrics::delete(cached.entry.destination, cached.entry.source) {
                    Ok(true) => deleted.push(cached.clone()),
                    Ok(false) => {}
                    Err(error) => return Ok((deleted, Some(error))),
                }
            }
            Ok((deleted, None))
        });
        let failed = match deleted {
            Ok((deleted, failed)) => {
                forgotten.extend(deleted);
                failed
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            unseen.failed.push((place.netns.clone(), error.to_string()));
        }
    }
    output::print(&cookies_text::forgotten(prefix, &forgotten))?;
    if unseen.failed.is_empty() {
        return tell(&unseen);
    }
    Err(
        Failure::new(exit::MISSING, format!("forget {prefix}: {unseen}")).hint(
            "deleting needs CAP_NET_ADMIN, other namespaces CAP_SYS_ADMIN: sudo tfo-cli cookies forget ...",
        ),
    )
}

/// Says what could not be looked at. It is no error: what could be seen was shown.
pub fn tell(unseen: &Unseen) -> Result<u8, Failure> {
    if !unseen.is_empty() {
        let hint = if nix::unistd::geteuid().is_root() {
            ""
        } else {
            "\n  run it as root to see every network namespace"
        };
        output::complain(&format!("tfo-cli: {unseen}{hint}"))?;
    }
    Ok(exit::DONE)
}

/// An error of the kernel side as the user sees it.
pub fn failure(error: &kernel::Error) -> Failure {
    let failure = Failure::new(error.exit_code(), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
