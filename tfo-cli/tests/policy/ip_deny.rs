//! A neighbour as systemd makes it for `IPAddressDeny=` and `IPAccounting=`: a program on the ingress of a unit's cgroup and one on
//! its egress, attached with `BPF_PROG_ATTACH` as "multi", each looks addresses up in an LPM trie and counts packets and bytes in
//! an array (src/core/bpf-firewall.c of systemd). Beside the policy and the observer they deny what they denied, and count
//! what they counted.

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{
        Array,
        lpm_trie::{Key, LpmTrie},
    },
    programs::CgroupSkb,
};
use tfo_lab::{client::Family, lab, lab::Lab};

use crate::{
    enforce::{primed, service},
    foreign::{STEPS, connect_once, step},
    neighbours::{Place, lacks_bpftool, shown},
    support::{
        object::{self, COUNTS, MapOf, NAME, instruction},
        sandbox::Sandbox,
        tool::Tool,
        wait_until,
    },
};

/// The trie.
const DENY: &str = "DENY";
/// Bytes of a datagram.
const PAYLOAD: usize = 64;

/// What was counted: packets and bytes.
type Counted = [u64; 2];

/// One direction.
struct Direction {
    ebpf: Ebpf,
    _place: Place,
}

impl Direction {
    fn take(sandbox: &Sandbox, family: Family, hook: &'static str, denied: IpAddr) -> Result<Self> {
        let bytes = if family == Family::V6 { 16 } else { 4 };
        let deny = MapOf {
            name: DENY,
            // `BPF_MAP_TYPE_LPM_TRIE`, the length of a prefix before each key, `BPF_F_NO_PREALLOC`.
            definition: [11, 4 + bytes, 8, 16, 1],
            loads: &[12],
        };
        let maps = [deny, object::counts(2, &[22, 31])];
        let elf = object::with_maps(&format!("cgroup_skb/{hook}"), &code(family, hook), &maps)?;
        let mut ebpf = Ebpf::load(&elf).context("reading it")?;
        let trie = ebpf.map_mut(DENY).context("no trie")?;
        match denied {
            IpAddr::V4(ip) => LpmTrie::try_from(trie)?.insert(&Key::new(32, ip.octets()), 1u64, 0)?,
            IpAddr::V6(ip) => LpmTrie::try_from(trie)?.insert(&Key::new(128, ip.octets()), 1u64, 0)?,
        }
        let program: &mut CgroupSkb = ebpf.program_mut(NAME).context("no program")?.try_into()?;
        program.load().context("loading it")?;
        let id = program.info()?.id();
        Ok(Self {
            ebpf,
            _place: Place::take(sandbox.path(), hook, id, &["multi"])?,
        })
    }

    fn counted(&self) -> Result<Counted> {
        let map = Array::<_, u64>::try_from(self.ebpf.map(COUNTS).context("no map")?)?;
        Ok([map.get(&0, 0)?, map.get(&1, 0)?])
    }
}

/// Both directions.
struct Unit {
    ingress: Direction,
    egress: Direction,
}

impl Unit {
    fn start(sandbox: &Sandbox, family: Family, denied: IpAddr) -> Result<Self> {
        Ok(Self {
            ingress: Direction::take(sandbox, family, "ingress", denied)?,
            egress: Direction::take(sandbox, family, "egress", denied)?,
        })
    }

    /// Packets and bytes that came and left while `work` was done.
    fn count(&self, work: impl FnOnce() -> Result<()>) -> Result<[Counted; 2]> {
        let both = || -> Result<[Counted; 2]> { Ok([self.ingress.counted()?, self.egress.counted()?]) };
        let before = both()?;
        work()?;
        let after = both()?;
        Ok([0, 1].map(|way| [0, 1].map(|what| after[way][what] - before[way][what])))
    }
}

