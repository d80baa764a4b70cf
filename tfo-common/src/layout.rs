//! Where kernel structures keep what the programs read: resolved from the running kernel's BTF at load time,
//! never from constants (bit-fields move between releases).

use crate::codes::codes;

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
    /// Whether option 254 is used.
    req_cookie_exp: "tcp_fastopen_request"."cookie.exp", ExpOption;
    /// Bytes the application offered.
    req_size: "tcp_fastopen_request"."size", Core;
    /// A TFO option was put into a SYN.
    tp_syn_fastopen: "tcp_sock"."syn_fastopen", TimeoutCheck;
    /// SYN carried data.
    tp_syn_data: "tcp_sock"."syn_data", TimeoutCheck;
    /// That data was acked, or this is a TFO child.
    tp_syn_data_acked: "tcp_sock"."syn_data_acked", TimeoutCheck;
    /// Socket option `TCP_FASTOPEN_NO_COOKIE`.
    tp_no_cookie: "tcp_sock"."fastopen_no_cookie", NoCookie;
    /// Callback flags.
    tp_cb_flags: "tcp_sock"."bpf_sock_ops_cb_flags", Core;
    /// Connection state.
    skc_state: "sock_common"."skc_state", Core;
    /// Address family of the socket.
    skc_family: "sock_common"."skc_family", Listing;
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
    sk_err: "sock"."sk_err", Enforcement;
    /// Set by `TCP_QUICKACK` 0.
    icsk_pingpong: "inet_connection_sock"."icsk_ack.pingpong", Enforcement;
    /// Set by `TCP_DEFER_ACCEPT`.
    icsk_defer_accept: "inet_connection_sock"."icsk_accept_queue.rskq_defer_accept", Enforcement;
}

const _: () = assert!(size_of::<FieldLoc>() == 8);
const _: () = assert!(size_of::<Layout>() == Layout::SPECS.len() * 8);
