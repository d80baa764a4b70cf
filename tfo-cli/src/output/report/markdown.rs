//! For tickets and chats. Tables stay below a hundred columns: what can be long stands in lists and code.

use std::io::{self, Write};

use super::{
    NETWORK_HEADINGS, PRIMER, Report,
    span::{Span, spans},
};

/// Writes it.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "# {}\n", escaped(&report.title))?;
    writeln!(out, "{}\n", report.window)?;
    writeln!(out, "**{}**\n", escaped(&report.verdict))?;
    writeln!(out, "{PRIMER}\n")?;
    actions(report, out)?;
    cost(report, out)?;
    networks(report, out)?;
    timeline(report, out)?;
    findings(report, out)?;
    writeln!(out, "## What was ruled out\n")?;
    if report.excluded.is_empty() {
        writeln!(out, "Nothing had to be.")?;
    }
    for (finding, text) in &report.excluded {
        writeln!(out, "- {finding}: {}", rich(text))?;
    }
    writeln!(out, "\n## What could not be seen\n")?;
    for line in &report.unseen {
        writeln!(out, "- {}", escaped(line))?;
    }
    writeln!(out, "\n## Versions\n")?;
    for (what, version) in &report.versions {
        writeln!(out, "- {what}: {}", escaped(version))?;
    }
    writeln!(
        out,
        "\n## How to make this report again\n\nMade from {}:\n",
        escaped(&report.origin.what)
    )?;
    code(&report.origin.command, out)?;
    match &report.origin.sha256 {
        Some(hash) => writeln!(out, "SHA-256 of it: `{hash}`"),
        None => writeln!(out, "There is no file of it, so there is no hash."),
    }
}

fn actions(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## What to do now\n")?;
    if report.actions.is_empty() {
        return writeln!(out, "Nothing.\n");
    }
    writeln!(
        out,
        "Worst first. Commands are typed on {}, as root, unless the text says otherwise.\n",
        escaped(&report.whose)
    )?;
    for action in &report.actions {
        let findings: Vec<String> = action
            .findings
            .iter()
            .map(|(number, name)| format!("finding {number}, {}", escaped(name)))
            .collect();
        writeln!(out, "For {} ({}):\n", findings.join("; "), action.weight)?;
        if let Some(command) = &action.command {
            code(command, out)?;
        }
        writeln!(out, "{}", rich(&action.what))?;
        if !action.undo.is_empty() {
            writeln!(out, "{}", rich(&action.undo))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cost(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## What it costs\n\n{}\n", report.ledger)?;
    if report.cost.is_empty() {
        return Ok(());
    }
    writeln!(out, "| finding | diagnosis | per connection | per hour | |")?;
    writeln!(out, "| ---: | --- | ---: | ---: | --- |")?;
    for line in &report.cost {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            line.finding, line.name, line.each, line.per_hour, line.kind
        )?;
    }
    writeln!(out)
}

fn networks(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.networks.is_empty() {
        return Ok(());
    }
    writeln!(out, "## By network\n")?;
    writeln!(out, "| {} |", NETWORK_HEADINGS.join(" | "))?;
    writeln!(out, "| --- |{}", " ---: |".repeat(NETWORK_HEADINGS.len() - 1))?;
    for line in &report.networks {
        writeln!(out, "| {} | {} |", escaped(&line.label), line.numbers.join(" | "))?;
    }
    writeln!(out)
}

fn timeline(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## When it happened\n")?;
    if report.timeline.bars.is_empty() {
        return writeln!(out, "Nothing was counted over time.\n");
    }
    writeln!(
        out,
        "Fast Open in the handshakes of every {}:\n",
        report.timeline.length
    )?;
    writeln!(out, "| from (UTC) | worked | did not | not tried |")?;
    writeln!(out, "| --- | ---: | ---: | ---: |")?;
    for bar in &report.timeline.bars {
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            bar.at, bar.good, bar.failed, bar.plain
        )?;
    }
    writeln!(out)
}

fn findings(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## What was found\n")?;
    if report.findings.is_empty() {
        writeln!(out, "Nothing.\n")?;
    }
    for part in &report.findings {
        writeln!(
            out,
            "### {}. {} ({}): {}\n",
            part.number,
            part.name,
            part.severity,
            escaped(&part.place)
        )?;
        writeln!(out, "{} {}\n", escaped(&part.sentence), part.meaning)?;
        if part.service != "-" {
            writeln!(out, "- service: {}", escaped(&part.service))?;
        }
        for line in &part.evidence {
            writeln!(out, "- evidence: {}", escaped(line))?;
        }
        for line in &part.or_else {
            writeln!(out, "- not ruled out: {}", rich(line))?;
        }
        writeln!(out, "- confidence: {}", part.confidence)?;
        writeln!(out, "- more: {}\n", part.anchor)?;
        if let Some((line, ladder)) = &part.example {
            writeln!(out, "One connection: {}\n", escaped(line))?;
            let width = ladder.rungs.iter().map(|rung| rung.at.len()).max().unwrap_or(0);
            for rung in &ladder.rungs {
                writeln!(
                    out,
                    "    {:>width$}  client {} server  {}",
                    rung.at,
                    rung.arrow(),
                    rung.what
                )?;
            }
            writeln!(out, "\n{}\n", ladder.meaning)?;
        }
    }
    Ok(())
}

/// A line of code; it has no line breaks, so it cannot end its block.
fn code(line: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "    {line}\n")
}

/// A text of ours, in which backquotes mark what is typed.
fn rich(text: &str) -> String {
    let pieces = spans(text).into_iter().map(|span| match span {
        Span::Text(text) => escaped(text),
        Span::Code(code) => format!("`{code}`"),
    });
    pieces.collect()
}

/// Text that stays text: what others chose must not become markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if "|*_<>[]`\\#~&".contains(character) {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}
