//! `tfo-cli cookies`.

use clap::{Args, Subcommand};

use super::{EXIT_CODES, policy::ListFormat, scope::NetnsArgs};
use crate::{addr::Prefix, exit::Failure};

/// The options of `tfo-cli cookies`, as the user typed them.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CookiesArgs {
    #[command(subcommand)]
    command: Option<RawCookies>,
    /// Format of the output; json is one object per entry.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    #[command(flatten)]
    netns: NetnsArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum RawCookies {
    /// Deletes the entries of destinations, so that the next connection asks for a new cookie.
    ///
    /// The kernel keeps cookies and metrics in one entry: what it learnt of round-trip time, congestion window and reordering
    /// between these addresses is deleted as well, and new connections begin with the defaults. Needs `CAP_NET_ADMIN`.
    #[command(after_help = EXIT_CODES)]
    Forget {
        /// Destinations: `203.0.113.0/24`, `2001:db8::/32`, `192.0.2.1`.
        prefix: String,
        #[command(flatten)]
        netns: NetnsArgs,
    },
}

/// The checked options of `tfo-cli cookies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiesConfig {
    /// The only network namespace to read; `None` for all.
    pub netns: Option<String>,
    /// What to do.
    pub what: CookiesWhat,
}

/// What to do with the cookie cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookiesWhat {
    /// Print its entries.
    Show(ListFormat),
    /// `forget`
    Forget(Prefix),
}

impl CookiesArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<CookiesConfig, Failure> {
        Ok(match self.command {
            None => CookiesConfig {
                netns: self.netns.netns,
                what: CookiesWhat::Show(self.format),
            },
            Some(RawCookies::Forget { prefix, netns }) => CookiesConfig {
                netns: netns.netns,
                what: CookiesWhat::Forget(
                    prefix
                        .parse()
                        .map_err(|why: String| Failure::usage("PREFIX", &prefix, why))?,
                ),
            },
        })
    }
}
