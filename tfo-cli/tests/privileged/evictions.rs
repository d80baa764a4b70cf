//! Tables that are too small: what they drop is counted by name, to the last one. The VM test does the same on eight CPUs
//! and a kernel whose LRU maps starve some of them.

use anyhow::{Result, ensure};
use tfo_lab::{crowd, netns::Namespace};

use crate::support::{needs_kernel, sandbox::Sandbox, tool::Tool};

/// Entries of each LRU map.
const ENTRIES: u64 = 64;
/// Handshakes at once, and listeners.
const MANY: u32 = 300;

#[test]
fn what_a_small_table_drops_is_counted() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let namespace = Namespace::anonymous("crowd")?;
    namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
    let cgroup = sandbox.path().to_string_lossy().into_owned();
    let trace = Tool::attached_with(
        ("TFO_LRU_ENTRIES", &ENTRIES.to_string()),
        &["trace", "--format", "json", "--cgroup", &cgroup],
    )?;
    let made = namespace.run(|| crowd::run(MANY, MANY))?;
    let (_, summary) = trace.stop()?.records()?;
    let (granted, plain) = (
        summary.total("server", "cookie-granted"),
        summary.total("server", "plain"),
    );
    ensure!(granted + plain == made.handshakes, "{summary:?}");
    // Whose facts were dropped is taken for plain: so many, and no more, are counted.
    let dropped = summary.lost("request-evicted") + summary.lost("request-insert");
    ensure!(plain > 0 && plain == dropped, "{summary:?}");
    let listeners = summary.lost("listener-evicted");
    ensure!(
        listeners >= made.listeners - ENTRIES && listeners <= made.listeners,
        "{summary:?}"
    );
    ensure!(
        summary.total("server", "accepted") == made.listeners,
        "{summary:?}"
    );
    Ok(())
}
