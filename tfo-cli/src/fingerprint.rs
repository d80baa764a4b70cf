//! Short salted hashes: what is shown instead of a cookie or a key.
//!
//! Equal secrets have equal fingerprints wherever they are shown, as long as the salt is the same; from a fingerprint
//! nobody gets the secret back, and what was written down before a reboot cannot be joined with what came after.

use std::{fmt, hash::Hasher as _};

use siphasher::sip::SipHasher24;

/// What a fingerprint is of: a cookie and a key of the same bytes have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A Fast Open cookie (RFC 7413 section 4.1.1).
    Cookie,
    /// A server's Fast Open key.
    Key,
}

/// What goes into every fingerprint besides the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt([u8; 16]);

impl Salt {
    /// The salt of this boot, out of `/proc/sys/kernel/random/boot_id`: a UUID. `None` if it is not one.
    pub fn of_boot(boot_id: &str) -> Option<Self> {
        let digits: String = boot_id.trim().split('-').collect();
        let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_uuid)?;
        Some(Self(number.to_be_bytes()))
    }

    /// A salt several hosts share, so that their fingerprints can be compared: any text.
    pub fn of_text(text: &str) -> Self {
        let half = |part: u8| {
            let mut hasher = SipHasher24::new_with_key(b"tfo-cli salt 0.1");
            hasher.write_u8(part);
            hasher.write(text.as_bytes());
            u128::from(hasher.finish())
        };
        Self((half(0) << 64 | half(1)).to_be_bytes())
    }

    /// The fingerprint of a secret.
    pub fn fingerprint(&self, kind: Secret, bytes: &[u8]) -> Fingerprint {
        // SipHash-2-4 with the salt as its key is a pseudo-random function, and what Linux makes cookies with.
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(kind as u8);
        hasher.write(bytes);
        // Half of it: enough to tell a few thousand cookies apart, and 2^32 cookies of eight bytes share each.
        Fingerprint((hasher.finish() >> 32) as u32)
    }
}

/// Eight hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u32);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: &str = "0c3f5a8e-91d7-4f0c-a2b6-3d5e7f9a1b2c\n";

    #[test]
    fn salt_and_kind_count() {
        let salt = Salt::of_boot(BOOT).expect("a UUID");
        let cookie = salt.fingerprint(Secret::Cookie, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            cookie,
            salt.fingerprint(Secret::Cookie, &[1, 2, 3, 4, 5, 6, 7, 8])
        );
        assert_ne!(cookie, salt.fingerprint(Secret::Key, &[1, 2, 3, 4, 5, 6, 7, 8]));
        let other = Salt::of_boot("00000000-0000-0000-0000-000000000001").expect("a UUID");
        assert_ne!(
            cookie,
            other.fingerprint(Secret::Cookie, &[1, 2, 3, 4, 5, 6, 7, 8])
        );
        assert_ne!(Salt::of_text("pool a"), Salt::of_text("pool b"));
    }

    /// Written down in tickets and compared between versions of one boot: it must not change.
    #[test]
    fn fingerprints_stay_what_they_are() {
        let salt = Salt::of_boot(BOOT).expect("a UUID");
        assert_eq!(salt.fingerprint(Secret::Cookie, &[7; 8]).to_string(), "30386975");
        assert_eq!(
            Salt::of_text("pool")
                .fingerprint(Secret::Key, &[7; 16])
                .to_string(),
            "a6d61e41"
        );
    }

    #[test]
    fn only_a_uuid_is_a_boot_id() {
        for text in [
            "",
            "0c3f5a8e",
            "+c3f5a8e-91d7-4f0c-a2b6-3d5e7f9a1b2c",
            "zz",
            "ä".repeat(16).as_str(),
        ] {
            assert_eq!(Salt::of_boot(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_and_secret_is_safe(text in "\\PC{0,60}", bytes: Vec<u8>) {
            let _ = Salt::of_boot(&text);
            let shown = Salt::of_text(&text).fingerprint(Secret::Key, &bytes).to_string();
            prop_assert_eq!(shown.len(), 8);
        }
    }
}
