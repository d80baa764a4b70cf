//! What the soak shares with the other tests on the live kernel. All of it is theirs.

#[path = "../privileged/support/flow.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
pub mod flow;
#[path = "../privileged/support/ground.rs"]
#[expect(dead_code, reason = "likewise")]
pub mod ground;
#[path = "../privileged/support/kernel.rs"]
#[expect(dead_code, unused_macros, unused_imports, reason = "likewise")]
pub mod kernel;
#[path = "../privileged/support/sandbox.rs"]
#[expect(dead_code, reason = "likewise")]
pub mod sandbox;
#[path = "../privileged/support/schema.rs"]
pub mod schema;
#[path = "../privileged/support/tool.rs"]
#[expect(dead_code, reason = "likewise")]
pub mod tool;

pub use self::ground::{BINARY, DEADLINE, NO_CONFIG, no_problems, wait_until, why_not};
