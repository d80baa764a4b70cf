//! Text that others chose, on its way to a terminal.

/// Text of unknown origin (process names, paths) without what could steer a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}

/// The same for text whose lines are ours, and in which something of unknown origin may be quoted.
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[2J\n\u{9b}ä"), "a?[2J??ä");
        assert_eq!(clean_lines("a\u{1b}\n  b\r"), "a?\n  b?");
    }
}
