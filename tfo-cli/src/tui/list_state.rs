//! A cursor in a list that is sorted again with every reading, as `ListState` of ratatui is one in a list that stands
//! still. It remembers the key of its row, not the index, and its row keeps its place on the screen.

/// Cursor and scroll position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListState<K> {
    /// Key of the selected row; `None` stays on the first row, whichever that is.
    selected: Option<K>,
    index: usize,
    offset: usize,
    len: usize,
    height: usize,
}

impl<K> Default for ListState<K> {
    fn default() -> Self {
        Self {
            selected: None,
            index: 0,
            offset: 0,
            len: 0,
            height: 1,
        }
    }
}

impl<K: Clone + PartialEq> ListState<K> {
    /// Finds the selected row again, in a list with another order or content.
    pub fn refresh(&mut self, keys: &(impl ExactSizeIterator<Item = K> + Clone)) {
        self.len = keys.len();
        let Some(selected) = &self.selected else {
            (self.index, self.offset) = (0, 0);
            return;
        };
        let line = self.index - self.offset.min(self.index);
        if let Some(index) = keys.clone().position(|key| key == *selected) {
            self.index = index;
        } else {
            // The selected row is gone: the one that took its place is selected.
            self.index = self.index.min(self.len.saturating_sub(1));
            self.selected = keys.clone().nth(self.index);
        }
        self.offset = self.index.saturating_sub(line);
        self.scroll();
    }

    /// Sets the number of rows on the screen.
    pub fn resize(&mut self, height: usize) {
        self.height = height.max(1);
        self.scroll();
    }

    /// Moves the cursor by this many rows, negative upwards. `key_at` gives the key of a row.
    pub fn step(&mut self, by: isize, key_at: impl Fn(usize) -> Option<K>) {
        self.go(self.index.saturating_add_signed(by), key_at);
    }

    /// Moves the cursor by this many screens of rows, negative upwards.
    pub fn page(&mut self, by: isize, key_at: impl Fn(usize) -> Option<K>) {
        let height = isize::try_from(self.height).unwrap_or(isize::MAX);
        self.step(by.saturating_mul(height), key_at);
    }

    /// Moves the cursor to this row, or to the last one.
    pub fn go(&mut self, index: usize, key_at: impl Fn(usize) -> Option<K>) {
        self.index = index.min(self.len.saturating_sub(1));
        self.selected = key_at(self.index);
        self.scroll();
    }

    /// Moves the cursor to the first row, and keeps it there whatever row that will be.
    pub fn top(&mut self) {
        self.selected = None;
        (self.index, self.offset) = (0, 0);
    }

    fn scroll(&mut self) {
        self.offset = self
            .offset
            .min(self.index)
            .max((self.index + 1).saturating_sub(self.height));
        // No empty lines below the last row while rows above the first shown one are hidden.
        self.offset = self.offset.min(self.len.saturating_sub(self.height));
    }

    /// Index of the row under the cursor, unless the list is empty.
    pub fn index(&self) -> Option<usize> {
        (self.len > 0).then_some(self.index)
    }

    /// Index of the first row on the screen.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(height: usize, keys: &[u32]) -> ListState<u32> {
        let mut list = ListState::default();
        list.resize(height);
        list.refresh(&keys.iter().copied());
        list
    }

    #[test]
    fn the_cursor_follows_its_row_and_the_row_keeps_its_line() {
        let mut keys: Vec<u32> = (0..20).collect();
        let mut list = list(5, &keys);
        list.step(7, |index| keys.get(index).copied());
        assert_eq!((list.index(), list.offset()), (Some(7), 3));
        keys.rotate_right(2);
        list.refresh(&keys.iter().copied());
        assert_eq!(
            (list.index(), list.offset()),
            (Some(9), 5),
            "still on the last line"
        );
    }

    #[test]
    fn without_a_choice_the_cursor_stays_on_top() {
        let mut list = list(5, &[1, 2, 3]);
        list.refresh(&[9, 1, 2, 3].into_iter());
        assert_eq!(list.index(), Some(0));
    }

    #[test]
    fn a_row_that_vanishes_leaves_the_cursor_where_it_was() {
        let keys = [1, 2, 3, 4];
        let mut list = list(10, &keys);
        list.step(2, |index| keys.get(index).copied());
        list.refresh(&[1, 2, 4].into_iter());
        assert_eq!(list.index(), Some(2));
        list.refresh(&[].into_iter());
        assert_eq!(list.index(), None);
        list.refresh(&[5].into_iter());
        assert_eq!(list.index(), Some(0));
    }

    proptest! {
        #[test]
        fn the_cursor_is_always_on_the_screen(
            steps in prop::collection::vec((-30isize..30, 0usize..40, 1usize..12), 1..40)
        ) {
            let mut list = ListState::<usize>::default();
            for (by, len, height) in steps {
                list.resize(height);
                list.refresh(&(0..len));
                list.step(by, |index| (index < len).then_some(index));
                if let Some(index) = list.index() {
                    prop_assert!(index < len);
                    prop_assert!((list.offset()..list.offset() + height).contains(&index));
                    prop_assert!(list.offset() == 0 || list.offset() + height <= len);
                }
            }
        }
    }
}
