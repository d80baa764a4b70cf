//! What a flow says in each column: the same words in `trace` and in the dashboard.

use tfo_common::TfoOption;

use super::{clean, number};
use crate::model::{Flow, source::CgroupName};

/// The process of a client, the service of a server.
pub fn who(flow: &Flow, cgroup: Option<&CgroupName>) -> String {
    match (flow.comm(), flow.pid(), cgroup) {
        (Some(comm), Some(pid), _) => clean(&format!("{comm}/{pid}")),
        (_, _, Some(name)) => clean(name.label()),
        (Some(comm), None, None) => clean(&comm),
        _ => "-".to_owned(),
    }
}

/// Bytes acked of bytes sent.
pub fn syn(flow: &Flow) -> String {
    match (flow.event().syn_data_acked, flow.event().syn_data_len) {
        (_, 0) => "-".to_owned(),
        (acked, sent) => format!("{acked}/{sent}"),
    }
}

/// What the SYN carried, `+c` when a cookie came back, `/254` for the experimental option.
pub fn option(flow: &Flow) -> String {
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

/// A duration that may not have been seen.
pub fn optional(us: Option<u32>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| number::duration(us.into()))
}

/// Time saved or lost.
pub fn gain(flow: &Flow) -> String {
    match i64::from(flow.event().saved_us) - i64::from(flow.event().lost_us) {
        0 => "-".to_owned(),
        us => number::signed_duration(us),
    }
}
