//! Listening sockets as JSON, schema 1: one object per socket and line. Fields may be added, none is renamed. What is
//! not known is `null`.

use std::net::IpAddr;

use serde::Serialize;

use super::json::{SCHEMA, lines};
use crate::inspect::listeners::{Holder, Listener, judge::judge};

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    r#type: &'static str,
    id: String,
    netns: u32,
    netns_name: Option<&'a str>,
    local_addr: IpAddr,
    local_port: u16,
    dual_stack: Option<bool>,
    mptcp: Option<bool>,
    socket: u64,
    uid: u32,
    cgroup: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    processes: Vec<Process<'a>>,
    /// Fast Open queue; 0 is off.
    queue_limit: u32,
    queue_length: Option<u32>,
    tcp_fastopen: Option<u32>,
    somaxconn: Option<u32>,
    works: Option<bool>,
    why: Option<String>,
    fix: Option<String>,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    comm: &'a str,
    fd: u32,
}

/// Every listening socket.
pub fn listeners(found: &[Listener]) -> anyhow::Result<String> {
    lines(found.iter().map(|listener| {
        let judgement = judge(listener);
        let cgroup = listener.cgroup.as_ref();
        Line {
            schema: SCHEMA,
            r#type: "listener",
            id: listener.id(),
            netns: listener.netns.inode,
            netns_name: listener.netns.name.as_deref(),
            local_addr: listener.address.ip(),
            local_port: listener.address.port(),
            dual_stack: listener.is_dual_stack,
            mptcp: listener.is_mptcp,
            socket: listener.inode,
            uid: listener.uid,
            cgroup: cgroup.map(|name| name.path.as_str()),
            unit: cgroup.and_then(|name| name.unit.as_deref()),
            container: cgroup.and_then(|name| name.container.as_deref()),
            processes: listener.holders.iter().map(process).collect(),
            queue_limit: listener.limit,
            queue_length: listener.length,
            tcp_fastopen: listener.settings.tcp_fastopen,
            somaxconn: listener.settings.somaxconn,
            works: judgement.works,
            why: judgement.why,
            fix: judgement.fix,
        }
    }))
}

fn process(holder: &Holder) -> Process<'_> {
    Process {
        pid: holder.pid,
        comm: &holder.comm,
        fd: holder.fd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::listeners::tests::listener;

    #[test]
    fn one_object_per_line() {
        let mut bare = listener("[::1]:9000", 8, 0);
        bare.cgroup = None;
        bare.holders.clear();
        bare.length = None;
        insta::assert_snapshot!(listeners(&[listener("0.0.0.0:80", 7, 256), bare]).expect("plain values"));
    }
}
