//! `trace` for people: one aligned line per flow. Address columns grow with what they meet and never shrink,
//! so that lines stay aligned without cutting an address.

use std::io::{self, Write};

use super::{FlowLine, Summary, TraceWriter, diagnosis_text, flow_text, time};
use crate::model::{Snapshot, diagnosis::Finding};

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
        let (local, remote, who) = (
            flow.local().to_string(),
            remote(line),
            flow_text::who(flow, line.cgroup),
        );
        self.local = self.local.max(local.len());
        self.remote = self.remote.max(remote.chars().count());
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
            flow_text::syn(flow),
            flow_text::option(flow),
            flow_text::optional(flow.handshake_us()),
            flow_text::optional(flow.ttfb_us()),
            flow_text::gain(flow),
            local_width = self.local,
            remote_width = self.remote,
            who_width = self.who,
        );
        writeln!(out, "{}", text.trim_end())
    }

    fn findings(&mut self, found: &[&Finding], snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        diagnosis_text::write(found, snapshot, true, out)
    }

    fn end(&mut self, _: &Summary, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The other end, and what its network is called.
fn remote(line: &FlowLine<'_>) -> String {
    let address = line.flow.remote();
    match line.network {
        Some(label) => format!("{address} {label}"),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::{Outcome, Role, time::UNSEEN_US};

    use super::*;
    use crate::model::{Flow, cgroup, fake};

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
                cookie: None,
                flow: &flow,
                cgroup: Some(&name),
                wall_offset_ns: fake::EPOCH_NS,
                network: None,
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
                    cookie: None,
                    flow: &flow,
                    cgroup: None,
                    wall_offset_ns: 0,
                    network: None,
                },
                &mut out,
            )
            .expect("memory takes it");
        assert!(!out.contains(&0x1b));
    }
}
