//! `trace` for people: one aligned line per flow. Address columns grow with what they meet and never shrink,
//! so that lines stay aligned without cutting an address.

use std::io::{self, Write};

use tfo_common::{TfoOption, time::UNSEEN_US};

use super::{FlowLine, Summary, TraceWriter, clean, number, time};
use crate::model::Flow;

/// Writes the lines.
#[derive(Clone, Debug)]
pub struct Text {
    local: usize,
    remote: usize,
    who: usize,
}

impl Default for Text {
    fn default() -> Self {
        // 255.255.255.255:65535
        Self {
            local: 21,
            remote: 21,
            who: 16,
        }
    }
}

impl TraceWriter for Text {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let (local, remote, who) = (self.local, self.remote, self.who);
        writeln!(
            out,
            "{:<15} {:<6} {:<local$}    {:<remote$} {:<who$} {:<15} {:>9} {:<9} {:>8} {:>8} {:>8}",
            "TIME (UTC)",
            "ROLE",
            "LOCAL",
            "REMOTE",
            "WHO",
            "OUTCOME",
            "SYN",
            "OPTION",
            "SHAKE",
            "TTFB",
            "GAIN"
        )
    }

    fn flow(&mut self, line: &FlowLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let flow = line.flow;
        let (local, remote, who) = (flow.local().to_string(), flow.remote().to_string(), who(line));
        self.local = self.local.max(local.len());
        self.remote = self.remote.max(remote.len());
        self.who = self.who.max(who.chars().count());
        let arrow = if flow.role() == tfo_common::Role::Client {
            "->"
        } else {
            "<-"
        };
        let text = format!(
            "{:<15} {:<6} {:<local_width$} {arrow} {:<remote_width$} {:<who_width$} {:<15} {:>9} {:<9} {:>8} {:>8} {:>8}",
            time::of_day(line.wall_ns()),
            flow.role().name(),
            local,
            remote,
            who,
            flow.outcome().name(),
            syn(flow),
            option(flow),
            optional(flow.event().handshake_us),
            optional(flow.event().ttfb_us),
            gain(flow),
            local_width = self.local,
            remote_width = self.remote,
            who_width = self.who,
        );
        writeln!(out, "{}", text.trim_end())
    }

    fn end(&mut self, _: &Summary, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The process of a client, the service of a server.
fn who(line: &FlowLine<'_>) -> String {
    match (line.flow.comm(), line.flow.pid(), line.cgroup) {
        (Some(comm), Some(pid), _) => clean(&format!("{comm}/{pid}")),
        (_, _, Some(name)) => clean(name.label()),
        (Some(comm), None, None) => clean(&comm),
        _ => "-".to_owned(),
    }
}

/// Bytes acked of bytes sent.
fn syn(flow: &Flow) -> String {
    match (flow.event().syn_data_acked, flow.event().syn_data_len) {
        (_, 0) => "-".to_owned(),
        (acked, sent) => format!("{acked}/{sent}"),
    }
}

/// What the SYN carried, `+c` when a cookie came back, `/254` for the experimental option.
fn option(flow: &Flow) -> String {
    let name = match flow.option() {
        TfoOption::None => "-",
        TfoOption::Request => "req",
        TfoOption::Cookie => "cookie",
    };
    let received = if flow.cookie_received() { "+c" } else { "" };
    let kind = if flow.option_kind() == Some(254) {
        "/254"
    } else {
        ""
    };
    format!("{name}{received}{kind}")
}

fn optional(us: u32) -> String {
    if us == UNSEEN_US {
        "-".to_owned()
    } else {
        number::duration(us.into())
    }
}

fn gain(flow: &Flow) -> String {
    match i64::from(flow.event().saved_us) - i64::from(flow.event().lost_us) {
        0 => "-".to_owned(),
        us => number::signed_duration(us),
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::{Outcome, Role};

    use super::*;
    use crate::model::{cgroup, fake};

    #[test]
    fn lines_are_aligned_and_addresses_are_whole() {
        let mut text = Text::default();
        let mut out = Vec::new();
        let name = cgroup::parse("/system.slice/nginx.service");
        let mut events: Vec<_> = [Outcome::Accepted, Outcome::SynTimeout, Outcome::Failed]
            .map(fake::flow)
            .to_vec();
        events[2].handshake_us = UNSEEN_US;
        events[2].ttfb_us = UNSEEN_US;
        let mut server = fake::flow(Outcome::CookieGranted);
        server.role = Role::Server as u8;
        (server.tgid, server.comm) = (0, [0; 16]);
        (server.family, server.option, server.option_kind) = (6, 1, 254);
        server.remote = [
            0x20, 1, 0xd, 0xb8, 0x85, 0xa3, 0, 1, 0, 2, 0x8a, 0x2e, 3, 0x70, 0x73, 0x34,
        ];
        server.syn_data_len = 0;
        events.extend([server, fake::flow(Outcome::Accepted)]);
        text.begin(&mut out).expect("memory takes it");
        for event in &events {
            let flow = Flow::new(event).expect("codes are known");
            let line = FlowLine {
                flow: &flow,
                cgroup: Some(&name),
                wall_offset_ns: fake::EPOCH_NS,
            };
            text.flow(&line, &mut out).expect("memory takes it");
        }
        insta::assert_snapshot!(String::from_utf8(out).expect("it is UTF-8"));
    }

    #[test]
    fn a_process_cannot_steer_the_terminal_by_its_name() {
        let mut event = fake::flow(Outcome::Accepted);
        event.comm = *b"\x1b[2Jx\0\0\0\0\0\0\0\0\0\0\0";
        let flow = Flow::new(&event).expect("codes are known");
        let mut out = Vec::new();
        Text::default()
            .flow(
                &FlowLine {
                    flow: &flow,
                    cgroup: None,
                    wall_offset_ns: 0,
                },
                &mut out,
            )
            .expect("memory takes it");
        assert!(!out.contains(&0x1b));
    }
}
