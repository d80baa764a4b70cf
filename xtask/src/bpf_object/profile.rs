//! Which blocks of the programs healthy connections run, and which connections run the same ones: `tfo-ebpf/profile.txt`, which
//! `cargo xtask profile` writes and every build of the objects reads.
//!
//! A block is known by the line and column it comes from, and by its place among the others. So the profile still fits, but for what was
//! changed, after the programs were changed or another compiler has made them. A block it does not know stays with the one before. All
//! that a profile can do wrong is to be of no use: the programs do the same in any order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::elf::Line;
use crate::workspace;

/// What the file begins with.
const HEAD: &str = "\
# Blocks of the eBPF programs by the line and column they come from, in their order. `a`: every kind of healthy connection runs it
# that runs the program; other letters: some do, those with the same letter the same ones; -: hardly any does.
# Written by `cargo xtask profile`, read by every build (xtask/src/bpf_object/profile.rs).
";
/// Blocks on a line of the file.
const WIDTH: usize = 14;

/// Which connections run a block: the same rank, the same connections. 0 is run by most of them; `None` by hardly any.
pub type Rank = Option<u8>;

/// The highest rank, which has the last letter.
pub const LAST_RANK: u8 = 25;

/// Of each program its blocks and their ranks. Programs that healthy connections do not run are not in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile(pub BTreeMap<String, Vec<(Line, Rank)>>);

/// Where it lies.
pub fn file() -> PathBuf {
    workspace::root().join("tfo-ebpf/profile.txt")
}

impl Profile {
    pub fn parse(text: &str) -> Result<Self> {
        let mut programs = BTreeMap::new();
        let mut blocks: Option<&mut Vec<(Line, Rank)>> = None;
        for (number, line) in text.lines().enumerate() {
            let read = || format!("line {} of the profile: `{line}`", number + 1);
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix("program ") {
                ensure!(!programs.contains_key(name), "{}: twice", read());
                blocks = Some(programs.entry(name.to_owned()).or_default());
                continue;
            }
            let blocks = blocks.as_mut().with_context(read)?;
            for word in line.split_whitespace() {
                blocks.push(block(word).with_context(read)?);
            }
        }
        Ok(Self(programs))
    }

    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, blocks) in &self.0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "\nprogram {name}");
            for (index, ((line, column), rank)) in blocks.iter().enumerate() {
                let before = if index % WIDTH == 0 { "\n" } else { " " };
                let letter = rank.map_or('-', |rank| char::from(b'a' + rank.min(LAST_RANK)));
                let _ = write!(text, "{before}{line}:{column}{letter}");
            }
            text.push('\n');
        }
        text
    }

    /// The ranks of a program's blocks, by where they come from, and how many of them the profile knows. `None`: it does not know
    /// the program. A block that it does not know stays with the one before.
    pub fn ranks(&self, program: &str, lines: &[Line]) -> Option<(Vec<Rank>, usize)> {
        let known = self.0.get(program)?;
        let before: Vec<Line> = known.iter().map(|(line, _)| *line).collect();
        let mut found = vec![None; lines.len()];
        for step in capture_diff_slices(Algorithm::Myers, &before, lines) {
            if let DiffOp::Equal {
                old_index,
                new_index,
                len,
            } = step
            {
                for index in 0..len {
                    found[new_index + index] = Some(known[old_index + index].1);
                }
            }
        }
        let count = found.iter().flatten().count();
        // It is entered in the first.
        let mut last = Some(0);
        let ranks = found.into_iter().enumerate().map(|(index, rank)| {
            last = if index == 0 { last } else { rank.unwrap_or(last) };
            last
        });
        Some((ranks.collect(), count))
    }
}

/// `line:column` with a letter.
fn block(word: &str) -> Option<(Line, Rank)> {
    let (place, letter) = word.split_at_checked(word.len().checked_sub(1)?)?;
    let rank = match letter.as_bytes() {
        [b'-'] => None,
        [letter @ b'a'..=b'z'] => Some(letter - b'a'),
        _ => return None,
    };
    let (line, column) = place.split_once(':')?;
    Some(((line.parse().ok()?, column.parse().ok()?), rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Profile {
        let blocks = [
            ((1, 5), Some(0)),
            ((2, 9), None),
            ((3, 5), Some(2)),
            ((3, 5), None),
        ];
        Profile([("tfo_connect".to_owned(), blocks.to_vec())].into())
    }

    #[test]
    fn what_was_written_is_read() {
        let long = (0..40).map(|line| {
            (
                (line, 1),
                u8::try_from(line).ok().filter(|rank| *rank <= LAST_RANK),
            )
        });
        let mut profile = example();
        profile.0.insert("tfo_finish".to_owned(), long.collect());
        assert_eq!(Profile::parse(&profile.text()).unwrap(), profile);
        assert_eq!(Profile::parse("").unwrap(), Profile::default());
    }

    #[test]
    fn what_is_no_profile_is_an_error() {
        for text in [
            "1:5a",
            "program a\n1:5",
            "program a\n1a",
            "program a\n1:5\u{e4}",
            "program a\n1:x-",
            "program a\nprogram a",
        ] {
            let error = format!("{:#}", Profile::parse(text).unwrap_err());
            assert!(error.contains("of the profile"), "{text:?}: {error}");
        }
    }

    #[test]
    fn blocks_are_known_by_their_line_and_place() {
        let lines = [(1, 5), (2, 9), (3, 5), (3, 5)];
        let (ranks, found) = example().ranks("tfo_connect", &lines).unwrap();
        assert_eq!((ranks, found), (vec![Some(0), None, Some(2), None], 4));
        assert_eq!(example().ranks("tfo_count", &lines), None);
    }

    #[test]
    fn a_block_it_does_not_know_stays_with_the_one_before_and_the_first_is_the_first() {
        let lines = [(7, 7), (8, 1), (2, 9), (8, 2)];
        let (ranks, found) = example().ranks("tfo_connect", &lines).unwrap();
        assert_eq!((ranks, found), (vec![Some(0), Some(0), None, None], 1));
        let (ranks, _) = example().ranks("tfo_connect", &[(2, 9), (9, 9)]).unwrap();
        assert_eq!(ranks, [Some(0); 2]);
    }

    #[test]
    fn the_profile_in_the_repository_can_be_read() {
        let text = std::fs::read_to_string(file()).unwrap();
        let profile = Profile::parse(&text).unwrap();
        assert!(
            profile.text() == text,
            "it is not as `cargo xtask profile` writes it"
        );
        for program in [
            "tfo_sock_ops",
            "tfo_connect",
            "tfo_destroy",
            "tfo_pol_sockops",
            "tfo_pol_egress",
        ] {
            assert!(profile.0.contains_key(program), "{program}");
        }
    }
}
