//! The options that every command has which attaches to the kernel.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tfo_common::limits;

use super::value;
use crate::{exit::Failure, options::AttachOptions};

/// Where and how to look.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kernel side")]
pub struct AttachArgs {
    /// Only connections of this cgroup and those below it: a path in the cgroup2 file system.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Rows of the destination table; when it is full, a new row replaces the least recently used.
    #[arg(long, value_name = "ROWS", default_value_t = limits::DESTS)]
    pub destinations: u32,
    /// Bits a client's IPv4 address is cut to in the rows of a server.
    #[arg(long, value_name = "BITS", default_value_t = limits::SERVER_V4_PREFIX)]
    pub server_v4_prefix: u8,
    /// Bits a client's IPv6 address is cut to in the rows of a server.
    #[arg(long, value_name = "BITS", default_value_t = limits::SERVER_V6_PREFIX)]
    pub server_v6_prefix: u8,
    /// Measure the time to first byte of one in N plain connections; 1 measures each. Connections that use Fast Open are
    /// always measured.
    #[arg(long, value_name = "N", default_value_t = limits::TTFB_SAMPLE)]
    pub ttfb_sample: u32,
    /// From which age on a connection counts as long-lived.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub long_lived: String,
}

/// Most rows of the destination table: more would take more than a gigabyte of kernel memory.
const MOST_DESTS: u32 = 1_048_576;

impl AttachArgs {
    /// Checks that the numbers are in their ranges.
    pub fn resolve(self, emit_plain: bool) -> Result<AttachOptions, Failure> {
        if !(limits::MIN_DESTS..=MOST_DESTS).contains(&self.destinations) {
            let why = format!("must be {} to {MOST_DESTS}", limits::MIN_DESTS);
            return Err(Failure::usage("--destinations", self.destinations, why));
        }
        if self.server_v4_prefix > 32 {
            return Err(Failure::usage(
                "--server-v4-prefix",
                self.server_v4_prefix,
                "must be 0 to 32",
            ));
        }
        if self.server_v6_prefix > 128 {
            return Err(Failure::usage(
                "--server-v6-prefix",
                self.server_v6_prefix,
                "must be 0 to 128",
            ));
        }
        if self.ttfb_sample == 0 {
            return Err(Failure::usage(
                "--ttfb-sample",
                self.ttfb_sample,
                "must be 1 or more",
            ));
        }
        let long_lived =
            value::duration_at_least("--long-lived", &self.long_lived, Duration::from_millis(100))?;
        let Ok(long_lived_ms) = u32::try_from(long_lived.as_millis()) else {
            return Err(Failure::usage(
                "--long-lived",
                self.long_lived,
                "must be at most 49 days",
            ));
        };
        Ok(AttachOptions {
            cgroup: self.cgroup,
            emit_plain,
            destinations: self.destinations,
            server_v4_prefix: self.server_v4_prefix,
            server_v6_prefix: self.server_v6_prefix,
            ttfb_sample: self.ttfb_sample,
            long_lived_ms,
            ..AttachOptions::default()
        })
    }
}
