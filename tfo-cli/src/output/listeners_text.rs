//! Listening sockets as a table for people, and what was done to them.

use super::{
    aligned::{Heading, table},
    clean,
};
use crate::inspect::listeners::{Listener, judge::judge};

/// Every listening socket, one line each; with `details` what to do below those that need something.
pub fn listeners(found: &[Listener], details: bool) -> String {
    if found.is_empty() {
        return "nothing listens for TCP here\n".to_owned();
    }
    let headings = [
        Heading::text("ADDRESS"),
        Heading::text("SERVICE"),
        Heading::text("PROCESS"),
        Heading::text("NETNS"),
        Heading::text("PROTO"),
        Heading::number("LIMIT"),
        Heading::number("LENGTH"),
        Heading::number("SYSCTL"),
        Heading::text("FASTOPEN"),
        Heading::text("WHY"),
    ];
    let judged: Vec<_> = found.iter().map(|listener| (listener, judge(listener))).collect();
    let rows: Vec<_> = judged
        .iter()
        .map(|(listener, judgement)| {
            [
                address(listener),
                listener.service().map_or_else(dash, clean),
                process(listener),
                listener.netns.to_string(),
                match listener.is_mptcp {
                    Some(true) => "mptcp".to_owned(),
                    Some(false) => "tcp".to_owned(),
                    None => dash(),
                },
                listener.limit.to_string(),
                listener.length.map_or_else(dash, |length| length.to_string()),
                listener
                    .settings
                    .tcp_fastopen
                    .map_or_else(dash, |value| format!("{value:#x}")),
                match judgement.works {
                    Some(true) => "on".to_owned(),
                    Some(false) => "off".to_owned(),
                    None => dash(),
                },
                judgement.why.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let text = table(&headings, &rows);
    if !details {
        return text;
    }
    let mut lines = text.lines();
    let mut out: String = lines.next().map(|line| format!("{line}\n")).unwrap_or_default();
    for (line, (_, judgement)) in lines.zip(&judged) {
        out.extend([line, "\n"]);
        if let Some(fix) = &judgement.fix {
            out.extend(["    fix: ", &clean(fix), "\n"]);
        }
    }
    out
}

/// What `listeners set` is about to do.
pub fn plan(selected: &[&Listener], length: u32) -> String {
    let lines = selected.iter().map(|listener| {
        format!(
            "{}: Fast Open queue {} -> {length}\n",
            socket(listener),
            listener.limit
        )
    });
    let sockets = if selected.len() == 1 {
        "1 socket".to_owned()
    } else {
        format!("{} sockets", selected.len())
    };
    format!("{}change {sockets}? [y/N] ", lines.collect::<String>())
}

/// What it did to one.
pub fn changed(listener: &Listener, old: u32, new: u32, wanted: u32) -> String {
    let cut = match listener.settings.somaxconn {
        Some(most) if new < wanted => format!(" (asked for {wanted}; net.core.somaxconn there is {most})"),
        _ if new != wanted => format!(" (asked for {wanted})"),
        _ => String::new(),
    };
    let without = match listener.settings.tcp_fastopen {
        Some(sysctl) if new > 0 && sysctl & crate::inspect::listeners::SERVER == 0 => {
            format!("; no effect before net.ipv4.tcp_fastopen there ({sysctl:#x}) has 0x2")
        }
        _ => String::new(),
    };
    format!(
        "{}: Fast Open queue {old} -> {new}{cut}{without}\n",
        socket(listener)
    )
}

/// A socket in a sentence.
pub fn socket(listener: &Listener) -> String {
    format!(
        "{} {} socket {} in netns {}",
        listener.address,
        process(listener),
        listener.inode,
        listener.netns
    )
}

fn address(listener: &Listener) -> String {
    let both = if listener.is_dual_stack == Some(true) && listener.address.ip().is_unspecified() {
        " (+IPv4)"
    } else {
        ""
    };
    format!("{}{both}", listener.address)
}

pub(super) fn process(listener: &Listener) -> String {
    let Some(holder) = listener.holder() else {
        return dash();
    };
    let others = listener
        .holders
        .iter()
        .filter(|other| other.pid != holder.pid)
        .count();
    let more = if others > 0 {
        format!("+{others}")
    } else {
        String::new()
    };
    format!("{}({}){more}", clean(&holder.comm), holder.pid)
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::listeners::tests::listener;

    fn some() -> Vec<Listener> {
        let mut all = vec![
            listener("0.0.0.0:80", 11, 256),
            listener("[::]:443", 12, 0),
            listener("127.0.0.1:5432", 13, 16),
        ];
        all[1].is_dual_stack = Some(true);
        all[1].is_mptcp = Some(true);
        all[1].holders.clear();
        all[1].length = None;
        all[2].settings.tcp_fastopen = Some(1);
        all[2].cgroup = None;
        all[2].holders[0].comm = "po\u{1b}[2Jst".to_owned();
        let second = all[2].holders[0].clone();
        all[2]
            .holders
            .push(crate::inspect::listeners::Holder { pid: 99, ..second });
        all
    }

    #[test]
    fn the_table_says_why() {
        insta::assert_snapshot!(listeners(&some(), false));
        insta::assert_snapshot!(listeners(&some(), true));
    }

    #[test]
    fn changes_are_said_with_both_lengths() {
        let all = some();
        let all: Vec<&Listener> = all.iter().collect();
        insta::assert_snapshot!(plan(&all, 256));
        insta::assert_snapshot!(changed(all[0], 0, 4096, 100_000) + &changed(all[2], 16, 256, 256));
    }
}
