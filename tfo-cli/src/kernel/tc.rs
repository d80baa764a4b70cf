//! rtnetlink(7), the traffic control part: the clsact queueing discipline of an interface and the filters on it.
//!
//! For kernels before TCX (Linux 6.6). Every function speaks of the network namespace of the calling thread. Of
//! answers only the fixed header and the kind are read: what filters of others consist of is their business.

use std::io;

use netlink_packet_core::{Emitable as _, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcHeader, TcMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink;

/// `ffff:`, the handle of clsact (and of its older relative ingress): an interface has one of them at most.
const CLSACT: TcHandle = TcHandle {
    major: u16::MAX,
    minor: 0,
};
/// Where filters hang below it: packets that come in, and packets that leave.
const INGRESS: u16 = TcHandle::MIN_INGRESS;
/// See [`INGRESS`].
const EGRESS: u16 = TcHandle::MIN_EGRESS;
/// Attribute with the name of a discipline or classifier (include/uapi/linux/rtnetlink.h).
const TCA_KIND: u16 = 1;
/// `ETH_P_ALL` in network order, the protocol of our filters.
const ALL_PROTOCOLS: u16 = 3u16.to_be();

/// What tells a filter from the others of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its priority.
    pub priority: u16,
    /// Its handle.
    pub handle: u32,
}

/// The kind of [`CLSACT`] an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// None.
    None,
    /// The one that takes our filters.
    Clsact,
    /// Something else, mostly ingress. It would take filters on packets that leave, too, and run them on those that
    /// come in (`ingress_tcf_block`, `net/sched/sch_ingress.c`).
    Other(String),
}

/// Looks for it.
pub fn discipline(index: u32) -> io::Result<Discipline> {
    let wanted = header(index, TcHandle::UNSPEC);
    let found = dump(RouteNetlinkMessage::GetQueueDiscipline(message(&wanted)))?;
    // Older kernels list the disciplines of every interface.
    let ours = found
        .iter()
        .find(|one| one.header.index == wanted.index && one.header.handle == CLSACT);
    Ok(match ours.map(|one| &*one.kind) {
        None => Discipline::None,
        Some("clsact") => Discipline::Clsact,
        Some(kind) => Discipline::Other(kind.to_owned()),
    })
}

/// Every discipline of the namespace: index of its interface, and its kind.
pub fn disciplines() -> io::Result<Vec<(u32, String)>> {
    let all = header(0, TcHandle::UNSPEC);
    let found = dump(RouteNetlinkMessage::GetQueueDiscipline(message(&all)))?;
    Ok(found
        .into_iter()
        .map(|one| (one.header.index.cast_unsigned(), one.kind))
        .collect())
}

/// Adds one; `AlreadyExists` where there is one.
pub fn add_clsact(index: u32) -> io::Result<()> {
    request(
        RouteNetlinkMessage::NewQueueDiscipline(clsact(index)),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Removes it, with every filter it has.
pub fn delete_clsact(index: u32) -> io::Result<()> {
    request(RouteNetlinkMessage::DelQueueDiscipline(clsact(index)), 0)
}

/// Filters on packets that leave.
pub fn egress_filters(index: u32) -> io::Result<Vec<Filter>> {
    filters(index, EGRESS)
}

/// Whether there is any filter, either way.
pub fn has_filters(index: u32) -> io::Result<bool> {
    Ok(!filters(index, EGRESS)?.is_empty() || !filters(index, INGRESS)?.is_empty())
}

/// Removes one on packets that leave.
pub fn delete_egress_filter(index: u32, filter: Filter) -> io::Result<()> {
    let mut header = header(index, below(EGRESS));
    header.handle = filter.handle.into();
    header.info = u32::from(filter.priority) << 16 | u32::from(ALL_PROTOCOLS);
    request(RouteNetlinkMessage::DelTrafficFilter(message(&header)), 0)
}

fn filters(index: u32, direction: u16) -> io::Result<Vec<Filter>> {
    let wanted = header(index, below(direction));
    let found = dump(RouteNetlinkMessage::GetTrafficFilter(message(&wanted)))?;
    let headers = found.iter().map(|one| &one.header);
    Ok(headers
        .filter(|header| header.index == wanted.index)
        .map(|header| Filter {
            priority: (header.info >> 16) as u16,
            handle: u32::from(header.handle.major) << 16 | u32::from(header.handle.minor),
        })
        // The kernel lists each priority's filters after an entry of its own with handle 0.
        .filter(|filter| filter.handle != 0)
        .collect())
}

fn below(minor: u16) -> TcHandle {
    TcHandle {
        major: CLSACT.major,
        minor,
    }
}

fn header(index: u32, parent: TcHandle) -> TcHeader {
    TcHeader {
        index: index.cast_signed(),
        parent,
        ..TcHeader::default()
    }
}

fn message(header: &TcHeader) -> TcMessage {
    TcMessage::from_parts(header.clone(), Vec::new())
}

fn clsact(index: u32) -> TcMessage {
    let mut header = header(index, TcHandle::CLSACT);
    header.handle = CLSACT;
    TcMessage::from_parts(header, vec![TcAttribute::Kind("clsact".to_owned())])
}

/// Asks for a change and waits for the answer.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    netlink::ask(NETLINK_ROUTE, message, NLM_F_ACK | flags, |_| Ok(()))
}

/// A discipline or filter of a list.
struct Listed {
    header: TcHeader,
    /// Name of what implements it; empty where the kernel does not say.
    kind: String,
}

impl Listed {
    fn parse(payload: &[u8]) -> Option<Self> {
        let header = TcHeader::parse(payload).ok()?;
        let attributes = payload.get(header.buffer_len()..).unwrap_or_default();
        let kind = NlasIterator::new(attributes)
            .flatten()
            .find(|attribute| attribute.kind() == TCA_KIND)
            .map(|attribute| String::from_utf8_lossy(attribute.value()).into_owned());
        Some(Self {
            header,
            kind: kind.unwrap_or_default().trim_end_matches('\0').to_owned(),
        })
    }
}

/// Asks for a list.
fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    netlink::ask(NETLINK_ROUTE, message, NLM_F_DUMP, |payload| {
        found.extend(Listed::parse(payload));
        Ok(())
    })?;
    Ok(found)
}

/// Takes any bytes for the kernel's answer and drops what they say: for fuzzing.
pub fn survive(bytes: &[u8]) {
    let _ = netlink::read(bytes, &mut |payload| {
        drop(Listed::parse(payload));
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn disciplines_have_a_handle_and_a_kind() {
        let mut payload = vec![0; 20];
        payload[4..8].copy_from_slice(&7i32.to_ne_bytes());
        payload[8..12].copy_from_slice(&0xffff_0000_u32.to_ne_bytes());
        // An attribute: its length, its type, the text.
        payload.extend([11, 0, 1, 0]);
        payload.extend(b"clsact\0\0");
        let listed = Listed::parse(&payload).expect("well-formed");
        assert_eq!((listed.header.index, listed.header.handle), (7, CLSACT));
        assert_eq!(listed.kind, "clsact");
        assert!(Listed::parse(&payload[..19]).is_none());
        assert_eq!(Listed::parse(&payload[..22]).expect("cut short").kind, "");
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(payload: Vec<u8>) {
            let _ = Listed::parse(&payload);
        }
    }
}
