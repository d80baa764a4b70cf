//! Where kernel structures keep what the programs read: resolved from the running kernel's BTF at load time,
//! never from constants (bit-fields move between releases).

use crate::{codes::codes, constant};

/// Position of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FieldLoc {
    /// Byte offset from the start of the outer structure; [`FieldLoc::ABSENT`] when this kernel has no such
    /// member.
    pub byte: u32,
    /// For a bit-field: its first bit within that byte (little endian: from the least significant).
    pub bit: u8,
    /// Width in bits; for an ordinary member 8 times its size (capped at 255).
    pub width: u8,
    /// Zero.
    pub pad: u16,
}

impl FieldLoc {
    /// `byte` of a member this kernel does not have.
    pub const ABSENT: u32 = u32::MAX;
    /// A member this kernel does not have.
    pub const NONE: Self = Self {
        byte: Self::ABSENT,
        bit: 0,
        width: 0,
        pad: 0,
    };

    /// Whether this kernel has the member.
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.byte != Self::ABSENT
    }

    /// The bits of a bit-field within its byte; all eight of any other member.
    pub const fn mask(self) -> u8 {
        if self.width < 8 {
            ((1 << self.width) - 1) << self.bit
        } else {
            u8::MAX
        }
    }
}

codes! {
    /// What stops working when one of its members is missing. What it describes is what the user then misses.
    Feature: u8 {
        /// Nothing can be observed.
        Core = 0, "core", "handshakes cannot be observed";
        /// `pid` and `comm` of clients.
        Process = 1, "process", "pid and comm of clients are unknown";
        /// cgroup id, hence cgroup path, unit and container.
        Cgroup = 2, "cgroup", "cgroup, unit and container are unknown";
        /// Network namespace inode, and the cross-check that needs it.
        Netns = 3, "netns", "network namespaces are unknown and the cross-check is off";
        /// Server verdicts other than `accepted`.
        Listener = 4, "listener-state", "server outcomes other than accepted are not classified";
        /// SYN payload length on the server, hence `option-stripped`.
        SynPayload = 5, "syn-payload", "SYN payload length and option-stripped are unknown on servers";
        /// Option 254 told from 34 on the client.
        ExpOption = 6, "option-254", "the experimental option 254 is shown as 34";
        /// `paused` told from cookie-less zero-byte connects.
        NoCookie = 7, "no-cookie", "a zero-byte connect in cookie-less mode is shown as paused";
        /// Cross-check of third timeouts.
        TimeoutCheck = 8, "timeout-check", "TCPFastOpenActiveFail may exceed what the tool saw";
        /// Listing of listeners with address and queue.
        Listing = 9, "listener-list", "listeners are not listed";
        /// Priming only the listeners of `--cgroup`.
        Scope = 10, "priming-scope", "with --cgroup listeners outside it get a callback flag too, which does nothing there";
        /// Connections denied by a policy told from those dropped by others.
        Policy = 11, "policy", "connections denied by a policy are shown as local-drop";
        /// Stall risk of a denied socket, and resets as evidence for a guard.
        Enforcement = 12, "enforcement", "a policy takes every denied socket for one that may stall";
        /// Times to first byte of clients that acknowledge late.
        ReceiveTime = 13, "receive-time", "times to first byte of clients may be late by a delayed ACK, 40 ms";
        /// Whose evidence a guard has, and about which network namespace.
        Witness = 14, "witness", "a guard may take two cgroups, or two network namespaces, for one";
        /// Connects that wait for their first write.
        Deferred = 15, "deferred-connect", "connects that wait for their first write are not found";
        /// MPTCP listeners told from TCP ones.
        Mptcp = 16, "mptcp", "MPTCP listeners are taken for TCP ones";
        /// Bytes of connections that ended late.
        Lifetime = 17, "lifetime", "how much connections carry in their lives is unknown";
        /// Flags that connections inherit from listeners of an observer that was killed.
        LeftFlags = 18, "left-flags", "after a killed copy, connections to its listeners keep a callback flag while a policy is in force";
    }
}

/// One member to look up.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    /// The structure, as in BTF.
    pub container: &'static str,
    /// Dotted member path; members of anonymous structs and unions count as members of the outer one.
    pub path: &'static str,
    /// What needs it.
    pub feature: Feature,
}

macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident: $container:literal . $path:literal, $feature:ident;)+) => {
        /// Positions of every member the programs read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct Layout { $($(#[$doc])* pub $field: FieldLoc,)+ }

        impl Layout {
            /// What to look up, in the order of the fields.
            pub const SPECS: &'static [FieldSpec] = &[
                $(FieldSpec { container: $container, path: $path, feature: Feature::$feature },)+
            ];

            /// A kernel with none of them.
            pub const NONE: Self = Self { $($field: FieldLoc::NONE,)+ };

            /// Every position, in the order of [`Layout::SPECS`].
            pub fn positions(&self) -> [FieldLoc; Self::SPECS.len()] {
                [$(self.$field),+]
            }

            /// Fills the fields, in order, with what `find` answers for each of [`Layout::SPECS`].
            pub fn resolve(mut find: impl FnMut(&FieldSpec) -> FieldLoc) -> Self {
                Self {
                    $($field: find(&FieldSpec {
                        container: $container, path: $path, feature: Feature::$feature,
                    }),)+
                }
            }
        }
    };
}

layout! {
    /// `struct sock *` behind the `sock_ops` context, also for request sockets.
    kern_sk: "bpf_sock_ops_kern"."sk", Core;
    /// The SYN a SYN-ACK answers.
    kern_syn_skb: "bpf_sock_ops_kern"."syn_skb", SynPayload;
    /// TCP control block of a packet.
    skb_cb: "sk_buff"."cb", SynPayload;
    /// First sequence number.
    cb_seq: "tcp_skb_cb"."seq", SynPayload;
    /// Sequence number after SYN, payload and FIN.
    cb_end_seq: "tcp_skb_cb"."end_seq", SynPayload;
    /// Non-NULL while `tcp_connect` runs for a TFO connect.
    tp_fastopen_req: "tcp_sock"."fastopen_req", Core;
    /// -1 none, 0 request, else cookie length (`struct tcp_fastopen_cookie`).
    req_cookie_len: "tcp_fastopen_request"."cookie.len", Core;
    /// Bytes the application offered.
    req_size: "tcp_fastopen_request"."size", Core;
    /// A TFO option was put into a SYN.
    tp_syn_fastopen: "tcp_sock"."syn_fastopen", Core;
    /// That option was the experimental one, 254.
    tp_syn_fastopen_exp: "tcp_sock"."syn_fastopen_exp", ExpOption;
    /// Why no data left, 1: no cookie was known (`TFO_COOKIE_UNAVAILABLE`).
    tp_client_fail: "tcp_sock"."fastopen_client_fail", Core;
    /// SYN carried data.
    tp_syn_data: "tcp_sock"."syn_data", Core;
    /// That data was acked, or this is a TFO child.
    tp_syn_data_acked: "tcp_sock"."syn_data_acked", TimeoutCheck;
    /// Socket option `TCP_FASTOPEN_NO_COOKIE`.
    tp_no_cookie: "tcp_sock"."fastopen_no_cookie", NoCookie;
    /// Segments that were received, a RST included.
    tp_segs_in: "tcp_sock"."segs_in", Core;
    /// Callback flags.
    tp_cb_flags: "tcp_sock"."bpf_sock_ops_cb_flags", Core;
    /// Next sequence number to send.
    tp_snd_nxt: "tcp_sock"."snd_nxt", Core;
    /// First sequence number not acked.
    tp_snd_una: "tcp_sock"."snd_una", Core;
    /// Retransmissions so far.
    tp_total_retrans: "tcp_sock"."total_retrans", Core;
    /// Smoothed RTT, us times 8.
    tp_srtt_us: "tcp_sock"."srtt_us", Core;
    /// The clock as the socket last saw it, `CLOCK_MONOTONIC` ns.
    tp_clock_cache: "tcp_sock"."tcp_clock_cache", Core;
    /// When it last sent a packet, `CLOCK_MONOTONIC` ns.
    tp_wstamp_ns: "tcp_sock"."tcp_wstamp_ns", Core;
    /// When the first SYN left, by the clock of TCP timestamps: ms, or us where a route says so (`tcp_usec_ts`).
    tp_retrans_stamp: "tcp_sock"."retrans_stamp", Core;
    /// When data came last, in jiffies.
    icsk_lrcvtime: "inet_connection_sock"."icsk_ack.lrcvtime", ReceiveTime;
    /// Connection state.
    skc_state: "sock_common"."skc_state", Core;
    /// Address family of the socket.
    skc_family: "sock_common"."skc_family", Listing;
    /// Remote port; 0 once a socket was disconnected.
    skc_dport: "sock_common"."skc_dport", Core;
    /// Local port, host order.
    skc_num: "sock_common"."skc_num", Listing;
    /// Local IPv4 address.
    skc_rcv_saddr: "sock_common"."skc_rcv_saddr", Listing;
    /// Local IPv6 address.
    skc_v6_rcv_saddr: "sock_common"."skc_v6_rcv_saddr", Listing;
    /// Network namespace.
    skc_net: "sock_common"."skc_net.net", Netns;
    /// Listener of a request socket.
    skc_listener: "sock_common"."skc_listener", Listener;
    /// The request has a child made from its SYN.
    treq_tfo_listener: "tcp_request_sock"."tfo_listener", Core;
    /// Connections waiting for `accept()`.
    sk_ack_backlog: "sock"."sk_ack_backlog", Listing;
    /// Bound of the former.
    sk_max_ack_backlog: "sock"."sk_max_ack_backlog", Listing;
    /// cgroup of the task that created the socket.
    sk_cgroup: "sock"."sk_cgrp_data.cgroup", Cgroup;
    /// Its depth below the root.
    cgroup_level: "cgroup"."level", Scope;
    /// Pointers to its ancestors by depth, itself included (6.1 and newer).
    cgroup_ancestors: "cgroup"."ancestors", Scope;
    /// Its directory.
    cgroup_kn: "cgroup"."kn", Cgroup;
    /// Inode number of that directory.
    kn_id: "kernfs_node"."id", Cgroup;
    /// Inode number of a network namespace.
    net_inum: "net"."ns.inum", Netns;
    /// `net.ipv4.tcp_fastopen` of a network namespace.
    net_tcp_fastopen: "net"."ipv4.sysctl_tcp_fastopen", Listener;
    /// TFO children of a listener whose handshake is not finished.
    tfo_qlen: "inet_connection_sock"."icsk_accept_queue.fastopenq.qlen", Listener;
    /// Bound of the former; 0 is off.
    tfo_max_qlen: "inet_connection_sock"."icsk_accept_queue.fastopenq.max_qlen", Listener;
    /// Process id.
    task_tgid: "task_struct"."tgid", Process;
    /// Main thread of the process.
    task_leader: "task_struct"."group_leader", Process;
    /// Its name.
    task_comm: "task_struct"."comm", Process;
    /// Socket storage: where a policy leaves its mark.
    sk_storage: "sock"."sk_bpf_storage", Policy;
    /// First entry of a socket's storage, one per map.
    storage_list: "bpf_local_storage"."list", Policy;
    /// Its place in that list.
    selem_node: "bpf_local_storage_elem"."snode", Policy;
    /// The map it belongs to.
    selem_map: "bpf_local_storage_elem"."sdata.smap", Policy;
    /// Its value.
    selem_data: "bpf_local_storage_elem"."sdata.data", Policy;
    /// That map's name.
    smap_name: "bpf_local_storage_map"."map.name", Policy;
    /// Socket of a packet.
    skb_sk: "sk_buff"."sk", Enforcement;
    /// Error that ended a handshake.
    sk_err: "sock"."sk_err", Core;
    /// Set by `TCP_QUICKACK` 0.
    icsk_pingpong: "inet_connection_sock"."icsk_ack.pingpong", Enforcement;
    /// Set by `TCP_DEFER_ACCEPT`.
    icsk_defer_accept: "inet_connection_sock"."icsk_accept_queue.rskq_defer_accept", Enforcement;
    /// User whose process made the socket.
    sk_uid: "sock"."sk_uid.val", Witness;
    /// Owner and times of a cgroup's directory; NULL while it is root's.
    kn_iattr: "kernfs_node"."iattr", Witness;
    /// That owner.
    iattr_uid: "kernfs_iattrs"."ia_uid.val", Witness;
    /// A connect with Fast Open that waits for its first write. Before 6.6 a bit-field; user space looks for the bit
    /// `INET_FLAGS_DEFER_CONNECT` of `inet_flags` where this is missing.
    inet_defer_connect: "inet_sock"."defer_connect", Deferred;
    /// Remote IPv4 address.
    skc_daddr: "sock_common"."skc_daddr", Deferred;
    /// Remote IPv6 address.
    skc_v6_daddr: "sock_common"."skc_v6_daddr", Deferred;
    /// What the application holds of a socket: the first member of a `struct socket_alloc`.
    sk_socket: "sock"."sk_socket", Deferred;
    /// Inode number of the latter.
    socket_inode: "socket_alloc"."vfs_inode.i_ino", Deferred;
    /// The TCP socket below an MPTCP socket.
    tp_is_mptcp: "tcp_sock"."is_mptcp", Mptcp;
    /// Request a child was made from, until its handshake ends.
    tp_fastopen_rsk: "tcp_sock"."fastopen_rsk", Listing;
    /// Number of a network namespace that is never given again (from 5.12 on: made when it is first asked for before).
    net_cookie: "net"."net_cookie", Witness;
    /// Payload bytes that were acked, the SYN counted as one.
    tp_bytes_acked: "tcp_sock"."bytes_acked", Lifetime;
    /// Payload bytes that were received.
    tp_bytes_received: "tcp_sock"."bytes_received", Lifetime;
    /// Programs that are called for `sock_ops` of a cgroup's sockets: an element of `effective`, by the number of the hook
    /// (`CGROUP_SOCK_OPS`). User space works it out.
    cgroup_sock_ops: "cgroup"."bpf.effective[CGROUP_SOCK_OPS]", LeftFlags;
    /// The second of such programs: NULL where there is but one. Worked out likewise.
    second_program: "bpf_prog_array"."items[1].prog", LeftFlags;
}

