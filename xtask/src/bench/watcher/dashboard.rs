//! A dashboard that runs all the time, and whose program on the cgroup comes and goes while a load runs.

use anyhow::{Context as _, Result};
use aya::programs::sock_ops::SockOpsLinkId;
use aya::programs::{CgroupAttachMode, SockOps};

use crate::bench::bpftool::{self, bpftool, run};
use crate::bench::empty::root;
use crate::bench::observer::{Observer, Tool};
use crate::bench::policy::Stage;
use crate::bench::slices::Switched;
use crate::bench::stats;

/// Its program on the root of the cgroup hierarchy, which calls the others.
const SOCK_OPS: &str = "tfo_sock_ops";

/// `top`. Links of tracepoints cannot be taken from the process that holds them: their programs stay, and find nothing while the
/// other one is detached. To start it anew for each slice takes seconds, in which the load's own speed changes.
pub struct Dashboard {
    sock_ops: SockOps,
    attached: Option<SockOpsLinkId>,
    /// Ends when this is dropped.
    _observer: Observer,
}

impl Dashboard {
    /// Starts it.
    pub fn start(stage: &Stage) -> Result<Self> {
        let observer = Observer::start(Tool::Top)?;
        let names = bpftool::programs()?;
        let id = stats::programs_of(observer.pid())?
            .into_iter()
            .find(|id| names.get(id).is_some_and(|program| program.name == SOCK_OPS))
            .with_context(|| format!("`top` has no program {SOCK_OPS}"))?;
        let sock_ops = stage.with_pin(id, |path| Ok(SockOps::from_pin(path)?))?;
        let links = bpftool(&["link", "show"])?;
        let links = links.as_array().context("bpftool link show: no list")?;
        for link in links.iter().filter(|link| link["prog_id"] == id) {
            run(&["link", "detach", "id", &link["id"].to_string()])?;
        }
        Ok(Self {
            sock_ops,
            attached: None,
            _observer: observer,
        })
    }
}

impl Switched for Dashboard {
    fn set(&mut self, on: bool) -> Result<()> {
        match (self.attached.take(), on) {
            (Some(link), false) => self.sock_ops.detach(link)?,
            (None, true) => self.attached = Some(self.sock_ops.attach(root()?, CgroupAttachMode::Single)?),
            (as_it_is, _) => self.attached = as_it_is,
        }
        Ok(())
    }
}
