//! What was changed, where and why: one line each on stderr, which is the journal when run as a unit. Long lists
//! are cut.

use std::{
    collections::HashMap,
    env,
    ffi::OsStr,
    fmt,
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use crate::{
    exit::Failure,
    kernel::netns,
    output,
    policy::{CgroupRef, Cgroups, Change, Loaded, Plan, Removed, StripReport, transition::Transition},
};

/// Lines of one kind before the rest is summed up.
const MOST: usize = 20;

/// Who runs this, as rules remember it.
pub fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    output::clean(&named.unwrap_or_else(|| "root".to_owned()))
}

/// One line. The journal reads the level off its beginning (sd-daemon(3)): 5 is a notice, something normal that
/// somebody will want to find again.
fn line(what: &dyn fmt::Display) -> io::Result<()> {
    let journal = env::var_os("JOURNAL_STREAM");
    let level = match stderr() {
        Some(stream) if is_journal(journal.as_deref(), stream) => "<5>",
        _ => "",
    };
    output::complain(&format_args!("{level}tfo-cli: policy: {what}"))
}

/// Device and inode of stderr.
fn stderr() -> Option<(u64, u64)> {
    let copy = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let metadata = File::from(copy).metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether a stream is the one `JOURNAL_STREAM` names, as `device:inode` (systemd.exec(5)). A unit's children
/// inherit the variable even where their stderr leads elsewhere, and people would see the level there.
fn is_journal(variable: Option<&OsStr>, (device, inode): (u64, u64)) -> bool {
    let named = variable
        .and_then(OsStr::to_str)
        .and_then(|text| text.split_once(':'));
    named.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

fn lines<T>(all: &[T], show: impl Fn(&T) -> String) -> io::Result<()> {
    for one in all.iter().take(MOST) {
        line(&output::clean(&show(one)))?;
    }
    if all.len() > MOST {
        line(&format_args!("... and {} more", all.len() - MOST))?;
    }
    Ok(())
}

/// Changes that were made, by the file that asked for them or by hand. A rule says itself why it is there; one
/// that a file does not list any more goes because of that.
pub fn changed(changes: &[Change], file: Option<&Path>) -> io::Result<()> {
    lines(changes, |change| match (change, file) {
        (Change::Remove(_) | Change::Unguard(_), Some(file)) => {
            format!("{}; {} does not list it", change.done(), file.display())
        }
        _ => change.done(),
    })
}

/// What people may not expect of a change.
pub fn notes(notes: &[String]) -> io::Result<()> {
    lines(notes, |note| format!("note: {note}"))
}

/// What opening the policy removed.
pub fn removed(removed: &Removed) -> io::Result<()> {
    if removed.half_made {
        line(&"removed what an interrupted command had left")?;
    }
    lines(&removed.expired, |rule| {
        format!("expired rule {}: {}", rule.id, rule.spec)
    })?;
    lines(&removed.orphans, |rule| {
        format!("removed rule {}, its cgroup is gone: {}", rule.id, rule.spec)
    })?;
    lines(&removed.orphan_guards, |guard| {
        format!("removed, its cgroup is gone: {}", guard.spec)
    })?;
    interfaces(&removed.interfaces)
}

/// Interfaces on which the option is stripped from now on, or no more.
pub fn interfaces(report: &StripReport) -> io::Result<()> {
    lines(&report.attached, |name| format!("stripping on {name}"))?;
    lines(&report.failed, |why| format!("not stripping there: {why}"))?;
    if report.gone > 0 {
        line(&format_args!(
            "{} interfaces that were stripped on are gone",
            report.gone
        ))?;
    }
    Ok(())
}

/// What guards did by themselves. `paths`: of the cgroups they watch.
pub fn guards(transitions: &[Transition], paths: &HashMap<u64, String>) -> io::Result<()> {
    lines(transitions, |one| {
        let path = paths.get(&one.dest.cgroup_id).map_or("?", |path| path.as_str());
        format!("guard on {path}: {one}")
    })
}

/// Something that did not work and stops nothing else.
pub fn failed(why: &Failure) -> Result<(), Failure> {
    Ok(line(&why.message)?)
}

/// The watch has begun.
pub fn watching(path: &Path, namespaces: usize) -> io::Result<()> {
    line(&format_args!(
        "watching {}, and new interfaces of {namespaces} network namespaces",
        path.display()
    ))
}

/// A rule or guard of a file that was left out.
pub fn skipped(path: &Path, at: usize, why: &dyn fmt::Display) -> io::Result<()> {
    line(&format_args!("{}: line {at}: left out: {why}", path.display()))
}

/// A file that was applied.
pub fn applied(path: &Path, plan: &Plan) -> io::Result<()> {
    line(&format_args!("applied {}: {}", path.display(), plan.summary()))
}

/// A rule that strips, where it is not in effect: its service is in another network namespace than we are.
pub fn elsewhere(cgroups: &dyn Cgroups, found: &CgroupRef) -> io::Result<()> {
    let Some(process) = cgroups.process(found.id) else {
        return Ok(());
    };
    if netns::inode_of(process).is_some_and(|inode| inode != netns::own_inode()) && found.path != "/" {
        line(&format_args!(
            "{} is in another network namespace, where nothing is stripped yet: add a rule with --netns {process}",
            output::clean(&found.path)
        ))?;
    }
    Ok(())
}

/// There was nothing.
pub fn nothing(path: &Path) -> Result<(), Failure> {
    Ok(line(&format_args!("nothing to remove in {}", path.display()))?)
}

/// The programs in force are not those of this build: an upgrade does not exchange them by itself.
pub fn build(loaded: Loaded) -> io::Result<()> {
    if loaded.is_current() {
        return Ok(());
    }
    line(&format_args!(
        "note: the programs in force are of another build of tfo-cli ({:016x}, this one has {:016x}); \
         `tfo-cli policy reload` exchanges them without a gap",
        loaded.build, loaded.this_build
    ))
}

/// What `reload` found.
pub fn reloaded(before: Loaded) -> io::Result<()> {
    if before.is_current() {
        return line(&format_args!(
            "the programs in force are those of this build ({:016x})",
            before.build
        ));
    }
    line(&format_args!(
        "exchanged the programs in force: {:016x} for {:016x}; rules and guards are as before",
        before.build, before.this_build
    ))
}

/// Nothing is left.
pub fn flushed(path: &Path) -> io::Result<()> {
    line(&format_args!("removed everything in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_itself_is_the_journal() {
        let is = |variable: &str| is_journal(Some(OsStr::new(variable)), (9, 4711));
        assert!(is("9:4711"));
        for other in ["9:4712", "8:4711", "", ":", "9", "9:4711:1", "x:4711", "9:"] {
            assert!(!is(other), "{other:?}");
        }
        assert!(!is_journal(None, (9, 4711)));
    }
}
