//! rtnetlink(7), the traffic control part: the clsact queueing discipline of an interface and the filters on it.
//!
//! For kernels before TCX (Linux 6.6). Every function speaks of the network namespace of the calling thread. Of
//! answers only the fixed header and the kind are read: what filters of others consist of is their business.

use std::io;

use netlink_packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcHeader, TcMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

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
    let socket = send(message, NLM_F_ACK | flags)?;
    receive(&socket, |_| {})
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
    let socket = send(message, NLM_F_DUMP)?;
    let mut found = Vec::new();
    receive(&socket, |payload| found.extend(Listed::parse(payload)))?;
    Ok(found)
}

fn send(message: RouteNetlinkMessage, flags: u16) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    Ok(socket)
}

/// Hands the payload of each answer on, until the last.
fn receive(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        if read(&bytes, &mut each)? {
            return Ok(());
        }
    }
}

/// Takes one datagram apart; true when it holds the end of the answer.
fn read(mut bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a malformed netlink answer");
    while !bytes.is_empty() {
        let buffer = NetlinkBuffer::new_checked(bytes).map_err(|_| malformed())?;
        let length = buffer.length() as usize;
        match buffer.message_type() {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
                return match message.map_err(|_| malformed())?.payload {
                    // Without a code it is an acknowledgement.
                    NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                    _ => Ok(true),
                };
            }
            _ => each(buffer.payload()),
        }
        // Messages begin at multiples of four (NLMSG_ALIGN).
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message with this type and payload.
    fn raw(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn answers_are_taken_apart() {
        let mut seen = Vec::new();
        let mut each = |payload: &[u8]| seen.push(payload.to_vec());
        let two = [raw(44, &[1, 2, 3]), raw(44, &[4])].concat();
        assert!(!read(&two, &mut each).expect("well-formed"));
        let done = [raw(44, &[5]), raw(NLMSG_DONE, &[0; 4])].concat();
        assert!(read(&done, &mut each).expect("well-formed"));
        assert_eq!(seen, [vec![1, 2, 3], vec![4], vec![5]]);
    }

    #[test]
    fn errors_are_errors_and_acknowledgements_are_not() {
        let answer = |code: i32| raw(NLMSG_ERROR, &[&code.to_ne_bytes()[..], &[0; 16]].concat());
        assert!(read(&answer(0), &mut |_| {}).expect("acknowledged"));
        let error = read(&answer(-libc::EEXIST), &mut |_| {}).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

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
        fn any_answer_is_survived(bytes: Vec<u8>) {
            let _ = read(&bytes, &mut |payload| drop(Listed::parse(payload)));
        }

        #[test]
        fn any_message_is_survived(kind: u16, payload: Vec<u8>) {
            let _ = read(&raw(kind, &payload), &mut |payload| drop(Listed::parse(payload)));
        }
    }
}