/// What of a position a constant in the programs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Part {
    /// [`FieldLoc::byte`].
    Byte = 0,
    /// [`FieldLoc::bit`].
    Bit = 1,
    /// [`FieldLoc::width`].
    Width = 2,
    /// [`FieldLoc::mask`].
    Mask = 3,
}

/// Upper half of every placeholder; no other constant of the programs has it.
const PLACEHOLDER: u64 = 0x7f0_70f0;

/// The constant that stands in the compiled programs for a part of the position of a member, given by its number in
/// [`Layout::SPECS`]: the operand of a 64-bit load of a constant (`BPF_LD | BPF_IMM | BPF_DW`).
pub const fn placeholder(field: u64, part: Part) -> u64 {
    PLACEHOLDER << 32 | field << 2 | part as u64
}

/// Puts this kernel's positions in the place of every placeholder in an object file, and returns how many there
/// were.
pub fn fill_in(object: &mut [u8], layout: &[FieldLoc]) -> usize {
    constant::fill_each(object, |constant, load| {
        let value = value_of(constant, layout);
        if let Some(value) = value {
            constant::put(load, value);
        }
        value.is_some()
    })
}

/// What belongs in the place of a placeholder; `None` for any other constant.
fn value_of(constant: u64, layout: &[FieldLoc]) -> Option<u32> {
    if constant >> 32 != PLACEHOLDER {
        return None;
    }
    let number = constant as u32;
    let field = layout.get((number >> 2) as usize)?;
    match number & 3 {
        0 => Some(field.byte),
        1 => Some(field.bit.into()),
        2 => Some(field.width.into()),
        _ => Some(field.mask().into()),
    }
}