/// ```text
/// verdict = 1
/// the other end's address is in DENY: verdict = 0
/// COUNTS[0] += 1, COUNTS[1] += length
/// return verdict
/// ```
fn code(family: Family, hook: &str) -> Vec<u8> {
    // The other end: the source of what comes, the destination of what leaves.
    let (protocol, length, source) = match family {
        Family::V6 => (0xdd86, 16, 8),
        Family::V4 | Family::Mapped => (0x0008, 4, 12),
    };
    let at = if hook == "ingress" {
        source
    } else {
        source + length
    };
    [
        instruction(0xbf, 0x16, 0, 0),            //  0: r6 = r1
        instruction(0xb7, 0x07, 0, 1),            //  1: r7 = 1
        instruction(0x61, 0x61, 16, 0),           //  2: r1 = ctx->protocol
        instruction(0x55, 0x01, 15, protocol),    //  3: if r1 is another goto 19
        instruction(0xbf, 0x61, 0, 0),            //  4: r1 = r6
        instruction(0xb7, 0x02, 0, at),           //  5: r2 = at
        instruction(0xbf, 0xa3, 0, 0),            //  6: r3 = r10
        instruction(0x07, 0x03, 0, -16),          //  7: r3 -= 16
        instruction(0xb7, 0x04, 0, length),       //  8: r4 = length
        instruction(0x85, 0x00, 0, 26),           //  9: call bpf_skb_load_bytes
        instruction(0x55, 0x00, 8, 0),            // 10: if r0 != 0 goto 19
        instruction(0x62, 0x0a, -20, 8 * length), // 11: *(u32 *)(r10 - 20) = bits
        instruction(0x18, 0x01, 0, 0),            // 12: r1 = DENY (two slots)
        instruction(0x00, 0x00, 0, 0),            //
        instruction(0xbf, 0xa2, 0, 0),            // 14: r2 = r10
        instruction(0x07, 0x02, 0, -20),          // 15: r2 -= 20
        instruction(0x85, 0x00, 0, 1),            // 16: call bpf_map_lookup_elem
        instruction(0x15, 0x00, 1, 0),            // 17: if r0 == 0 goto 19
        instruction(0xb7, 0x07, 0, 0),            // 18: r7 = 0
        instruction(0x62, 0x0a, -24, 0),          // 19: *(u32 *)(r10 - 24) = 0
        instruction(0xbf, 0xa2, 0, 0),            // 20: r2 = r10
        instruction(0x07, 0x02, 0, -24),          // 21: r2 -= 24
        instruction(0x18, 0x01, 0, 0),            // 22: r1 = COUNTS (two slots)
        instruction(0x00, 0x00, 0, 0),            //
        instruction(0x85, 0x00, 0, 1),            // 24: call bpf_map_lookup_elem
        instruction(0x15, 0x00, 2, 0),            // 25: if r0 == 0 goto 28
        instruction(0xb7, 0x01, 0, 1),            // 26: r1 = 1
        instruction(0xdb, 0x10, 0, 0),            // 27: lock *(u64 *)r0 += r1
        instruction(0x62, 0x0a, -24, 1),          // 28: *(u32 *)(r10 - 24) = 1
        instruction(0xbf, 0xa2, 0, 0),            // 29: r2 = r10
        instruction(0x07, 0x02, 0, -24),          // 30: r2 -= 24
        instruction(0x18, 0x01, 0, 0),            // 31: r1 = COUNTS (two slots)
        instruction(0x00, 0x00, 0, 0),            //
        instruction(0x85, 0x00, 0, 1),            // 33: call bpf_map_lookup_elem
        instruction(0x15, 0x00, 2, 0),            // 34: if r0 == 0 goto 37
        instruction(0x61, 0x61, 0, 0),            // 35: r1 = ctx->len
        instruction(0xdb, 0x10, 0, 0),            // 36: lock *(u64 *)r0 += r1
        instruction(0xbf, 0x70, 0, 0),            // 37: r0 = r7
        instruction(0x95, 0x00, 0, 0),            // 38: exit
    ]
    .concat()
}

/// Datagrams between a client and two addresses of a server, one of which is denied.
struct Datagrams {
    client: UdpSocket,
    /// An address that is allowed, and one that is not.
    servers: [UdpSocket; 2],
    /// Bytes of one with its headers.
    bytes: u64,
}

