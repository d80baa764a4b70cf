//! Pure state: flows, destinations, host, filters. Never does I/O; time is passed in.

pub mod feed;
