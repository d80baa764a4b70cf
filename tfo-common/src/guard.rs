//! The guard: per destination, a circuit breaker that switches TFO off where it only costs time.
//!
//! The state machine is pure and the same in the kernel and in tests. Only destinations with a failure have a
//! state; no state means closed.
//!
//! ```text
//!            K of the last N TFO attempts failed,           back-off over
//!            and plain SYNs do better                  one trial goes through
//!   closed ------------------------------------> open ------------------------> half-open
//!     ^                                           ^ |  \ K of N bare SYNs with    |    |
//!     |                                           | |   \ the option failed too   |    |
//!     |        destination was down altogether    | |    v (--escalate)           |    |
//!     |<------------------------------------------+-+   open, strip               |    |
//!     |                                           |            trial failed:      |    |
//!     |                                           +---- back-off doubles <--------+    |
//!     +------------------------------ trial succeeded <--------------------------------+
//! ```
//!
//! Failures that a destination which is down would show as well (a RST, no answer at all) open it in doubt first: one
//! connection without SYN data, then one trial. A network opens the same way, after failures at several addresses.
//!
//! Why K = 5 of N = 6 by default: random loss makes single attempts fail as well. With 5 % of all SYNs lost a
//! window of six shows five failures once in 670,000 connections (5 p^5 (1 - p)); three of three would show up
//! once in 8,000.
//!
//! | file | has |
//! |---|---|
//! | `config` | what was asked for, and the defaults |
//! | `key` | whose evidence it is, and about what |
//! | `slot` | successes of every destination, also of those that never failed |
//! | `handshake` | handshakes whose end is waited for |
//! | `evidence` | what one handshake showed |
//! | `state` | the state machine above |
//! | `network` | the same for a network, and the second witness that opens it for everybody |
//! | `window` | the last attempts as bits |

mod config;
mod evidence;
mod handshake;
mod key;
mod network;
mod slot;
mod state;
mod window;

pub use self::{config::*, evidence::*, handshake::*, key::*, network::*, slot::*, state::*};

#[cfg(test)]
mod fair_tests;
#[cfg(test)]
mod tests;
