//! The number of the last rule, kept beyond the last rule: a number that stands in a ticket or a log means one rule until
//! the host restarts, whatever is flushed in between. The pins keep it while they are there; this file does afterwards.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};

use super::Error;

/// Where it is kept: root alone writes to `/run`, which is empty after a restart, like every bpffs.
const DIRECTORY: &str = "/run/tfo-cli";
/// The file in it: the number in decimal digits and a line feed.
const NAME: &str = "last-rule";

/// The number of the last rule that a policy which is gone has given; 0 where there was none.
pub fn last() -> Result<u32, Error> {
    last_in(Path::new(DIRECTORY)).map_err(Error::io("read", shown()))
}

/// Keeps the number of the last rule, unless a higher one is kept. Who may not write to `/run`, or has none, keeps
/// nothing.
pub fn keep(number: u32) -> Result<(), Error> {
    match keep_in(Path::new(DIRECTORY), number) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound
            ) =>
        {
            Err(Error::io("write", shown())(error))
        }
        _ => Ok(()),
    }
}

fn shown() -> String {
    format!("{DIRECTORY}/{NAME}")
}

fn last_in(directory: &Path) -> io::Result<u32> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(directory.join(NAME));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    check(&file)?;
    let text = io::read_to_string(io::Read::take(file, 64))?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no number is in it: remove the file"))
}

fn keep_in(directory: &Path, number: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Two commands with two pin directories may end at the same time.
    let lock = File::open(directory)?;
    check(&lock)?;
    lock.lock()?;
    // One that cannot be read is written anew.
    if number <= last_in(directory).unwrap_or(0) {
        return Ok(());
    }
    let next = directory.join(format!("{NAME}.next"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&next)?;
    writeln!(file, "{number}")?;
    fs::rename(&next, directory.join(NAME))
}

/// Refuses what others own or may write to.
fn check(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.mode() & 0o022 == 0 && [0, geteuid().as_raw()].contains(&found.uid()) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "others may write to it: remove it",
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_highest_number_is_kept_and_what_others_may_write_is_refused() {
        let directory = std::env::temp_dir().join(format!("tfo-numbers-{}", std::process::id()));
        assert_eq!(last_in(&directory).expect("nothing is there"), 0);
        for (number, kept) in [(7, 7), (3, 7), (8, 8), (u32::MAX, u32::MAX)] {
            keep_in(&directory, number).expect("it is written");
            assert_eq!(last_in(&directory).expect("it is read"), kept);
        }
        let file = directory.join(NAME);
        fs::write(&file, "seven").expect("it is ours");
        let why = last_in(&directory).expect_err("no number").to_string();
        assert!(why.contains("remove the file"), "{why}");
        keep_in(&directory, 9).expect("it is written anew");
        assert_eq!(last_in(&directory).expect("it is read"), 9);
        for mode in [0o620, 0o602] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
            let why = last_in(&directory).expect_err("others wrote it").to_string();
            assert!(why.contains("others may write"), "{why}");
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("it is ours");
        keep_in(&directory, 10).expect_err("others may put something else there");
        fs::remove_dir_all(&directory).expect("it is ours");
    }
}
