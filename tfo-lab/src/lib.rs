//! The test lab of tfo-cli: two network namespaces, real sockets, nftables as the middlebox.
//!
//! What is where:
//! * [`netns`], [`lab`]: namespaces and the client/server pair that cleans up after itself
//! * [`client`], [`server`], [`responder`]: the two ends of a connection; [`crossed`]: both ends are clients
//! * [`middlebox`]: what a bad path does to the handshake
//! * [`mib`]: the kernel's own counters, the second witness
//! * [`scenario`]: every outcome of the design, produced on demand with its expected record
//! * [`undisturbed`]: what keeps ends of child processes from interrupting connections
//! * [`load`], [`bulk`], [`flood`], [`crowd`]: connections per second, bytes per second, very many destinations, very
//!   many handshakes and listeners at once
//! * [`traffic`], [`apps`], [`vm`]: demo, third-party programs, throwaway VMs
//!
//! Traffic stays inside namespaces made here (or on the loopback of a throwaway VM); the host's
//! own sysctls, routes and rules are never touched.

pub mod apps;
pub mod bulk;
pub mod cli;
pub mod client;
pub mod command;
mod cpu;
pub mod crossed;
pub mod crowd;
pub mod flood;
mod guardian;
pub mod lab;
pub mod load;
pub mod mib;
pub mod middlebox;
pub mod netns;
pub mod noted;
pub mod pattern;
pub mod responder;
pub mod scenario;
pub mod server;
pub mod sockopt;
pub mod traffic;
pub mod undisturbed;
pub mod vm;
