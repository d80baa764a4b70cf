//! Structures of `tfo_common` as the bytes of map keys and values, and texts in fields of fixed length.

use std::borrow::Cow;

use super::super::{programs, sys};

/// The bytes of a structure.
pub fn bytes<const N: usize, T: Copy>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N) };
    let mut array = [0; N];
    array.copy_from_slice(programs::bytes_of(value));
    array
}

/// A structure from its bytes. `T` must be one of `tfo_common`'s structures, which consist of integers only.
pub fn value<const N: usize, T: Copy>(bytes: &[u8; N]) -> T {
    const { assert!(size_of::<T>() == N) };
    // SAFETY: integers take every bit pattern; the length is checked above at compile time.
    match unsafe { sys::value(bytes) } {
        Some(value) => value,
        None => unreachable!("the lengths are equal"),
    }
}

/// A field with the beginning of a text, as many whole characters as fit. The rest of the field is 0.
pub fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let end = (0..=text.len().min(N))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

/// A field with a path. Of one that is too long the end is kept, because paths differ there, with `…` in front.
pub fn tail<const N: usize>(path: &str) -> [u8; N] {
    if path.len() <= N {
        return text(path);
    }
    let shortened: String = {
        let start = (path.len() - N + '…'.len_utf8()..path.len())
            .find(|at| path.is_char_boundary(*at))
            .unwrap_or(path.len());
        format!("…{}", &path[start..])
    };
    text(&shortened)
}

/// The text in a field, up to the first 0.
pub fn read(field: &[u8]) -> Cow<'_, str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_that_fits_comes_back(given in "[a-zäöü/ ]{0,10}") {
            let (head, end) = (text::<24>(&given), tail::<24>(&given));
            prop_assert_eq!(&*read(&head), &given);
            prop_assert_eq!(&*read(&end), &given);
        }

        #[test]
        fn text_that_does_not_fit_is_cut(given in "\\PC{0,60}") {
            let cut = text::<16>(&given);
            prop_assert!(given.starts_with(&*read(&cut)));
            let end = tail::<16>(&given);
            let shown = read(&end).into_owned();
            prop_assert!(given.ends_with(shown.trim_start_matches('…')));
        }
    }
}
