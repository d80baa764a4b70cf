//! The `sock_ops` programs: one that is attached and decides which part does the work, and the parts.
//!
//! `int __cgroup_bpf_run_filter_sock_ops(struct sock *, struct bpf_sock_ops_kern *, enum cgroup_bpf_attach_type)`
//! (kernel/bpf/cgroup.c). It is called a dozen times per connection, so everything that is not ours leaves
//! at once.
//!
//! Every program returns 1 whatever happens: 0 would turn into -EPERM for every program on the cgroup
//! (`bpf_prog_run_array_cg`).

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG as RTO, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use tfo_common::{Role, maps::Part};

use super::{client, first_byte, flags, server};
use crate::{
    observer::{
        finish,
        flow::{self, Flow, bit},
        parts::jump,
    },
    ops::{Ops, tcp_flag},
};

/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;

/// The one that is attached.
#[sock_ops]
pub fn tfo_sock_ops(ctx: SockOpsContext) -> u32 {
    #[cfg(feature = "log")]
    log(&ctx);
    dispatch(&Ops { ctx });
    1
}

/// Logs the callback and its connection, in objects built with `cargo xtask build --bpf-log`.
#[cfg(feature = "log")]
#[inline(never)]
fn log(ctx: &SockOpsContext) {
    aya_log_ebpf::debug!(
        ctx,
        "op {} args {} {} ports {} {}",
        ctx.op(),
        ctx.arg(0),
        ctx.arg(1),
        ctx.local_port(),
        u32::from_be(ctx.remote_port())
    );
}

