//! Enforcement: keeps SYN data, or the whole TFO option, from leaving where a rule or a guard
//! says so, without the application noticing.
//!
//! ```text
//! cgroup_skb/egress -> syn -> lookup (rules, guard) -> deny or pass, and a mark on the socket
//!                                                                      |
//! TCX egress ---------> strip: marked SYNs lose the TFO option <-------+
//! sock_ops -----------> established: the push that prevents a stall <--+
//!                       outcome of marked handshakes -> guard
//! ```
//!
//! Rules for every program: whatever cannot be decided passes; other programs on the same hook see the same
//! packets and verdicts as without us, except the SYNs we deny; everything kept on a socket goes with it.

mod carried;
mod count;
mod egress;
mod guard;
mod lookup;
mod maps;
mod marks;
mod options;
mod risk;
mod sock_ops;
mod strip;
mod syn;
mod watch;
