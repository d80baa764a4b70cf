//! Bars drawn with characters.

use crate::tui::theme::Glyphs;

/// A sparkline, one character for each value: the largest value fills its character.
pub fn spark(values: impl Iterator<Item = u64> + Clone, glyphs: &Glyphs) -> String {
    let most = values.clone().max().unwrap_or(0).max(1);
    // Every value above 0 is visible.
    values
        .map(|value| glyphs.bars[usize::try_from((value * 8).div_ceil(most)).unwrap_or(8).min(8)])
        .collect()
}

/// A horizontal bar of `width` characters for the value `most`, and of at least one for any value above 0.
pub fn bar(value: u64, most: u64, width: usize, glyphs: &Glyphs) -> String {
    let length = (value as f64 / most.max(1) as f64 * width as f64).ceil();
    let filled = (0..width).take_while(|place| (*place as f64) < length);
    filled.map(|_| glyphs.block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_never_drawn_as_nothing() {
        assert_eq!(spark([0, 1, 1_000].into_iter(), &Glyphs::UNICODE), " ▁█");
        assert_eq!(spark([0, 0].into_iter(), &Glyphs::ASCII), "  ");
        assert_eq!(bar(1, 1_000, 10, &Glyphs::ASCII), "#");
        assert_eq!(bar(1_000, 1_000, 10, &Glyphs::ASCII), "##########");
        assert_eq!(bar(0, 0, 10, &Glyphs::ASCII), "");
    }
}
