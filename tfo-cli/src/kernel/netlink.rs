//! Asking the kernel over netlink(7): a request goes out, answers are handed on one by one until the last.
//!
//! Every function speaks to the network namespace of the calling thread.

use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable as _, ErrorBuffer, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// A request made of a fixed header and attributes, for families without types of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Type of the message.
    pub kind: u16,
    /// What comes before the attributes; a multiple of four bytes.
    pub header: Vec<u8>,
    /// The attributes.
    pub attributes: Vec<DefaultNla>,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.header.len() + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(self.header.len());
        header.copy_from_slice(&self.header);
        self.attributes.as_slice().emit(attributes);
    }
}

/// Sends a request with these flags, and hands the payload of each answer on until the last. It ends with an
/// acknowledgement or with the end of a list: one of `NLM_F_ACK` and `NLM_F_DUMP` has to be among the flags.
pub fn ask<T: NetlinkSerializable>(
    protocol: isize,
    request: T,
    flags: u16,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(request));
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        if read(&bytes, &mut each)? {
            return Ok(());
        }
    }
}

/// An answer that is not what the kernel sends.
pub fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed netlink answer")
}

/// Takes one datagram apart; true when it holds the end of the answer.
pub fn read(mut bytes: &[u8], each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
    while !bytes.is_empty() {
        let buffer = NetlinkBuffer::new_checked(bytes).map_err(|_| malformed())?;
        let length = buffer.length() as usize;
        match buffer.message_type() {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let error = ErrorBuffer::new_checked(buffer.payload()).map_err(|_| malformed())?;
                return match error.code() {
                    // An acknowledgement.
                    None => Ok(true),
                    Some(code) => Err(io::Error::from_raw_os_error(code.get().saturating_neg())),
                };
            }
            _ => each(buffer.payload())?,
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
        let mut each = |payload: &[u8]| {
            seen.push(payload.to_vec());
            Ok(())
        };
        let two = [raw(44, &[1, 2, 3]), raw(44, &[4])].concat();
        assert!(!read(&two, &mut each).expect("well-formed"));
        let done = [raw(44, &[5]), raw(NLMSG_DONE, &[0; 4])].concat();
        assert!(read(&done, &mut each).expect("well-formed"));
        assert_eq!(seen, [vec![1, 2, 3], vec![4], vec![5]]);
    }

    #[test]
    fn errors_are_errors_and_acknowledgements_are_not() {
        let answer = |code: i32| raw(NLMSG_ERROR, &[&code.to_ne_bytes()[..], &[0; 16]].concat());
        assert!(read(&answer(0), &mut |_| Ok(())).expect("acknowledged"));
        let error = read(&answer(-libc::EEXIST), &mut |_| Ok(())).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let cut = read(&raw(NLMSG_ERROR, &[1, 2]), &mut |_| Ok(())).expect_err("cut short");
        assert_eq!(cut.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(bytes: Vec<u8>) {
            let _ = read(&bytes, &mut |_| Ok(()));
        }

        #[test]
        fn any_message_is_survived(kind: u16, payload: Vec<u8>) {
            let _ = read(&raw(kind, &payload), &mut |_| Ok(()));
        }
    }
}