const _: () = assert!(size_of::<FieldLoc>() == 8);
const _: () = assert!(size_of::<Layout>() == Layout::SPECS.len() * 8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constant::load;

    #[test]
    fn placeholders_are_filled_in_and_nothing_else() {
        let layout = [
            FieldLoc::NONE,
            FieldLoc {
                byte: 2_004,
                bit: 3,
                width: 2,
                pad: 0,
            },
        ];
        for (field, part, want) in [
            (0, Part::Byte, u64::from(u32::MAX)),
            (1, Part::Byte, 2_004),
            (1, Part::Bit, 3),
            (1, Part::Width, 2),
            (1, Part::Mask, 0b0001_1000),
        ] {
            let mut code = [[0x55; 16], load(placeholder(field, part)), [0x55; 16]].concat_all();
            assert_eq!(fill_in(&mut code, &layout), 1);
            assert_eq!(code, [[0x55; 16], load(want), [0x55; 16]].concat_all());
        }
        // Another constant, a member that is not there, an address of a map (`BPF_PSEUDO_MAP_VALUE` is 2).
        let mut map_value = load(placeholder(0, Part::Byte));
        map_value[1] = 0x21;
        for pair in [load(77), load(placeholder(2, Part::Byte)), map_value] {
            let mut code = [pair; 3].concat_all();
            assert_eq!((fill_in(&mut code, &layout), code), (0, [pair; 3].concat_all()));
        }
        assert_eq!(fill_in(&mut [0x18; 15], &layout), 0);
    }

    trait ConcatAll {
        fn concat_all(self) -> [u8; 48];
    }

    impl ConcatAll for [[u8; 16]; 3] {
        fn concat_all(self) -> [u8; 48] {
            core::array::from_fn(|index| self[index / 16][index % 16])
        }
    }
}
