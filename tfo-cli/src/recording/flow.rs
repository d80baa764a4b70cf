//! Records and listeners as bytes, field by field, so that the format of the file does not depend on the layout in memory.

use tfo_common::{
    FirstByteEvent, FlowEvent,
    event::{EventKind, Record},
    listener::ListenerRecord,
};

use crate::model::varint::{put, take, take_array};

/// Appends a record.
pub fn put_record(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::FirstByte(first) => {
            out.push(EventKind::FirstByte as u8);
            put(first.id, out);
            put(first.ttfb_us.into(), out);
        }
        Record::Flow(event) => {
            out.push(EventKind::Flow as u8);
            put_flow(event, out);
        }
    }
}

/// Takes a record off the front; `None` when it is damaged.
pub fn take_record(bytes: &mut &[u8]) -> Option<Record> {
    let [kind] = take_array(bytes)?;
    if kind == EventKind::FirstByte as u8 {
        let (id, ttfb_us) = (take(bytes)?, u32::try_from(take(bytes)?).ok()?);
        return Some(Record::FirstByte(FirstByteEvent {
            kind,
            pad: [0; 3],
            ttfb_us,
            id,
        }));
    }
    (kind == EventKind::Flow as u8).then(|| take_flow(bytes).map(Record::Flow))?
}

fn put_flow(event: &FlowEvent, out: &mut Vec<u8>) {
    out.extend([
        event.role,
        event.outcome,
        event.family,
        event.option,
        event.option_kind,
        event.flags,
        event.policy,
    ]);
    let addresses = if event.family == 4 { 4 } else { 16 };
    out.extend(&event.local[..addresses]);
    out.extend(&event.remote[..addresses]);
    out.extend(event.comm);
    for number in [
        event.id,
        event.start_ns,
        event.end_ns.wrapping_sub(event.start_ns),
        event.cgroup_id,
    ] {
        put(number, out);
    }
    for number in [
        event.local_port.into(),
        event.remote_port.into(),
        event.netns,
        event.tgid,
        event.syn_data_len,
        event.syn_data_acked,
        event.syn_retrans,
        event.handshake_us,
        event.rtt_us,
        event.ttfb_us,
        event.saved_us,
        event.lost_us,
        event.offered,
    ] {
        put(number.into(), out);
    }
}

fn take_flow(bytes: &mut &[u8]) -> Option<FlowEvent> {
    let [role, outcome, family, option, option_kind, flags, policy] = take_array(bytes)?;
    let address = |bytes: &mut &[u8]| -> Option<[u8; 16]> {
        if family != 4 {
            return take_array(bytes);
        }
        let [a, b, c, d] = take_array(bytes)?;
        Some([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    };
    let (local, remote) = (address(bytes)?, address(bytes)?);
    let comm = take_array(bytes)?;
    let (id, start_ns) = (take(bytes)?, take(bytes)?);
    let end_ns = start_ns.wrapping_add(take(bytes)?);
    let cgroup_id = take(bytes)?;
    let (local_port, remote_port) = (
        u16::try_from(take(bytes)?).ok()?,
        u16::try_from(take(bytes)?).ok()?,
    );
    let mut number = || u32::try_from(take(bytes)?).ok();
    Some(FlowEvent {
        kind: EventKind::Flow as u8,
        role,
        outcome,
        family,
        option,
        option_kind,
        flags,
        policy,
        id,
        start_ns,
        end_ns,
        cgroup_id,
        local,
        remote,
        local_port,
        remote_port,
        netns: number()?,
        tgid: number()?,
        syn_data_len: number()?,
        syn_data_acked: number()?,
        syn_retrans: number()?,
        handshake_us: number()?,
        rtt_us: number()?,
        ttfb_us: number()?,
        saved_us: number()?,
        lost_us: number()?,
        offered: number()?,
        comm,
    })
}

/// Appends a listener.
pub fn put_listener(listener: &ListenerRecord, out: &mut Vec<u8>) {
    out.extend([listener.family, listener.primed]);
    out.extend(listener.local);
    put(listener.cgroup_id, out);
    for number in [
        listener.netns,
        listener.tfo_qlen,
        listener.tfo_max_qlen,
        listener.backlog,
        listener.max_backlog,
        listener.uid,
        listener.local_port.into(),
    ] {
        put(number.into(), out);
    }
}

/// Takes a listener off the front; `None` when it is damaged.
pub fn take_listener(bytes: &mut &[u8]) -> Option<ListenerRecord> {
    let [family, primed] = take_array(bytes)?;
    let local = take_array(bytes)?;
    let cgroup_id = take(bytes)?;
    let mut number = || u32::try_from(take(bytes)?).ok();
    Some(ListenerRecord {
        cgroup_id,
        local,
        netns: number()?,
        tfo_qlen: number()?,
        tfo_max_qlen: number()?,
        backlog: number()?,
        max_backlog: number()?,
        uid: number()?,
        local_port: u16::try_from(number()?).ok()?,
        family,
        primed,
        ..ListenerRecord::default()
    })
}

/// Writes what [`put_listener`] has no place for: what came after its format was fixed.
pub fn put_listener_facts(listener: &ListenerRecord, out: &mut Vec<u8>) {
    out.push(listener.mptcp);
    put(listener.tcp_fastopen.into(), out);
    put(listener.inode, out);
    for count in listener.arrivals {
        put(count, out);
    }
}

/// Fills in what [`put_listener_facts`] wrote; `None` when it is damaged.
pub fn take_listener_facts(bytes: &mut &[u8], listener: &mut ListenerRecord) -> Option<()> {
    let [mptcp] = take_array(bytes)?;
    listener.mptcp = mptcp;
    listener.tcp_fastopen = u32::try_from(take(bytes)?).ok()?;
    listener.inode = take(bytes)?;
    for count in &mut listener.arrivals {
        *count = take(bytes)?;
    }
    Some(())
}
