//! The filter as a line of text that is edited: live, with what is wrong in it and where.

use crate::model::filter::{Filter, FilterError, KEYS, Metric};

use super::action::Edit;

/// The line.
#[derive(Clone, Debug, Default)]
pub struct FilterLine {
    text: String,
    /// In characters.
    cursor: usize,
    filter: Filter,
    error: Option<FilterError>,
}

impl FilterLine {
    /// A line with this text.
    pub fn new(text: &str) -> Self {
        let mut line = Self {
            text: text.to_owned(),
            cursor: text.chars().count(),
            ..Self::default()
        };
        line.accept();
        line
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Characters before the cursor.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// The latest filter that was right.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What is wrong with the text.
    pub fn error(&self) -> Option<&FilterError> {
        self.error.as_ref()
    }

    /// Changes the text. Accepting and cancelling is up to whoever owns the line.
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

    /// Takes the text as it is; false when it is wrong.
    pub fn accept(&mut self) -> bool {
        self.take(&self.text.clone());
        self.error.is_none()
    }

    /// The beginning of a key is no word to look for yet: it would empty the table on the way to `outcome:`.
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

    /// A wrong text leaves the filter as it was: the table does not jump while one types.
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
