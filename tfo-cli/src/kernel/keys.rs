//! `net.ipv4.tcp_fastopen_key` of the calling thread's network namespace, and new keys.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::inspect::keys::{Key, Keys};

const SYSCTL: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";

/// Reads the keys; `None` where there are none yet. Needs root: the file is readable for nobody else.
pub fn read() -> io::Result<Option<Keys>> {
    let text = fs::read_to_string(SYSCTL)?;
    Keys::parse(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{SYSCTL}: not a key")))
}

/// Writes them, and makes sure that they are what is read then.
pub fn write(keys: Keys) -> io::Result<()> {
    fs::write(SYSCTL, keys.to_sysctl())?;
    if read()? == Some(keys) {
        Ok(())
    } else {
        Err(io::Error::other(
            "the kernel has other keys than were written: somebody else changes them, too",
        ))
    }
}

/// A new key.
pub fn random() -> io::Result<Key> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Key(bytes))
}

/// Reads a key from a file.
pub fn load(path: &Path) -> io::Result<Key> {
    /// A key is 35 characters long; a file that is no key may be anything.
    const MOST: u64 = 128;
    let mut text = String::new();
    File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Key::parse(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not a key: four words of up to eight hex digits, as 01234567-89abcdef-01234567-89abcdef",
        )
    })
}

/// Writes a key into a new file that only its owner can read. What is there already is never overwritten.
pub fn store(path: &Path, key: Key) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", key.to_sysctl())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_kept_in_a_file_of_its_own() {
        let path = std::env::temp_dir().join(format!("tfo-cli-key-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let key = random().expect("random bytes");
        store(&path, key).expect("a new file");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        let (again, loaded) = (store(&path, key), load(&path));
        fs::write(&path, "no key at all").expect("it is ours");
        let odd = load(&path);
        fs::remove_file(&path).expect("it is ours");
        assert_eq!((mode & 0o777, loaded.expect("a key")), (0o600, key));
        assert_eq!(
            again.expect_err("it is there").kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(odd.expect_err("no key").to_string().contains("four words"));
    }
}
