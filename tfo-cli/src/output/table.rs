//! `top` as text: a header and the destination table, worst first. Columns are as wide as what is in them.

use std::io::{self, Write};

use super::{
    aligned::{self, Heading},
    column::{COLUMNS, Column},
    number, time,
};
use crate::clean::{clean, clean_lines};
use crate::model::{DestRow, Snapshot, host::sysctl_words, networks::Sum, snapshot::sum};
use tfo_common::{Outcome, Role, outcome::Group};

/// Columns of the text table: all but the trend, which needs a drawing.
pub fn default_columns(snapshot: &Snapshot) -> Vec<Column> {
    COLUMNS
        .iter()
        .map(|spec| spec.column)
        .filter(|column| *column != Column::Trend)
        .filter(|column| *column != Column::Network || !snapshot.networks.is_empty())
        .collect()
}

/// Writes header and table.
pub fn write(
    snapshot: &Snapshot,
    rows: &[&DestRow],
    columns: &[Column],
    out: &mut dyn Write,
) -> io::Result<()> {
    for line in header(snapshot) {
        writeln!(out, "{}", clean(&line))?;
    }
    writeln!(out)?;
    let headings: Vec<Heading> = columns
        .iter()
        .map(|column| Heading {
            title: column.spec().title,
            right: column.spec().right,
        })
        .collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| column.cell(row, snapshot)).collect())
        .collect();
    out.write_all(clean_lines(&aligned::table(&headings, &cells)).as_bytes())?;
    if rows.is_empty() {
        writeln!(out, "no handshake yet")?;
    }
    write_networks(snapshot, rows, out)
}

/// Writes what the destinations of each network add up to, after an empty line; nothing where no file names any.
pub fn write_networks(snapshot: &Snapshot, rows: &[&DestRow], out: &mut dyn Write) -> io::Result<()> {
    if snapshot.networks.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    out.write_all(networks(snapshot, rows).as_bytes())
}

/// The destinations of each network added up.
fn networks(snapshot: &Snapshot, rows: &[&DestRow]) -> String {
    let headings = [
        Heading::text("NETWORK"),
        Heading::number("PEERS"),
        Heading::number("TRIED"),
        Heading::number("HIT"),
        Heading::number("FAILED"),
        Heading::number("PLAIN"),
        Heading::number("SAVED"),
        Heading::number("LOST"),
    ];
    let sums = snapshot
        .networks
        .sums(rows.iter().copied(), snapshot.server_prefixes);
    let lines: Vec<[String; 8]> = sums
        .iter()
        .map(|sum| {
            let [peers, tried, hit, failed, plain, saved, lost] = network_numbers(sum);
            let label = sum.label.as_deref().unwrap_or("-").to_owned();
            [label, peers, tried, hit, failed, plain, saved, lost]
        })
        .collect();
    aligned::table(&headings, &lines)
}

/// The numbers of a network as they are shown everywhere: destinations, attempts, hit rate, failures, plain handshakes, time
/// saved and time lost.
pub fn network_numbers(sum: &Sum) -> [String; 7] {
    [
        sum.destinations.to_string(),
        number::count(sum.attempts),
        sum.hit_rate().map_or_else(|| "-".to_owned(), number::percent),
        number::count(sum.failures),
        number::count(sum.plain),
        number::duration(sum.saved_us),
        number::duration(sum.lost_us),
    ]
}

/// The lines above the table.
pub fn header(snapshot: &Snapshot) -> Vec<String> {
    let host = &snapshot.host;
    let sysctl = host.tcp_fastopen.map_or_else(
        || "unknown".to_owned(),
        |value| format!("{value:#x} ({})", sysctl_words(value)),
    );
    let mut lines = vec![
        format!(
            "{} {} at {} UTC, counting for {}",
            host.name,
            host.kernel,
            time::of_day_seconds(snapshot.wall_ns(snapshot.at_ns)),
            number::duration(snapshot.elapsed_ns / 1_000),
        ),
        format!(
            "net.ipv4.tcp_fastopen = {sysctl} in the host's network namespace; blackhole pause {}",
            blackhole(snapshot)
        ),
    ];
    lines.extend(Role::ALL.map(|role| totals(snapshot, role)));
    lines.push(format!("lost: {}", losses(snapshot)));
    lines.push(format!(
        "against the kernel's counters: {}",
        cross_check(snapshot)
    ));
    lines.extend(
        snapshot
            .degradations
            .iter()
            .map(|one| format!("degraded: {}: {}", one.name, one.why)),
    );
    lines
}

/// The blackhole timeout in words.
pub fn blackhole(snapshot: &Snapshot) -> String {
    match snapshot.host.blackhole_timeout_sec {
        None => "unknown".to_owned(),
        Some(0) => "off".to_owned(),
        Some(seconds) => format!("{seconds}s after the third timeout"),
    }
}

fn totals(snapshot: &Snapshot, role: Role) -> String {
    let all = |wanted| number::count(snapshot.total(role, wanted));
    let fresh = sum(&snapshot.fresh, role, |outcome| !outcome.is_plain());
    let denied = snapshot.total(role, |outcome| outcome.group() == Group::Denied);
    let denied = match denied {
        0 => String::new(),
        count => format!(", {} denied", number::count(count)),
    };
    format!(
        "{}: {} tried ({}/s), {} good, {} failed{denied}, {} plain",
        role.name(),
        all(|outcome| !outcome.is_plain()),
        number::rate(fresh, snapshot.interval_ns),
        all(Outcome::is_good),
        all(Outcome::is_failure),
        all(Outcome::is_plain),
    )
}

/// What was lost, by reason.
pub fn losses(snapshot: &Snapshot) -> String {
    let reasons: Vec<String> = snapshot
        .losses_by_reason()
        .map(|(loss, count)| format!("{} {}", number::count(count), loss.name()))
        .collect();
    if reasons.is_empty() {
        "nothing".to_owned()
    } else {
        reasons.join(", ")
    }
}

/// What the kernel's own counters say more or less than we do.
pub fn cross_check(snapshot: &Snapshot) -> String {
    let off: Vec<String> = snapshot
        .cross
        .iter()
        .filter(|line| line.difference() != 0)
        .map(|line| {
            let short = line.counter.trim_start_matches("TCPFastOpen");
            format!("{short} {:+}", line.difference())
        })
        .collect();
    match (snapshot.cross.is_empty(), off.is_empty()) {
        // A cgroup is watched, or a capture: the kernel counts for everybody.
        (true, _) if snapshot.at_ns > 0 => "not compared".to_owned(),
        (true, _) => "nothing yet".to_owned(),
        (false, true) => "the same".to_owned(),
        (false, false) => off.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::Scenario;

    fn table(snapshot: &Snapshot) -> String {
        let mut out = Vec::new();
        let rows: Vec<_> = snapshot.rows.iter().collect();
        write(snapshot, &rows, &default_columns(snapshot), &mut out).expect("memory takes it");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn worst_destination_first() {
        insta::assert_snapshot!(table(&Scenario::default().model(5).snapshot()));
    }

    #[test]
    fn losses_and_degradations_are_named() {
        insta::assert_snapshot!(
            table(&Scenario::default().with_losses().model(5).snapshot())
                .lines()
                .take(8)
                .collect::<Vec<_>>()
                .join("\n")
        );
    }

    #[test]
    fn nothing_yet() {
        insta::assert_snapshot!(table(&Snapshot::default()));
    }
}
