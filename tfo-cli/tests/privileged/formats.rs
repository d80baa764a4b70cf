//! The same connections in every format of `trace`: stdout has only records, and the records agree.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use tfo_lab::lab::Lab;

use crate::support::{
    flow::{Flow, Role},
    needs_kernel,
    round::{PER_ROUND, Pair, round},
    sandbox::Sandbox,
    schema,
};

/// Records of two rounds.
const FLOWS: usize = 2 * 2 * PER_ROUND;

/// One flow as all formats can tell it: role, local, remote, outcome, SYN bytes acked and sent.
type Line = (String, String, String, String, String);

#[test]
fn text_csv_and_json_tell_the_same() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let json = sandbox.trace(&["--all"])?;
    let text = sandbox.tool("trace", &["--all", "--format", "text"])?;
    let csv = sandbox.tool("trace", &["--all", "--format", "csv"])?;
    round(&lab, &pair)?;
    round(&lab, &pair)?;
    // Lines come while it runs, not when it ends.
    json.wait_for_lines(FLOWS)?;
    text.wait_for_lines(1 + FLOWS)?;
    csv.wait_for_lines(1 + FLOWS)?;
    let json = json.stop()?;
    for line in &json.stdout {
        schema::check(&serde_json::from_str(line)?);
    }
    let (flows, _) = json.complete_records()?;
    ensure!(flows.len() == FLOWS, "{} flows", flows.len());
    let expected: BTreeSet<Line> = flows.iter().map(of_flow).collect();

    let text = text.stop()?;
    let csv = csv.stop()?;
    for (format, ended) in [("text", &text), ("csv", &csv)] {
        ensure!(ended.code == Some(0), "{format}: {ended:?}");
        let summary = format!("tfo-cli: {0} flows printed of {0} seen", flows.len());
        ensure!(
            ended.stderr.iter().any(|line| line.starts_with(&summary)),
            "{format}: no summary in {:?}",
            ended.stderr
        );
        ensure!(
            ended.stdout.len() == 1 + flows.len(),
            "{format}: {:?}",
            ended.stdout
        );
    }
    let rows = of_csv(&csv.stdout)?;
    ensure!(rows == expected, "csv: {rows:?}, json: {expected:?}");
    let lines = of_text(&text.stdout)?;
    ensure!(lines == expected, "text: {lines:?}, json: {expected:?}");
    Ok(())
}

fn of_flow(flow: &Flow) -> Line {
    let role = match flow.role {
        Role::Client => "client",
        Role::Server => "server",
    };
    let syn = if flow.syn_data_len == 0 {
        "-".to_owned()
    } else {
        format!("{}/{}", flow.syn_data_acked, flow.syn_data_len)
    };
    (
        role.to_owned(),
        flow.local().to_string(),
        flow.remote().to_string(),
        flow.outcome.clone(),
        syn,
    )
}

/// By the names in the header, as many cells as it has; no cell of these needs quotes.
fn of_csv(lines: &[String]) -> Result<BTreeSet<Line>> {
    let (header, rows) = lines.split_first().context("no header")?;
    let names: Vec<_> = header.trim_end().split(',').collect();
    let column = |name: &str| {
        names
            .iter()
            .position(|column| *column == name)
            .with_context(|| format!("no column {name} in {header}"))
    };
    let columns = [
        column("role")?,
        column("local_addr")?,
        column("local_port")?,
        column("remote_addr")?,
        column("remote_port")?,
        column("outcome")?,
        column("syn_data_acked")?,
        column("syn_data_len")?,
    ];
    let row = |line: &String| {
        let cells: Vec<_> = line.trim_end().split(',').collect();
        ensure!(cells.len() == names.len(), "{} cells: {line}", cells.len());
        let [role, local, local_port, remote, remote_port, outcome, acked, sent] =
            columns.map(|index| cells[index].to_owned());
        let syn = if sent == "0" {
            "-".to_owned()
        } else {
            format!("{acked}/{sent}")
        };
        Ok((
            role,
            format!("{local}:{local_port}"),
            format!("{remote}:{remote_port}"),
            outcome,
            syn,
        ))
    };
    rows.iter().map(row).collect()
}

/// Words of the lines; also that the lines are aligned once the widest process name has been met.
fn of_text(lines: &[String]) -> Result<BTreeSet<Line>> {
    let (header, rows) = lines.split_first().context("no header")?;
    ensure!(header.starts_with("TIME"), "no header: {header}");
    let mut places = Vec::new();
    let mut found = BTreeSet::new();
    for line in rows {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, role, local, arrow, remote, _, outcome, syn, ..] = words[..] else {
            anyhow::bail!("too few words: {line}");
        };
        ensure!(arrow == if role == "client" { "->" } else { "<-" }, "{line}");
        // The outcome's column begins behind the widest name.
        places.push(line.find(&format!(" {outcome} ")).with_context(|| line.clone())?);
        let own = |word: &str| word.to_owned();
        found.insert((own(role), own(local), own(remote), own(outcome), own(syn)));
    }
    let settled = &places[places.len() / 2..];
    ensure!(
        settled.iter().all(|place| *place == settled[0]),
        "not aligned: {lines:#?}"
    );
    Ok(found)
}
