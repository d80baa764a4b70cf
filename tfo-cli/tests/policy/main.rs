//! Enforcement on the live kernel: real connections, real bad paths. Needs root; run with `cargo xtask test`.
//!
//! The target has its own harness because the process enters a mount namespace of its own first, and only a
//! process without threads can: the bpffs mounted there goes with it, and with the bpffs every pinned program,
//! however the tests end. Tests run one after the other: they share the root of the cgroup hierarchy.

mod capture;
mod enforce;
mod guards;
mod lifecycle;
mod observer;
mod policy;
mod runner;
mod scale;
mod strip;
mod support;

use runner::Test;

const TESTS: &[Test] = &[
    ("enforce::a_path_that_drops_syn_data_costs_nothing_with_a_rule", enforce::costs_nothing_with_a_rule),
    ("enforce::sockets_that_would_stall_do_not", enforce::would_stall),
    ("enforce::cgroups_prefixes_and_ports_are_told_apart", enforce::scopes),
    ("enforce::the_nearest_cgroup_decides", enforce::nearest_cgroup),
    ("enforce::longest_prefix_expiry_and_observe", enforce::prefixes_expiry_observe),
    ("enforce::real_programs", enforce::real_programs),
];

fn main() -> std::process::ExitCode {
    runner::run(TESTS)
}
