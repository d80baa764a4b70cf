//! The line in which the filter is edited. It applies while it is typed; an error says where in the text it is.

use crate::model::filter::{Filter, FilterError, KEYS, Metric};

use super::action::Edit;

/// The text of the filter, the cursor in it, and the filter that is in force.
#[derive(Clone, Debug, Default)]
pub struct FilterLine {
    text: String,
    /// Characters before the cursor.
    cursor: usize,
    filter: Filter,
    error: Option<FilterError>,
}

impl FilterLine {
    /// A line with this text, the cursor at its end.
    pub fn new(text: &str) -> Self {
        let mut line = Self {
            text: text.to_owned(),
            cursor: text.chars().count(),
            ..Self::default()
        };
        line.accept();
        line
    }

    /// The text as typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Characters before the cursor.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// The filter of the latest text that had no error.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What is wrong with the text; `None` when it is a filter.
    pub fn error(&self) -> Option<&FilterError> {
        self.error.as_ref()
    }

    /// Changes the text or moves the cursor. Accepting and cancelling end the editing, which `update` does.
    pub fn edit(&mut self, edit: Edit) {
        let at = self
            .text
            .char_indices()
            .nth(self.cursor)
            .map_or(self.text.len(), |(at, _)| at);
        match edit {
            Edit::Insert(character) => {
                self.text.insert(at, character);
                self.cursor += 1;
            }
            Edit::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                let before = self.text.char_indices().nth(self.cursor).map_or(0, |(at, _)| at);
                self.text.remove(before);
            }
            Edit::Delete if at < self.text.len() => {
                self.text.remove(at);
            }
            Edit::Clear => *self = Self::default(),
            Edit::Move(by) => {
                self.cursor = self
                    .cursor
                    .saturating_add_signed(by)
                    .min(self.text.chars().count());
            }
            Edit::Backspace | Edit::Delete | Edit::Accept | Edit::Cancel => {}
        }
        self.parse();
    }

    /// Applies the text as it is, its last word included; false when it has an error.
    pub fn accept(&mut self) -> bool {
        self.take(&self.text.clone());
        self.error.is_none()
    }

    /// Applies the text while it is typed, without a last word that may become a key: searching for `outc` would
    /// empty the table on the way to `outcome:`.
    fn parse(&mut self) {
        let start = self.text.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let last = self.text.get(start..).unwrap_or_default().trim_start_matches('!');
        let begins = |name: &str| !last.is_empty() && name.starts_with(last);
        let unfinished =
            KEYS.iter().any(|(key, _)| begins(key)) || Metric::ALL.iter().any(|(name, _)| begins(name));
        let text = if unfinished {
            self.text.get(..start).unwrap_or_default()
        } else {
            &self.text
        };
        let text = text.to_owned();
        self.take(&text);
    }

    /// Applies a text. An error leaves the filter as it was, so that the table does not jump while the text is typed.
    fn take(&mut self, text: &str) {
        match text.parse() {
            Ok(filter) => (self.filter, self.error) = (filter, None),
            Err(error) => self.error = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn typing_filters_as_soon_as_it_makes_sense() {
        let mut line = FilterLine::default();
        for character in "role:client".chars() {
            line.edit(Edit::Insert(character));
        }
        assert_eq!(Ok(line.filter().clone()), "role:client".parse());
        assert!(line.error().is_none());
        line.edit(Edit::Backspace);
        assert!(line.error().is_some());
        assert_eq!(
            Ok(line.filter().clone()),
            "role:client".parse(),
            "the last good one stays"
        );
        line.edit(Edit::Clear);
        assert!(line.filter().is_empty() && line.text().is_empty());
    }

    proptest! {
        #[test]
        fn no_sequence_of_edits_breaks_it(edits in prop::collection::vec(
            prop_oneof![
                any::<char>().prop_map(Edit::Insert),
                Just(Edit::Backspace),
                Just(Edit::Delete),
                any::<isize>().prop_map(Edit::Move),
                Just(Edit::Clear),
            ],
            0..60,
        )) {
            let mut line = FilterLine::default();
            for edit in edits {
                line.edit(edit);
                prop_assert!(line.cursor() <= line.text().chars().count());
            }
        }
    }
}
