//! Whose files are obeyed: root must not follow settings or rules that somebody else can write.

use std::{env, fs::File, io, os::unix::fs::MetadataExt as _, path::Path};

use nix::unistd::{Uid, geteuid};

use crate::exit::{self, Failure};

/// Write permission for the group or for everybody.
const OTHERS_WRITE: u32 = 0o022;

/// The user who called sudo, if this is root and somebody did.
pub fn sudo_caller() -> Option<Uid> {
    let sudo = env::var("SUDO_UID")
        .ok()
        .and_then(|uid| uid.parse().ok())
        .map(Uid::from_raw);
    sudo.filter(|_| geteuid().is_root())
}

/// Refuses an open file that nobody of these owns, or that others may write to. The open file, not its path, which may lead
/// to another one by now. Pipes and terminals are whoever's who named them.
pub fn check(file: &File, path: &Path, owners: &[Uid]) -> Result<(), Failure> {
    let path = path.display();
    let wrong = |why: String| Failure::new(exit::USAGE, format!("{path}: {why}"));
    let found = file
        .metadata()
        .map_err(|error: io::Error| wrong(error.to_string()))?;
    if !found.is_file() {
        return Ok(());
    }
    let yours = owners.first().copied().unwrap_or(Uid::from_raw(0));
    if !owners.contains(&Uid::from_raw(found.uid())) {
        let why = format!("owned by user {}, not by you ({yours})", found.uid());
        return Err(wrong(why).hint(format!("chown {yours} {path}")));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        let why = format!("others may write to it (mode {:o})", found.mode() & 0o7777);
        return Err(wrong(why).hint(format!("chmod go-w {path}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    #[test]
    fn files_of_strangers_and_files_that_others_may_write_to_are_refused() {
        let path = env::temp_dir().join(format!("tfo-owner-{}", std::process::id()));
        fs::write(&path, "").expect("it is written");
        let file = File::open(&path).expect("it is there");
        let (me, stranger) = (geteuid(), Uid::from_raw(geteuid().as_raw() + 1));
        for (mode, is_fine) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            let checked = check(&file, &path, &[stranger, me]);
            assert_eq!(checked.is_ok(), is_fine, "{mode:o}");
        }
        let refused = check(&file, &path, &[me]).expect_err("others may write to it");
        assert!(refused.to_string().contains("mode 646"), "{refused}");
        let refused = check(&file, &path, &[stranger]).expect_err("it is not theirs");
        assert!(refused.to_string().contains("not by you"), "{refused}");
        let _ = fs::remove_file(&path);
        // `apply /dev/stdin`, `apply <(...)`.
        let null = File::open("/dev/null").expect("it is there");
        assert!(check(&null, Path::new("/dev/null"), &[stranger]).is_ok());
    }
}
