//! The `sock_ops` program: which callback goes where.
//!
//! `int __cgroup_bpf_run_filter_sock_ops(struct sock *, struct bpf_sock_ops_kern *, enum cgroup_bpf_attach_type)`
//! (kernel/bpf/cgroup.c). It is called a dozen times per connection, so everything that is not ours leaves
//! at once.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};

use tfo_common::Role;

use super::{client, first_byte, server};
use crate::{
    kern,
    observer::{
        finish::{Verdict, finish},
        flow,
    },
    ops::{Ops, tcp_flag},
};

/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;

/// Entry. The return value is 1 whatever happens: 0 would turn into -EPERM for every program on the cgroup
/// (`bpf_prog_run_array_cg`).
#[sock_ops]
pub fn tfo_sock_ops(ctx: SockOpsContext) -> u32 {
    #[cfg(feature = "log")]
    log(&ctx);
    dispatch(&Ops { ctx });
    1
}

/// For who debugs the programs: which callback came, for what.
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
    let verdict = match ops.op() {
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => return header(ops),
        BPF_SOCK_OPS_TCP_CONNECT_CB => return client::connect(ops),
        BPF_SOCK_OPS_RTO_CB => return client::timeout(ops),
        BPF_SOCK_OPS_TCP_LISTEN_CB => return server::listen(ops),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => client::established(ops),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => server::established(ops),
        BPF_SOCK_OPS_STATE_CB => state(ops),
        // TIMEOUT_INIT, RWND_INIT, NEEDS_ECN, ..., and whatever a newer kernel adds.
        _ => return,
    };
    if let Some(verdict) = verdict {
        finish(ops, verdict);
    }
}

/// A header is about to be built: a SYN, a SYN-ACK, or a segment of a connection that waits for its first
/// byte.
#[inline(always)]
fn header(ops: &Ops) {
    if !ops.is_full() {
        return server::syn_answered(ops);
    }
    match flow::of_context(ops) {
        Some(flow) if ops.tcp_flags() & tcp_flag::SYN != 0 => client::syn_built(ops, flow),
        Some(flow) => first_byte::building(ops, flow),
        None => first_byte::building_plain(ops),
    }
}

/// The state is about to change from args[0] to args[1]. The one every client goes through says nothing.
#[inline(always)]
fn state<'a>(ops: &Ops) -> Option<Verdict<'a>> {
    if ops.arg::<0>() == SYN_SENT && ops.arg::<1>() == ESTABLISHED {
        return None;
    }
    let flow = flow::of_context(ops)?;
    let sk = kern::sock_of(&ops.ctx);
    if flow.role == Role::Client as u8 {
        client::state(ops, sk, flow)
    } else {
        server::state(ops, sk, flow)
    }
}