impl Datagrams {
    fn open(lab: &Lab, family: Family) -> Result<Self> {
        let bind = |ip: IpAddr| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((ip, 0)).context("UDP")?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let (client, headers) = if family == Family::V6 {
            (lab::client_v6(0), 48)
        } else {
            (lab::client_v4(0), 28)
        };
        Ok(Self {
            client: lab.in_client(|| bind(client))?,
            servers: [
                lab.in_server(|| bind(service(family, 0)))?,
                lab.in_server(|| bind(service(family, 1)))?,
            ],
            bytes: PAYLOAD as u64 + headers,
        })
    }

    /// Sends one, and waits for it where it is to arrive. False where sending is refused.
    fn send(from: &UdpSocket, to: &UdpSocket, arrives: bool) -> Result<bool> {
        match from.send_to(&[7; PAYLOAD], to.local_addr()?) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(false),
            Err(error) => return Err(error).context("UDP"),
        }
        if arrives {
            wait_until("a datagram", || Ok(to.recv(&mut [0; 256]).is_ok()))?;
        }
        Ok(true)
    }

    /// Their verdicts and counters, by four datagrams.
    fn check(&self, unit: &Unit) -> Result<()> {
        let [allowed, denied] = &self.servers;
        let mut sent = [true; 4];
        let counted = unit.count(|| {
            sent = [
                Self::send(&self.client, denied, false)?,
                // It leaves, and does not come in.
                Self::send(denied, &self.client, false)?,
                Self::send(&self.client, allowed, true)?,
                Self::send(allowed, &self.client, true)?,
            ];
            Ok(())
        })?;
        ensure!(sent == [false, true, true, true], "sent: {sent:?}");
        let stray = self.client.recv(&mut [0; 256]);
        ensure!(stray.is_err(), "what is denied came in");
        let of = |packets| [packets, packets * self.bytes];
        ensure!(counted == [of(3), of(4)], "counted {counted:?}");
        Ok(())
    }
}

/// Waits until no connection is left that could send anything.
fn settle(lab: &Lab) -> Result<()> {
    wait_until("the connections to be gone", || {
        let lists = [lab.client(), lab.server()].map(|end| end.command("ss", &["-Htn", "state", "all"]));
        for list in lists {
            let is_silent = |line: &str| {
                ["LISTEN", "TIME-WAIT"]
                    .iter()
                    .any(|state| line.starts_with(state))
            };
            if !list?.lines().all(is_silent) {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

pub fn beside_us() -> Result<()> {
    if lacks_bpftool() {
        return Ok(());
    }
    for family in [Family::V4, Family::V6] {
        let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
        let (_server, connect) = primed(&lab, family, 0)?;
        let datagrams = Datagrams::open(&lab, family)?;
        let unit = Unit::start(&sandbox, family, service(family, 1))?;
        let theirs = shown(sandbox.path())?;
        datagrams.check(&unit).context("alone")?;
        for observed in [false, true] {
            let trace = observed
                .then(|| Tool::attached(&["trace", "--all", "--format", "json"]))
                .transpose()?;
            for (name, denied) in STEPS {
                step(name, &sandbox, family, &[])?;
                let what = format!("{family:?}, observed {observed}, {name}");
                let now = shown(sandbox.path())?;
                ensure!(now == theirs, "{what}: {now}, not {theirs}");
                let counted = unit.count(|| connect_once(&lab, &connect, denied))?;
                // Both ends are in the unit: what leaves comes in, but for a SYN that we deny, which they have counted.
                settle(&lab)?;
                ensure!(
                    counted.iter().flatten().all(|count| *count > 0),
                    "{what}: {counted:?}"
                );
                datagrams.check(&unit).context(what)?;
            }
            if let Some(trace) = trace {
                trace.stop()?.complete_records()?;
            }
        }
        drop(unit);
        let [_, denied] = &datagrams.servers;
        ensure!(
            Datagrams::send(&datagrams.client, denied, true)?,
            "it was not they who denied"
        );
    }
    Ok(())
}
