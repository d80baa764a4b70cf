//! Words between backquotes in our texts are what one types: code in every format.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// As it is read.
    Text(&'a str),
    /// As it is typed; has no backquote.
    Code(&'a str),
}

/// The pieces of a text. A backquote without partner is text.
pub fn spans(text: &str) -> Vec<Span<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, (code, after))) = rest
        .split_once('`')
        .and_then(|(before, behind)| Some((before, behind.split_once('`')?)))
    {
        found.extend([Span::Text(before), Span::Code(code)]);
        rest = after;
    }
    found.push(Span::Text(rest));
    found.retain(|span| !matches!(span, Span::Text("") | Span::Code("")));
    found
}

#[cfg(test)]
mod tests {
    use super::{
        Span::{Code, Text},
        spans,
    };

    #[test]
    fn backquotes_come_in_pairs() {
        let table: [(&str, &[_]); 5] = [
            ("run `a b` now", &[Text("run "), Code("a b"), Text(" now")]),
            ("`a``b`", &[Code("a"), Code("b")]),
            ("a ` b", &[Text("a ` b")]),
            ("`a` and `", &[Code("a"), Text(" and `")]),
            ("", &[]),
        ];
        for (text, want) in table {
            assert_eq!(spans(text), want, "{text}");
        }
    }
}
