//! Finds and reads the configuration file. Under sudo it is the file of the user who called sudo, and must belong to
//! that user: root must not follow settings that somebody else can write.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User, geteuid};

use super::{Config, owner};
use crate::exit::{self, Failure};

/// Reads the file of `--config`, which must exist, or else the one at its usual path, if there is one.
pub fn load(named: Option<&Path>) -> Result<Config, Failure> {
    let caller = caller();
    match named {
        Some(path) => read(path, caller.uid)?
            .ok_or_else(|| Failure::new(exit::USAGE, format!("--config {}: no such file", path.display()))),
        None => match caller.usual_path() {
            // HOME may be another user's: a file at the usual path that cannot be read counts as none.
            Some(path) if is_unreadable(&path) => Ok(Config::default()),
            Some(path) => Ok(read(&path, caller.uid)?.unwrap_or_default()),
            None => Ok(Config::default()),
        },
    }
}

fn is_unreadable(path: &Path) -> bool {
    fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The user who started the program: under sudo, the one who called sudo.
struct Caller {
    uid: Uid,
    /// Home directory; `None` when unknown.
    home: Option<PathBuf>,
    is_under_sudo: bool,
}

fn caller() -> Caller {
    match owner::sudo_caller() {
        Some(uid) => {
            let home = User::from_uid(uid).ok().flatten().map(|user| user.dir);
            Caller {
                uid,
                home,
                is_under_sudo: true,
            }
        }
        None => Caller {
            uid: geteuid(),
            home: env::var_os("HOME").map(PathBuf::from),
            is_under_sudo: false,
        },
    }
}

impl Caller {
    /// `$XDG_CONFIG_HOME/tfo-cli/config.toml`, or `~/.config/tfo-cli/config.toml`. Under sudo the variable is root's, so
    /// that only the second is used.
    fn usual_path(&self) -> Option<PathBuf> {
        let own = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let base = own
            .filter(|_| !self.is_under_sudo)
            .or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(base.join("tfo-cli/config.toml"))
    }
}

/// Reads a file; `None` when there is none.
fn read(path: &Path, owner: Uid) -> Result<Option<Config>, Failure> {
    let failed = |error: io::Error| Failure::new(exit::USAGE, format!("{}: {error}", path.display()));
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    owner::check(&file, path, &[owner])?;
    let text = io::read_to_string(file).map_err(failed)?;
    Config::parse(&text)
        .map(Some)
        .map_err(|why| Failure::new(exit::USAGE, format!("{}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_owners_file_is_obeyed() {
        let path = env::temp_dir().join(format!("tfo-config-{}", std::process::id()));
        assert_eq!(read(&path, geteuid()).expect("there is none"), None);
        fs::write(&path, "sort = \"hit\"\n").expect("it is written");
        // Whatever the umask is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let config = read(&path, geteuid()).expect("it is ours").expect("it is there");
        assert_eq!(config.sort.as_deref(), Some("hit"));
        let stranger = Uid::from_raw(geteuid().as_raw() + 1);
        let failure = read(&path, stranger).expect_err("it is not theirs");
        assert_eq!(failure.code, exit::USAGE);
        assert!(failure.message.contains("not by you"), "{failure}");
        fs::write(&path, "sort = [").expect("it is written");
        assert!(
            read(&path, geteuid())
                .expect_err("it is wrong")
                .message
                .contains("line 1")
        );
        let _ = fs::remove_file(&path);
    }
}
