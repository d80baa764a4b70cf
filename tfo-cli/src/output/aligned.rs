//! Tables as text: columns two spaces apart, as wide as what is in them.

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// What stands above it.
    pub title: &'static str,
    /// Numbers are aligned to the right.
    pub right: bool,
}

impl Heading {
    /// A column of words.
    pub const fn text(title: &'static str) -> Self {
        Self { title, right: false }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str) -> Self {
        Self { title, right: true }
    }
}

/// The table with its headings, a line feed behind each line.
pub fn table<R: AsRef<[String]>>(headings: &[Heading], rows: &[R]) -> String {
    let titles: Vec<String> = headings.iter().map(|heading| heading.title.to_owned()).collect();
    let all = || {
        [titles.as_slice()]
            .into_iter()
            .chain(rows.iter().map(AsRef::as_ref))
    };
    lines(headings, all).map(|line| line + "\n").collect()
}

/// The rows without headings, no line feeds; for columns of words.
pub fn rows<R: AsRef<[String]>>(rows: &[R]) -> impl Iterator<Item = String> {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let headings = vec![Heading::text(""); columns];
    lines(&headings, || rows.iter().map(AsRef::as_ref))
        .collect::<Vec<_>>()
        .into_iter()
}

fn lines<'a, I: Iterator<Item = &'a [String]>>(
    headings: &[Heading],
    all: impl Fn() -> I,
) -> impl Iterator<Item = String> {
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let shape: Vec<(usize, bool)> = (0..)
        .zip(headings)
        .map(|(column, heading)| (width(column), heading.right))
        .collect();
    all().map(move |row| {
        let cells = row.iter().zip(&shape).map(|(cell, (width, right))| {
            if *right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let headings = [Heading::text("NAME"), Heading::number("N"), Heading::text("WHY")];
        let rows = [["a", "100", ""], ["bürste", "7", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            table(&headings, &rows),
            "NAME      N  WHY\na       100\nbürste    7  x\n"
        );
        assert_eq!(super::rows(&rows).next().as_deref(), Some("a       100"));
        assert_eq!(table::<[String; 3]>(&headings, &[]), "NAME  N  WHY\n");
    }
}
