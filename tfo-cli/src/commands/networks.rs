//! The file of `--networks`.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use crate::{
    exit::{self, Failure},
    model::{filter::Filter, networks::Networks},
};

/// Longest file that is read.
const LONGEST: u64 = 16 << 20;

/// Reads it; a filter that names a network which is in no file would show nothing, and is refused.
pub fn load(path: Option<&Path>, filter: &Filter) -> Result<Arc<Networks>, Failure> {
    let networks = path.map(read).transpose()?.unwrap_or_default();
    let unknown = filter.networks().find(|label| !networks.knows(label));
    match (unknown, path) {
        (None, _) => Ok(Arc::new(networks)),
        (Some(label), None) => {
            let why = "no file says which networks have this label";
            Err(Failure::usage("filter", format!("network:{label}"), why).hint("name one: --networks FILE"))
        }
        (Some(label), Some(path)) => {
            let why = format!("no network of {} has this label", path.display());
            Err(Failure::usage("filter", format!("network:{label}"), why))
        }
    }
}

fn read(path: &Path) -> Result<Networks, Failure> {
    let fail = |why: &dyn std::fmt::Display| {
        Failure::new(exit::USAGE, format!("--networks {}: {why}", path.display()))
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| fail(&error))?;
    if text.len() as u64 > LONGEST {
        return Err(fail(&format_args!("longer than {} MiB", LONGEST >> 20)));
    }
    Networks::parse(&text)
        .map_err(|why| fail(&why).hint("each line is 'prefix = label': 10.0.0.0/8 = office"))
}
