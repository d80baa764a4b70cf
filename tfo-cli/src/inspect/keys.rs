//! Fast Open keys of a network namespace, and the steps of a rotation. Without I/O.
//!
//! A server makes cookies with its primary key, and accepts those of the backup key, too. On a single server the new key
//! can become primary at once. With several servers behind one address it must be the backup on all of them before it is
//! primary on any; otherwise a server that does not have it yet refuses cookies that another one has granted.

use std::fmt;

use crate::fingerprint::{Fingerprint, Salt, Secret};

/// A key. It is never shown: [`fmt::Debug`] hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads the form of `net.ipv4.tcp_fastopen_key`: four words of up to eight hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().split('-');
        let mut bytes = [0; 16];
        for chunk in bytes.chunks_exact_mut(4) {
            let word = words.next()?;
            let is_hex = (1..=8).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            let word = u32::from_str_radix(word, 16).ok().filter(|_| is_hex)?;
            // Little-endian words (`proc_tcp_fastopen_key`, `net/ipv4/sysctl_net_ipv4.c`).
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        words.next().is_none().then_some(Self(bytes))
    }

    /// The key in the form of the sysctl.
    pub fn to_sysctl(self) -> String {
        let words = self.0.as_chunks::<4>().0.iter();
        words
            .map(|word| format!("{:08x}", u32::from_le_bytes(*word)))
            .collect::<Vec<_>>()
            .join("-")
    }

    /// The salted hash that is shown instead of the key.
    pub fn fingerprint(self, salt: &Salt) -> Fingerprint {
        salt.fingerprint(Secret::Key, &self.0)
    }
}

/// The keys of a network namespace or of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The key that cookies are made with.
    pub primary: Key,
    /// The key whose cookies are accepted, too; `None` when there is no backup.
    pub backup: Option<Key>,
}

impl Keys {
    /// Reads the value of the sysctl; `None` when it is malformed. `Some(None)` when the namespace has no key yet: it gets
    /// one with its first listener.
    pub fn parse(text: &str) -> Option<Option<Self>> {
        let mut keys = text.trim().split(',').map(Key::parse);
        let primary = keys.next()??;
        let backup = match keys.next() {
            None => None,
            Some(key) => Some(key?),
        };
        if keys.next().is_some() {
            return None;
        }
        let is_none = primary.0 == [0; 16] && backup.is_none();
        Some((!is_none).then_some(Self { primary, backup }))
    }

    /// The value for the sysctl. One without a backup removes the backup that the kernel has.
    pub fn to_sysctl(self) -> String {
        let backup = self
            .backup
            .map(|key| format!(",{}", key.to_sysctl()))
            .unwrap_or_default();
        format!("{}{backup}", self.primary.to_sysctl())
    }

    /// The keys of a listener, as getsockopt(2) gives them.
    pub fn of_listener(keys: &[[u8; 16]]) -> Option<Self> {
        let mut keys = keys.iter().copied().map(Key);
        Some(Self {
            primary: keys.next()?,
            backup: keys.next(),
        })
    }
}

/// A step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The new key becomes the backup: its cookies are accepted, but none is made with it.
    Prepare(Key),
    /// The new key becomes primary, the old one the backup. `true` when the key has just been generated.
    Promote(Key, bool),
    /// The backup is removed: its cookies are refused from now on.
    Drop,
    /// Primary and backup change places, which undoes a promotion.
    Swap,
}

/// Why a step is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The namespace has no key that could be kept.
    #[error("this network namespace has no key yet: no listener has asked for Fast Open")]
    NoKey,
    /// A third key would replace one whose cookies are in use.
    #[error("there is a backup key already, and it is another one: its cookies would be refused")]
    OtherBackup,
    /// There is no backup that could change places with the primary.
    #[error("there is no backup key")]
    NoBackup,
}

