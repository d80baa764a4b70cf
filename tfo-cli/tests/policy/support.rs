//! The support modules of `tests/privileged`, which these tests use, too: the tool as a child process, its records, and a
//! cgroup for a test.

#[path = "../privileged/support/flow.rs"]
#[expect(dead_code, reason = "the observer's tests use the rest of it")]
pub mod flow;
#[path = "../privileged/support/foreign.rs"]
pub mod foreign;
#[path = "../privileged/support/ground.rs"]
pub mod ground;
#[path = "../privileged/support/object.rs"]
pub mod object;
#[path = "../privileged/support/sandbox.rs"]
pub mod sandbox;
#[path = "../privileged/support/schema.rs"]
pub mod schema;
#[path = "../privileged/support/tcpdump.rs"]
pub mod tcpdump;
#[path = "../privileged/support/tool.rs"]
#[expect(dead_code, reason = "likewise")]
pub mod tool;

pub use self::ground::{BINARY, DEADLINE, NO_CONFIG, no_problems, wait_until, why_not};
