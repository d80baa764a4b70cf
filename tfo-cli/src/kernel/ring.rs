//! Records of the event ring, from bytes.

use tfo_common::{EventKind, FlowEvent, Outcome, Role, TfoOption, event::Record};

use super::sys;

/// The record in these bytes; `None` for a kind, size or code this version does not know.
pub fn decode(bytes: &[u8]) -> Option<Record> {
    const FLOW: u8 = EventKind::Flow as u8;
    match *bytes.first()? {
        FLOW => {
            // SAFETY: `FlowEvent` is made of integers only.
            let event = unsafe { sys::value::<FlowEvent>(bytes) }?;
            let role = Role::from_code(event.role)?;
            let outcome = Outcome::from_code(event.outcome)?;
            TfoOption::from_code(event.option)?;
            (outcome.occurs_in(role) && matches!(event.family, 4 | 6)).then_some(Record::Flow(event))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_codes_are_checked() {
        let mut bytes = [0u8; size_of::<FlowEvent>()];
        bytes[0] = EventKind::Flow as u8;
        bytes[3] = 4;
        assert!(matches!(decode(&bytes), Some(Record::Flow(_))));
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(&bytes[..100]), None);
        for (at, value) in [(1, 2), (2, 200), (3, 5), (4, 3), (2, Outcome::Syncookie as u8)] {
            let mut bad = bytes;
            bad[at] = value;
            assert_eq!(decode(&bad), None, "byte {at} = {value}");
        }
        assert_eq!(decode(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