#[inline(always)]
fn dispatch(ops: &Ops) {
    match ops.op() {
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => header(ops),
        BPF_SOCK_OPS_TCP_CONNECT_CB => jump::<{ Part::Connect as u32 }>(ops),
        // The timer's flag is on every socket that asked for TFO, if nobody took it.
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB if ops.flags() & RTO != 0 => {
            jump::<{ Part::ClientEstablished as u32 }>(ops);
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => jump::<{ Part::ClientPlain as u32 }>(ops),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => jump::<{ Part::ServerEstablished as u32 }>(ops),
        // The state change every client goes through says nothing.
        BPF_SOCK_OPS_STATE_CB if ops.arg::<0>() == SYN_SENT && ops.arg::<1>() == ESTABLISHED => {}
        BPF_SOCK_OPS_STATE_CB
        | BPF_SOCK_OPS_RTO_CB
        | BPF_SOCK_OPS_RETRANS_CB
        | BPF_SOCK_OPS_TCP_LISTEN_CB => {
            jump::<{ Part::Rare as u32 }>(ops);
        }
        // TIMEOUT_INIT, RWND_INIT, NEEDS_ECN, ..., and whatever a newer kernel adds.
        _ => {}
    }
}

/// A header is about to be built: a SYN-ACK, or a segment of a connection that waits for its first byte.
#[inline(always)]
fn header(ops: &Ops) {
    let syn = ops.tcp_flags() & tcp_flag::SYN != 0;
    match (ops.is_full(), syn) {
        (false, true) => jump::<{ Part::SynAnswered as u32 }>(ops),
        (false, false) => {}
        // A SYN, where another program asked for its header.
        (true, true) => {}
        (true, false) if first_byte::is_idle(ops) => {}
        // The first data of a server: its flow needs what is there for all but clients.
        (true, false) if first_byte::is_sending(ops) && ops.flags() & RTO != 0 => {
            jump::<{ Part::OtherByte as u32 }>(ops);
        }
        (true, false) => jump::<{ Part::FirstByte as u32 }>(ops),
    }
}

/// [`Part::Connect`].
#[sock_ops]
pub fn tfo_connect(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    if client::connect(&ops) {
        jump::<{ Part::Rare as u32 }>(&ops);
    }
    1
}

/// [`Part::SynAnswered`].
#[sock_ops]
pub fn tfo_syn_answer(ctx: SockOpsContext) -> u32 {
    server::syn_answered(&Ops { ctx });
    1
}

/// [`Part::ClientEstablished`].
#[sock_ops]
pub fn tfo_client_est(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    if client::accepted(&ops) {
        jump::<{ Part::Finish as u32 }>(&ops);
    } else {
        jump::<{ Part::Rare as u32 }>(&ops);
    }
    1
}

/// [`Part::ClientPlain`].
#[sock_ops]
pub fn tfo_plain_est(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    if client::established_plain(&ops) {
        jump::<{ Part::Rare as u32 }>(&ops);
    }
    1
}

/// [`Part::ServerEstablished`].
#[sock_ops]
pub fn tfo_server_est(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    if server::established(&ops) {
        jump::<{ Part::Finish as u32 }>(&ops);
    }
    1
}

/// [`Part::FirstByte`].
#[sock_ops]
pub fn tfo_first_byte(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    // The timer's flag is on every socket that asked for TFO, unless somebody else has taken it. Of the others most are plain, and
    // the slot that they need anyway tells, where the place of a flow that they have not is in no cache: 110 ns a look.
    if ops.flags() & RTO == 0 && flags::inherited_is_ours() && flow::is_awaited_plain(&ops) {
        jump::<{ Part::PlainByte as u32 }>(&ops);
        return 1;
    }
    match flow::at_home(&ops) {
        Some(flow) if flow.role == Role::Client as u8 && flow.has(bit::BY_READER) => {
            first_byte::building_client(&ops, flow);
        }
        None if flow::is_surely_without(&ops) => jump::<{ Part::PlainByte as u32 }>(&ops),
        _ => jump::<{ Part::OtherByte as u32 }>(&ops),
    }
    1
}

/// [`Part::OtherByte`].
#[sock_ops]
pub fn tfo_other_byte(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    match flow::of_context(&ops) {
        Some(flow) => {
            if first_byte::building(&ops, flow) {
                jump::<{ Part::Finish as u32 }>(&ops);
            }
        }
        None => jump::<{ Part::PlainByte as u32 }>(&ops),
    }
    1
}

/// [`Part::PlainByte`].
#[sock_ops]
pub fn tfo_plain_byte(ctx: SockOpsContext) -> u32 {
    first_byte::building_plain(&Ops { ctx });
    1
}

/// [`Part::Rare`].
#[sock_ops]
pub fn tfo_rare(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    // Looked up once for all of them: each look-up is a loop to the verifier.
    let mut flow = flow::of_context(&ops);
    if let Some(flow) = &mut flow {
        client::work_out_start(&ops, flow);
    }
    match ops.op() {
        BPF_SOCK_OPS_RTO_CB => client::timeout(&ops),
        BPF_SOCK_OPS_RETRANS_CB => client::retransmitted(&ops, flow),
        BPF_SOCK_OPS_TCP_LISTEN_CB => server::listen(&ops),
        BPF_SOCK_OPS_TCP_CONNECT_CB => client::connect_again(&ops, flow),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            if client::established(&ops, flow) {
                jump::<{ Part::Finish as u32 }>(&ops);
            }
        }
        _ if state(&ops, flow) => jump::<{ Part::Finish as u32 }>(&ops),
        _ => {}
    }
    1
}

/// [`Part::Finish`].
#[sock_ops]
pub fn tfo_finish(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    finish::finish(&ops);
    connect_once_more(&ops);
    1
}

/// [`Part::FinishByRing`].
#[sock_ops]
pub fn tfo_finish_ring(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    finish::finish_by_ring(&ops);
    connect_once_more(&ops);
    1
}

/// [`Part::Count`].
#[sock_ops]
pub fn tfo_count(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    finish::finish_counting(&ops);
    connect_once_more(&ops);
    1
}

/// Where it was the socket's earlier connection that had to be finished first.
#[inline(always)]
fn connect_once_more(ops: &Ops) {
    if ops.op() == BPF_SOCK_OPS_TCP_CONNECT_CB {
        jump::<{ Part::Connect as u32 }>(ops);
    }
}

/// The state is about to change from args[0] to args[1]; whether that is a verdict.
#[inline(always)]
fn state(ops: &Ops, flow: Option<&mut Flow>) -> bool {
    let Some(flow) = flow else {
        return false;
    };
    if flow.role == Role::Client as u8 {
        client::state(ops, flow)
    } else {
        server::state(ops, flow)
    }
}
