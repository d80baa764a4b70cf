//! One file per family of hooks. Each hook is thin: it fills facts and hands them on.

pub mod client;
pub mod first_byte;
pub mod flags;
pub mod give_back;
pub mod listeners;
pub mod server;
pub mod sock_ops;
pub mod trace;
