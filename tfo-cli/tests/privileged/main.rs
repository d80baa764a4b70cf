//! The real binary on the live kernel, held against real traffic and the kernel's own counters.
//!
//! Needs root, BTF, cgroup2, iproute2, nftables, util-linux and a binary with its BPF object; where one is missing
//! each test prints `skipped: reason`. Run it with `--test-threads=1`: the tests move this process
//! between cgroups. All traffic stays in namespaces of the lab.

mod access_log;
mod answers;
mod apps;
mod asked;
mod burst;
mod bystanders;
mod captures;
mod client_faults;
mod coexist;
mod cookies;
mod crossed;
mod deferred;
mod diagnoses;
mod doctor;
mod duplicates;
mod ends;
mod evictions;
mod filters;
mod fixes;
mod formats;
mod host;
mod hostile_dns;
mod identities;
mod keys;
mod listener_faults;
mod listeners;
mod mptcp;
mod names;
mod namespaces;
mod outcomes;
mod overhead;
mod pmtu;
mod pools;
mod probe;
mod probe_raw;
mod queues;
mod refusals;
mod rights;
mod run;
mod support;
mod times;
mod top;
mod unfinished;
mod worth;
