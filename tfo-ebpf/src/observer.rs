//! The observer: watches TCP handshakes, classifies them with `tfo-common`, counts them and emits
//! one record per flow in which TCP Fast Open had a part.
//!
//! ```text
//! sock_ops ------> hooks::client   SYN built, SYN-ACK, failure, first byte     (by tail calls: hooks::sock_ops)
//!          \-----> hooks::server   listen(), SYN answered, child created, first byte
//! tp_btf --------> hooks::trace    RST received, SYN-ACK retransmitted, socket error, socket destroyed
//! iter/tcp ------> hooks::listeners  callback flags on sockets that existed before us
//!                       |
//!                  flow (array by socket)  -> finish -> totals, destination table, record
//! ```
//!
//! Rules for every hook: return 1 from `sock_ops` and 0 from the others, never write `reply`, OR callback flags in and take only our own out
//! (other programs share them), never loop over packets, count whatever could not be kept.

mod account;
mod clock;
mod cpu;
mod finish;
mod flow;
mod hooks;
mod listener;
mod maps;
mod mark;
mod netns;
mod parts;
mod record;
