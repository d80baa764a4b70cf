//! `tfo-cli debug`: what the verifier does with every program on this kernel, as a table or as JSON; the dashboard as a
//! picture.

use std::path::Path;

use serde::Serialize;
use tfo_common::limits;

use super::{
    replay::Replay,
    top::{reader::Shared, replay},
};
use crate::{
    args::{DebugArgs, DebugWhat},
    exit::{self, Failure},
    kernel::verify_cost::{self, ProgramCost},
    options::AttachOptions,
    output,
    signals::Stop,
    tui::picture,
};

/// Prints what was asked for.
pub fn run(args: &DebugArgs) -> Result<u8, Failure> {
    match &args.what {
        DebugWhat::Programs { json } => programs(*json),
        DebugWhat::Picture {
            replay,
            columns,
            rows,
        } => picture(replay, (*columns, *rows)),
    }
}

/// The end of a recording as the dashboard shows it.
fn picture(path: &Path, size: (u16, u16)) -> Result<u8, Failure> {
    let stop = Stop::default();
    let shared = Shared::new(&AttachOptions::default());
    replay::play(&mut Replay::open(path, &stop)?, None, &shared, &stop)?;
    shared.set_status(vec![" RECORDING ".to_owned()]);
    output::print(&picture::svg(&shared, size))?;
    Ok(exit::DONE)
}

/// Prints what the verifier does with every program; fails when one is refused or above the bound.
fn programs(json: bool) -> Result<u8, Failure> {
    let costs = verify_cost::programs().map_err(|error| {
        let failure = Failure::new(error.exit_code(), &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    output::print(&if json { lines(&costs)? } else { table(&costs) })?;
    let all_fine = costs.iter().all(ProgramCost::is_fine);
    Ok(if all_fine { exit::DONE } else { exit::FAILED })
}

/// A program, and how many instructions the verifier may process for it.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    cost: &'a ProgramCost,
    bound: u32,
}

fn lines(costs: &[ProgramCost]) -> anyhow::Result<String> {
    let mut text = String::new();
    for cost in costs {
        let bound = limits::VERIFIED_INSNS;
        text.push_str(&serde_json::to_string(&Line { cost, bound })?);
        text.push('\n');
    }
    Ok(text)
}

fn table(costs: &[ProgramCost]) -> String {
    let row = |cells: [&str; 6]| {
        let [object, program, instructions, jited, verified, word] = cells;
        let line =
            format!("{object:<10} {program:<16} {instructions:>12} {jited:>11} {verified:>14}  {word}");
        line.trim_end().to_owned() + "\n"
    };
    let mut text = row([
        "object",
        "program",
        "instructions",
        "jited bytes",
        "verified insns",
        "",
    ]);
    for cost in costs {
        let word = match &cost.refused {
            Some(why) => format!("refused: {why}"),
            None if cost.is_fine() => String::new(),
            None => format!("more than {}", limits::VERIFIED_INSNS),
        };
        let verified = cost
            .verified_insns
            .map_or_else(|| "-".to_owned(), |count| count.to_string());
        text.push_str(&row([
            cost.object,
            &cost.program,
            &cost.instructions.to_string(),
            &cost.jited_bytes.to_string(),
            &verified,
            &word,
        ]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(verified_insns: Option<u32>, refused: Option<&str>) -> ProgramCost {
        ProgramCost {
            object: "tfo-policy",
            program: "tfo_pol_egress".to_owned(),
            instructions: 1_969,
            jited_bytes: 9_000,
            verified_insns,
            refused: refused.map(str::to_owned),
        }
    }

    #[test]
    fn one_line_per_program_and_a_word_for_what_is_wrong() {
        let costs = [
            cost(Some(50_000), None),
            cost(Some(50_001), None),
            cost(Some(1_000_001), Some("Argument list too long")),
        ];
        assert_eq!(
            table(&costs),
            "object     program          instructions jited bytes verified insns\n\
             tfo-policy tfo_pol_egress           1969        9000          50000\n\
             tfo-policy tfo_pol_egress           1969        9000          50001  more than 50000\n\
             tfo-policy tfo_pol_egress           1969        9000        1000001  refused: Argument list too long\n"
        );
        let json = lines(&costs).expect("it has no maps with odd keys");
        assert_eq!(json.lines().count(), 3);
        assert!(
            json.starts_with(r#"{"object":"tfo-policy","program":"tfo_pol_egress","instructions":1969,"#)
        );
    }
}