/// The keys after a step; `None` when the step changes nothing.
pub fn next(now: Option<Keys>, step: Step) -> Result<Option<Keys>, Refused> {
    let has_other_backup = |keys: Keys, key: Key| keys.backup.is_some_and(|backup| backup != key);
    let keys = match (step, now) {
        (Step::Promote(key, _), None) => Keys {
            primary: key,
            backup: None,
        },
        (_, None) => return Err(Refused::NoKey),
        (Step::Prepare(key), Some(keys)) => {
            if keys.primary == key {
                return Ok(None);
            }
            if has_other_backup(keys, key) {
                return Err(Refused::OtherBackup);
            }
            Keys {
                backup: Some(key),
                ..keys
            }
        }
        (Step::Promote(key, is_new), Some(keys)) => {
            if keys.primary == key {
                return Ok(None);
            }
            if has_other_backup(keys, key) || is_new && keys.backup.is_some() {
                return Err(Refused::OtherBackup);
            }
            Keys {
                primary: key,
                backup: Some(keys.primary),
            }
        }
        (Step::Drop, Some(keys)) => Keys { backup: None, ..keys },
        (Step::Swap, Some(keys)) => Keys {
            primary: keys.backup.ok_or(Refused::NoBackup)?,
            backup: Some(keys.primary),
        },
    };
    Ok((Some(keys) != now).then_some(keys))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: Key = Key([1; 16]);
    const NEW: Key = Key([2; 16]);
    const THIRD: Key = Key([3; 16]);

    #[expect(clippy::unnecessary_wraps, reason = "as `next` takes and gives them")]
    fn keys(primary: Key, backup: Option<Key>) -> Option<Keys> {
        Some(Keys { primary, backup })
    }

    #[test]
    fn a_pool_rotates_in_three_steps() {
        let prepared = next(keys(OLD, None), Step::Prepare(NEW)).expect("allowed");
        assert_eq!(prepared, keys(OLD, Some(NEW)));
        let promoted = next(prepared, Step::Promote(NEW, false)).expect("allowed");
        assert_eq!(promoted, keys(NEW, Some(OLD)));
        assert_eq!(next(promoted, Step::Swap), Ok(keys(OLD, Some(NEW))));
        assert_eq!(next(promoted, Step::Drop), Ok(keys(NEW, None)));
        // Repeating a step changes nothing.
        assert_eq!(next(prepared, Step::Prepare(NEW)), Ok(None));
        assert_eq!(next(promoted, Step::Promote(NEW, false)), Ok(None));
        assert_eq!(next(keys(NEW, None), Step::Drop), Ok(None));
        assert_eq!(next(keys(NEW, None), Step::Prepare(NEW)), Ok(None));
    }

    #[test]
    fn no_step_pushes_a_key_out() {
        let both = keys(OLD, Some(NEW));
        assert_eq!(next(both, Step::Prepare(THIRD)), Err(Refused::OtherBackup));
        assert_eq!(next(both, Step::Promote(THIRD, false)), Err(Refused::OtherBackup));
        assert_eq!(next(both, Step::Promote(THIRD, true)), Err(Refused::OtherBackup));
        assert_eq!(
            next(keys(OLD, None), Step::Promote(NEW, true)),
            Ok(keys(NEW, Some(OLD)))
        );
        assert_eq!(next(keys(OLD, None), Step::Swap), Err(Refused::NoBackup));
        assert_eq!(next(None, Step::Drop), Err(Refused::NoKey));
        assert_eq!(next(None, Step::Prepare(NEW)), Err(Refused::NoKey));
        assert_eq!(next(None, Step::Promote(NEW, false)), Ok(keys(NEW, None)));
    }

    #[test]
    fn the_sysctl_is_read_as_the_kernel_writes_it() {
        let text = "00112233-44556677-8899aabb-ccddeeff\n";
        let read = Keys::parse(text).flatten().expect("a key");
        assert_eq!(read.primary.0[..5], [0x33, 0x22, 0x11, 0x00, 0x77]);
        assert_eq!(format!("{}\n", read.to_sysctl()), text);
        assert_eq!(Keys::parse("00000000-00000000-00000000-00000000"), Some(None));
        assert_eq!(Key::parse("1-2-3-4").map(|key| key.0[0]), Some(1));
        assert!(!format!("{read:?}").contains("33"), "{read:?}");
        for odd in [
            "",
            "1-2-3",
            "1-2-3-4-5",
            "1-2-3-123456789",
            "1-2-3-+4",
            "g-1-2-3",
            "1-2-3-4,",
            "1-2-3-4,5-6-7-8,9-9-9-9",
        ] {
            assert_eq!(Keys::parse(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn keys_round_trip(primary: [u8; 16], backup: Option<[u8; 16]>) {
            prop_assume!(primary != [0; 16]);
            let keys = Keys { primary: Key(primary), backup: backup.map(Key) };
            prop_assert_eq!(Keys::parse(&keys.to_sysctl()), Some(Some(keys)));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}") {
            let _ = Keys::parse(&text);
        }
    }
}
