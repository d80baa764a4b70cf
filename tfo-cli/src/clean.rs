//! Text that others chose, on its way to a terminal, a spreadsheet or another program.

use std::borrow::Cow;

/// Whether a character could steer a terminal or reorder what a reader sees: C0, DEL, C1, the controls of bidirectional
/// text (Unicode UAX #9, section 2) and the two separators that end lines.
pub fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn replaced(text: &str, keep: &[char]) -> String {
    text.chars()
        .map(|character| {
            if is_hostile(character) && !keep.contains(&character) {
                '?'
            } else {
                character
            }
        })
        .collect()
}

/// Text of unknown origin (process names, paths) without what could steer a terminal.
pub fn clean(text: &str) -> String {
    replaced(text, &[])
}

/// The same for text whose lines and columns are ours, and in which something of unknown origin may be quoted.
pub fn clean_lines(text: &str) -> String {
    replaced(text, &['\n', '\t'])
}

/// A cell of a CSV file: cleaned, and no formula for a spreadsheet. An apostrophe in front makes it text there.
pub fn cell(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@']) && !is_number(text);
    match (formula, text.contains(is_hostile)) {
        (false, false) => text.into(),
        (false, true) => clean(text).into(),
        (true, _) => format!("'{}", clean(text)).into(),
    }
}

/// Numbers with a sign and a unit are ours (`-1.2ms`), and so is the dash that stands for nothing.
fn is_number(text: &str) -> bool {
    let rest = text.trim_start_matches(['+', '-']);
    let unit = rest.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '.');
    rest.len() + 1 >= text.len()
        && unit.len() <= 2
        && unit.chars().all(|one| one.is_alphabetic() || one == '%')
}

/// JSON text with every such character as an escape: readers get the same strings back. Outside of strings JSON has none
/// but line feeds, which stay.
pub fn json(text: &str) -> Cow<'_, str> {
    let must = |character: char| character != '\n' && is_hostile(character);
    if !text.contains(must) {
        return text.into();
    }
    // All of them are below U+10000.
    let escaped = text.chars().map(|character| {
        if must(character) {
            format!("\\u{:04x}", u32::from(character))
        } else {
            character.to_string()
        }
    });
    escaped.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of each kind.
    const HOSTILE: &str = "a\u{1b}[2J\u{7f}\u{9b}m\u{202e}b\u{2066}c\u{61c}\u{2028}";

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[2J\n\u{9b}ä"), "a?[2J??ä");
        assert_eq!(clean_lines("a\u{1b}\n\tb\r"), "a?\n\tb?");
        assert_eq!(clean(HOSTILE), "a?[2J??m?b?c??");
    }

    #[test]
    fn a_cell_is_no_formula() {
        for (text, want) in [
            ("curl", "curl"),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("--1", "'--1"),
            ("-", "-"),
            ("-1.2ms", "-1.2ms"),
            ("+12", "+12"),
            ("+3.5%", "+3.5%"),
            ("=\u{1b}x", "'=?x"),
            ("a\nb", "a?b"),
        ] {
            assert_eq!(cell(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn json_says_the_same_without_them(text in any::<String>()) {
            let text = format!("{HOSTILE}{text}");
            let plain = serde_json::to_string_pretty(&[&text]).expect("a string is JSON");
            let escaped = json(&plain);
            prop_assert!(!escaped.contains(|one| one != '\n' && is_hostile(one)));
            let back: Vec<String> = serde_json::from_str(&escaped).expect("it is JSON");
            prop_assert_eq!(&back[0], &text);
        }

        #[test]
        fn no_text_gets_through(text in any::<String>()) {
            prop_assert!(!clean(&text).contains(is_hostile) && !cell(&text).contains(is_hostile));
        }
    }
}
