//! What a finding says, in words: the same in every format and in the dashboard.

use tfo_common::Role;

use super::{clean, flow_text, number, time};
use crate::model::{
    Flow, Snapshot,
    diagnosis::{Cost, CostKind, Finding, Subject},
};

/// What it is about: an address, a port, the host.
pub fn place(finding: &Finding) -> String {
    match finding.subject {
        Subject::Destination { remote, port, .. } => match (port, remote.is_ipv6()) {
            (None, _) => remote.to_string(),
            (Some(port), false) => format!("{remote}:{port}"),
            (Some(port), true) => format!("[{remote}]:{port}"),
        },
        Subject::Service { .. } => "-".to_owned(),
        Subject::Listener { local, port, .. } => match local {
            None => format!("listener *:{port}"),
            Some(local) if local.is_ipv6() => format!("listener [{local}]:{port}"),
            Some(local) => format!("listener {local}:{port}"),
        },
        Subject::Host { netns: None } => "this host".to_owned(),
        Subject::Host { netns: Some(netns) } => format!("namespace {netns}"),
    }
}

/// Whose it is.
pub fn service(finding: &Finding, snapshot: &Snapshot) -> String {
    finding
        .subject
        .cgroup_id()
        .map_or_else(|| "-".to_owned(), |id| clean(&snapshot.names.label(id)))
}

/// What it costs: `1.02s each, 2h06m per hour`.
pub fn cost(cost: &Cost) -> String {
    let not_saved = match cost.kind {
        CostKind::Lost => "",
        CostKind::NotSaved => " not saved",
    };
    let hour = cost
        .per_hour_us
        .map_or_else(String::new, |us| format!(", {} per hour", number::duration(us)));
    format!(
        "{} each{hour}{not_saved}",
        number::duration(cost.per_connection_us)
    )
}

/// One connection in one line.
pub fn example(flow: &Flow, snapshot: &Snapshot) -> String {
    let event = flow.event();
    let arrow = if flow.role() == Role::Client { "->" } else { "<-" };
    let name = snapshot.names.get(event.cgroup_id);
    let handshake = flow.handshake_us().map_or_else(String::new, |us| {
        format!(" handshake {}", number::duration(us.into()))
    });
    format!(
        "{} {} {arrow} {} {} {} syn {} option {} retransmitted {}{handshake}",
        time::of_day(snapshot.wall_ns(event.end_ns)),
        flow.local(),
        flow.remote(),
        flow_text::who(flow, name),
        flow.outcome().name(),
        flow_text::syn(flow),
        flow_text::option(flow),
        event.syn_retrans,
    )
}

/// Everything a finding has to say below its first line: heading and text.
pub fn details(finding: &Finding, snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let mut lines = vec![("", finding.id.entry().sentence.to_owned())];
    lines.push((
        "evidence",
        format!(
            "{}; in {}",
            finding.evidence.lines.join("; "),
            number::duration(finding.evidence.window_ns / 1_000)
        ),
    ));
    if let Some(of_it) = &finding.cost {
        lines.push(("cost", cost(of_it)));
    }
    // Before what only supports it: on a small screen the fix is in sight.
    if let Some(fix) = &finding.fix {
        if let Some(command) = &fix.command {
            lines.push(("fix", command.clone()));
            lines.push(("", fix.what.clone()));
        } else {
            lines.push(("fix", fix.what.clone()));
        }
        if !fix.undo.is_empty() {
            lines.push(("undo", fix.undo.clone()));
        }
    }
    if let Some(flow) = &finding.evidence.example {
        lines.push(("example", example(flow, snapshot)));
    }
    lines.extend(finding.excluded.iter().map(|text| ("excluded", text.clone())));
    lines.extend(finding.or_else.iter().map(|text| ("or else", text.clone())));
    lines.push(("confidence", finding.confidence.name().to_owned()));
    lines.push(("more", finding.id.anchor()));
    // Names of cgroups and processes are what their owners made them.
    for (_, text) in &mut lines {
        *text = clean(text);
    }
    lines
}

/// The last line of a list: how much there is of what.
pub fn totals(findings: &[&Finding], window_ns: u64) -> String {
    use crate::model::diagnosis::Severity;
    let window = number::duration(window_ns / 1_000);
    if findings.is_empty() {
        return format!("nothing found in {window}");
    }
    let counts: Vec<String> = Severity::ALL
        .into_iter()
        .map(|severity| {
            let count = findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count();
            format!("{count} {}", severity.name())
        })
        .collect();
    format!("{} in {window}", counts.join(", "))
}
