//! One list makes an enum of codes: its variants, their numbers, their names and, where there is one, the
//! sentence that explains each to a person.

/// Makes an enum whose variants have a code and a name, and `COUNT`, `ALL`, `from_code`, `name` and `from_name`
/// for it; with a second text after each name also `describe`.
macro_rules! codes {
    ($(#[$outer:meta])* $name:ident: $repr:ident {
        $($(#[$doc:meta])* $variant:ident = $code:literal, $word:literal;)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr($repr)]
        pub enum $name { $($(#[$doc])* $variant = $code,)+ }

        impl $name {
            /// Number of entries.
            pub const COUNT: usize = [$($code as $repr),+].len();
            /// Every entry, in the order of the codes.
            pub const ALL: [$name; Self::COUNT] = [$($name::$variant),+];

            /// The entry with this code, if there is one.
            #[inline(always)]
            pub const fn from_code(code: $repr) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The word every output uses.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The entry with this name, if there is one.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|entry| entry.name() == name)
            }
        }
    };
    ($(#[$outer:meta])* $name:ident: $repr:ident {
        $($(#[$doc:meta])* $variant:ident = $code:literal, $word:literal, $text:literal;)+
    }) => {
        crate::codes::codes! {
            $(#[$outer])* $name: $repr { $($(#[$doc])* $variant = $code, $word;)+ }
        }

        impl $name {
            /// What it means, in words for a person.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

pub(crate) use codes;

#[cfg(test)]
mod tests {
    use crate::{
        Carried, CrossCheck, Loss, Outcome, PolicyAction, Role, TfoOption, counters, flags::Shed,
        guard::Phase, layout::Feature, outcome::Group, policy,
    };

    /// Codes come back as what they were, and rise by one.
    macro_rules! assert_dense {
        ($first:literal: $($type:ty),+) => {
            $(
                for (index, entry) in <$type>::ALL.into_iter().enumerate() {
                    assert_eq!(entry as usize, index + $first, "{entry:?}");
                    assert_eq!(<$type>::from_code(entry as _), Some(entry));
                }
                assert_eq!(<$type>::from_code((<$type>::COUNT + $first) as _), None);
            )+
        };
    }

    /// No two entries have one name, and no name needs quoting in a shell, in TOML or in JSON.
    macro_rules! assert_names {
        ($($type:ty),+) => {
            $(
                for entry in <$type>::ALL {
                    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
                    assert!(!entry.name().is_empty() && entry.name().bytes().all(plain), "{entry:?}");
                    assert_eq!(<$type>::from_name(entry.name()), Some(entry), "names are unique");
                }
            )+
        };
    }

    #[test]
    fn codes_are_dense_and_round_trip() {
        assert_dense!(0: Carried, Role, Outcome, Group, TfoOption, Phase, Loss, counters::Stat, CrossCheck, policy::Stat, Feature, Shed);
        // 0 is "no action" in flow records and marks.
        assert_dense!(1: PolicyAction);
        assert_eq!(PolicyAction::from_code(0), None);
    }

    #[test]
    fn names_are_unique_words() {
        // The names of `CrossCheck` are the kernel's; two entries share one counter.
        assert_names!(
            Carried,
            Role,
            Outcome,
            Group,
            TfoOption,
            Phase,
            Loss,
            counters::Stat,
            policy::Stat,
            Feature,
            Shed,
            PolicyAction
        );
        assert_eq!(Outcome::from_name("nonsense"), None);
    }
}
