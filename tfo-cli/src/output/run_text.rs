//! `run` for people, in the manner of `perf stat`: counts with their names, then findings.

use std::io::{self, Write};

use tfo_common::{Outcome, Role};

use super::{
    aligned::{self, Heading},
    clean, diagnosis_text, number,
    run_report::{Ended, RunReport},
    table,
};
use crate::model::diagnosis::Finding;

/// Writes it, between empty lines: the command's own words may stand before it.
pub fn write(report: &RunReport<'_>, details: bool, out: &mut dyn Write) -> io::Result<()> {
    let snapshot = report.snapshot;
    writeln!(out, "\n Fast Open of '{}':\n", clean(&report.command_line()))?;
    let mut silent = true;
    for role in Role::ALL {
        silent &= !write_role(report, role, out)?;
    }
    if silent {
        writeln!(out, " no TCP connection\n")?;
    }
    let findings: Vec<&Finding> = snapshot.diagnosis.findings.iter().collect();
    if !findings.is_empty() {
        diagnosis_text::write(&findings, snapshot, details, out)?;
        writeln!(out)?;
    }
    writeln!(out, " {} elapsed, {}", elapsed(report), ending(report.ended))?;
    if report.left_behind > 0 {
        writeln!(
            out,
            " processes left behind: {}; they live on and are not watched any more",
            report.left_behind
        )?;
    }
    if snapshot.lost() > 0 {
        writeln!(out, " incomplete: {}", table::losses(snapshot))?;
    }
    if let Some(trouble) = &report.trouble {
        writeln!(out, " incomplete: {}", clean(trouble))?;
    }
    for one in snapshot.degradations.iter() {
        writeln!(out, " degraded: {}: {}", one.name, one.why)?;
    }
    writeln!(out)
}

/// One end; false where it had no connection.
fn write_role(report: &RunReport<'_>, role: Role, out: &mut dyn Write) -> io::Result<bool> {
    let sums = report.sums(role);
    if sums.connections == 0 {
        return Ok(false);
    }
    let mut lines = vec![[
        number::count(sums.connections),
        role.name().to_owned(),
        match role {
            Role::Client => "connections that it made".to_owned(),
            Role::Server => "connections that it took".to_owned(),
        },
    ]];
    for outcome in Outcome::ALL {
        let count = report.snapshot.totals[role as usize][outcome as usize];
        if count > 0 {
            let sentence = outcome.sentence(role).unwrap_or_default();
            lines.push([
                number::count(count),
                outcome.name().to_owned(),
                sentence.to_owned(),
            ]);
        }
    }
    if sums.syn_bytes > 0 {
        let accepted = format!("{} of them accepted", number::bytes(sums.syn_bytes_accepted));
        lines.push([number::bytes(sums.syn_bytes), "in SYNs".to_owned(), accepted]);
    }
    for (us, word) in [(sums.saved_us, "saved"), (sums.lost_us, "lost")] {
        if us > 0 {
            lines.push([number::duration(us), word.to_owned(), String::new()]);
        }
    }
    let headings = [Heading::number(""), Heading::text(""), Heading::text("")];
    // Without its line of empty headings.
    for line in aligned::table(&headings, &lines).lines().skip(1) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)?;
    Ok(true)
}

fn elapsed(report: &RunReport<'_>) -> String {
    number::duration(u64::try_from(report.elapsed.as_micros()).unwrap_or(u64::MAX))
}

fn ending(ended: Ended) -> String {
    match ended {
        Ended::Exit(code) => format!("exit code {code}"),
        Ended::Signal(signal) => format!("ended by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Snapshot, fake::Scenario};

    fn text(snapshot: &Snapshot, ended: Ended) -> String {
        let command = ["curl", "-s", "http://\u{1b}[2Jhost/"].map(Into::into);
        let report = RunReport {
            command: &command,
            ended,
            elapsed: Duration::from_millis(1_234),
            left_behind: usize::from(ended != Ended::Exit(0)),
            trouble: None,
            snapshot,
        };
        let mut out = Vec::new();
        write(&report, false, &mut out).expect("memory takes it");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn counts_findings_and_the_end() {
        let mut model = Scenario::default().with_losses().model(5);
        model.diagnose();
        insta::assert_snapshot!(text(&model.snapshot(), Ended::Exit(0)));
    }

    #[test]
    fn nothing_happened() {
        insta::assert_snapshot!(text(&Snapshot::default(), Ended::Signal(2)));
    }
}
