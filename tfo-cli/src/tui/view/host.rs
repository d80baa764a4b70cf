//! The view of the host: settings, the kernel's counters beside our own, losses, degradations, the cost of observing,
//! and the attached programs.

use ratatui::text::{Line, Span};

use crate::{
    model::host::SYSCTL_BITS,
    output::{clean, number, table},
    tui::state::State,
};

/// The lines of the view.
pub fn lines(state: &State) -> Vec<Line<'static>> {
    let sections: [(&str, Vec<Line<'static>>); 6] = [
        ("Settings", settings(state)),
        (
            "Kernel counters and what was seen, since the start",
            counters(state),
        ),
        ("Lost", losses(state)),
        ("Not possible on this host", degradations(state)),
        ("Own cost", cost(state)),
        ("Attached", attached(state)),
    ];
    let mut lines = Vec::new();
    for (title, content) in sections {
        lines.push(Line::from(Span::styled(title, state.theme.accent)));
        lines.extend(content);
        lines.push(Line::default());
    }
    lines.pop();
    lines
}

/// A text in as many lines as it takes, each indented by this many blanks.
fn indented(state: &State, text: &str, indent: usize) -> impl Iterator<Item = Line<'static>> {
    let room = usize::from(state.size.width).saturating_sub(indent);
    super::wrapped(text, u16::try_from(room).unwrap_or(0))
        .into_iter()
        .map(move |line| Line::from(format!("{:indent$}{line}", "")))
}

fn settings(state: &State) -> Vec<Line<'static>> {
    let host = &state.snapshot.host;
    if host.netns == 0 {
        return vec!["  nothing read yet".into()];
    }
    let mut lines = vec![Line::from(format!(
        "  {} {}, network namespace {}",
        clean(&host.name),
        clean(&host.kernel),
        host.netns
    ))];
    match host.tcp_fastopen {
        None => lines.push("  net.ipv4.tcp_fastopen could not be read".into()),
        Some(value) => {
            let here = "in this namespace; listeners go by that of theirs";
            lines.push(format!("  net.ipv4.tcp_fastopen = {value:#x} {here}").into());
            for (bit, word, what) in SYSCTL_BITS {
                let on = value & bit != 0;
                let text = format!(
                    "    {} {bit:#05x} {word:<17} {what}",
                    if on { "on " } else { "off" }
                );
                let style = if on { state.theme.strong } else { state.theme.dim };
                lines.push(Line::from(Span::styled(text, style)));
            }
        }
    }
    lines.push(format!("  blackhole pause: {}", table::blackhole(&state.snapshot)).into());
    let pauses = host
        .mib
        .iter()
        .find(|(netns, _)| *netns == host.netns)
        .and_then(|(_, mib)| mib.blackhole);
    lines.extend(pauses.map(|count| Line::from(format!("  pauses since the host started: {count}"))));
    lines
}

fn counters(state: &State) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(Span::styled(
        format!(
            "  {:<10}  {:<26} {:>10} {:>10} {:>10}",
            "NETNS", "COUNTER", "KERNEL", "SEEN", "DIFFERENCE"
        ),
        state.theme.dim,
    ))];
    for line in state.snapshot.cross.iter() {
        let text = format!(
            "  {:<10}  {:<26} {:>10} {:>10} {:>+10}",
            line.netns,
            line.counter,
            line.kernel,
            line.seen,
            line.difference()
        );
        let style = if line.difference() == 0 {
            ratatui::style::Style::new()
        } else {
            state.theme.strong
        };
        lines.push(Line::from(Span::styled(text, style)));
    }
    if state.snapshot.cross.is_empty() {
        lines.push("  nothing read yet".into());
    }
    lines
}

fn losses(state: &State) -> Vec<Line<'static>> {
    let reason = |(loss, count): (tfo_common::Loss, u64)| {
        let name = format!("  {:>10} {:<18} ", number::count(count), loss.name());
        let mut lines: Vec<_> = indented(state, loss.describe(), name.len()).collect();
        if let Some(first) = lines.first_mut() {
            *first = Line::from(format!("{name}{}", first.to_string().trim_start()));
        }
        lines
    };
    let lines: Vec<_> = state.snapshot.losses_by_reason().flat_map(reason).collect();
    if lines.is_empty() {
        vec!["  nothing".into()]
    } else {
        lines
    }
}

fn degradations(state: &State) -> Vec<Line<'static>> {
    let one = |one: &crate::model::source::Degradation| {
        let mut lines = vec![Line::from(Span::styled(
            format!("  {}", clean(one.name)),
            state.theme.strong,
        ))];
        lines.extend(indented(state, &clean(&one.why), 4));
        lines
    };
    let lines: Vec<_> = state.snapshot.degradations.iter().flat_map(one).collect();
    if lines.is_empty() {
        vec!["  everything is".into()]
    } else {
        lines
    }
}

fn cost(state: &State) -> Vec<Line<'static>> {
    let snapshot = &state.snapshot;
    let mut lines = vec![
        Line::from(format!(
            "  history {} of at most {} over {}, in {} readings",
            number::bytes(state.history.bytes() as u64),
            number::bytes(crate::model::history::MOST_BYTES as u64),
            number::duration(state.history.span_ns() / 1_000),
            state.history.len(),
        )),
        Line::from(format!(
            "  destination table {} of {} rows, {} records read",
            snapshot.rows.len(),
            snapshot.dests_capacity,
            number::count(snapshot.events)
        )),
    ];
    if let Some(process) = snapshot.cost.process {
        lines.push(Line::from(format!(
            "  this process: {:.2} % of one CPU, {} resident",
            process.cpu_share * 100.0,
            number::bytes(process.rss_bytes),
        )));
    }
    for program in snapshot.cost.programs.iter() {
        lines.push(Line::from(format!(
            "  {:<20} {:>10} runs, {:>6} ns per run, {:.3} % of one CPU",
            program.name,
            number::count(program.runs),
            program.run_ns.checked_div(program.runs).unwrap_or(0),
            program.cpu_share * 100.0,
        )));
    }
    if snapshot.cost.programs.is_empty() {
        let text =
            "BPF programs: not measured yet (sampled, one interval in eight: measuring costs something too)";
        lines.extend(indented(state, text, 2));
    }
    lines
}

fn attached(state: &State) -> Vec<Line<'static>> {
    let programs = &state.snapshot.attached;
    if programs.is_empty() {
        return vec!["  nothing".into()];
    }
    programs
        .iter()
        .map(|program| Line::from(format!("  {}", clean(program))))
        .collect()
}
