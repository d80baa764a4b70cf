//! How many children wait in each Fast Open queue: only an iterator program sees `fastopenq.qlen`.

use std::{collections::BTreeMap, net::SocketAddr, os::fd::AsFd as _};

use aya::Btf;
use tfo_common::{flags::Config, listener::ListenerRecord, maps::PROG_LIST};

use super::super::{Error, iterate, layout, object, programs, rights};
use crate::{addr, inspect::listeners::Listener};

/// Rows of a table this does not use.
const NO_DESTINATIONS: u32 = 1;

/// Fills in the lengths. It loads a program that lists listeners, runs it once and drops it; nothing is attached.
pub fn with_lengths(listeners: &mut [Listener]) -> Result<(), Error> {
    object::bytes()?;
    rights::check()?;
    let (layout, _) = layout::resolve()?;
    let btf = Btf::from_sys_fs().map_err(|error| Error::NoBtf {
        why: error.to_string(),
    })?;
    // Listing goes by none of it.
    let config = Config {
        emit_plain: 0,
        typed_task: 0,
        arrived_alone: 0,
        pad: 0,
        server_v4_mask: 0,
        server_v6_mask: [0; 4],
        wake_bytes: 0,
        scope_id: 0,
        scope_level: 0,
        ttfb_sample: 1,
        tick_us: 1,
        long_lived_ms: tfo_common::limits::LONG_LIVED_MS,
    };
    let (mut ebpf, _arrays) = programs::load(&layout, config, NO_DESTINATIONS, &btf)?;
    let program = programs::load_iter(&mut ebpf, PROG_LIST, &btf)?;
    let pass = iterate::everywhere(program.as_fd()).map_err(|source| Error::Io {
        operation: "run iterator",
        object: PROG_LIST.into(),
        source,
    })?;
    join(listeners, &pass.listeners);
    Ok(())
}

/// Sockets that share an address (`SO_REUSEPORT`) are told apart by their place in the kernel's own list, which /proc
/// and the iterator walk in the same order (`listening_get_first`, `net/ipv4/tcp_ipv4.c`). Where the two do not agree,
/// for one has come or gone meanwhile, nothing is known.
fn join(listeners: &mut [Listener], records: &[ListenerRecord]) {
    let mut by_address: BTreeMap<(u32, SocketAddr), Vec<&ListenerRecord>> = BTreeMap::new();
    for record in records {
        let ip = addr::ip(&record.local, record.family);
        let address = SocketAddr::new(ip, record.local_port);
        by_address
            .entry((record.netns, address))
            .or_default()
            .push(record);
    }
    let mut ours: BTreeMap<(u32, SocketAddr), Vec<usize>> = BTreeMap::new();
    for (at, listener) in listeners.iter().enumerate() {
        ours.entry((listener.netns.inode, listener.address))
            .or_default()
            .push(at);
    }
    for (key, places) in ours {
        let theirs = by_address.get(&key).map_or(&[][..], Vec::as_slice);
        let agree = places.len() == theirs.len()
            && places
                .iter()
                .zip(theirs)
                .all(|(at, record)| listeners[*at].limit == record.tfo_max_qlen);
        if agree {
            for (at, record) in places.into_iter().zip(theirs) {
                listeners[at].length = Some(record.tfo_qlen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::listeners::tests::listener;

    fn record(ip: [u8; 4], limit: u32, length: u32) -> ListenerRecord {
        let mut record = ListenerRecord {
            netns: 1,
            local_port: 443,
            family: 4,
            tfo_max_qlen: limit,
            tfo_qlen: length,
            ..ListenerRecord::default()
        };
        record.local[..4].copy_from_slice(&ip);
        record
    }

    fn joined(records: &[ListenerRecord]) -> Vec<Option<u32>> {
        let mut sockets = [
            listener("127.0.0.1:443", 1, 16),
            listener("0.0.0.0:443", 2, 8),
            listener("0.0.0.0:443", 3, 9),
        ];
        for socket in &mut sockets {
            socket.length = None;
        }
        join(&mut sockets, records);
        sockets.iter().map(|socket| socket.length).collect()
    }

    #[test]
    fn lengths_find_their_sockets() {
        let (any, local) = ([0; 4], [127, 0, 0, 1]);
        let all = [record(any, 8, 3), record(local, 16, 1), record(any, 9, 4)];
        assert_eq!(joined(&all), [Some(1), Some(3), Some(4)]);
        // One has gone; the order differs; another namespace.
        assert_eq!(joined(&all[..2]), [Some(1), None, None]);
        assert_eq!(joined(&[all[2], all[1], all[0]]), [Some(1), None, None]);
        let elsewhere = ListenerRecord { netns: 2, ..all[1] };
        assert_eq!(joined(&[elsewhere]), [None; 3]);
    }
}
