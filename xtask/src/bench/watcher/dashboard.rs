//! The programs of `top`, attached and detached while it and a load run.

use anyhow::{Context as _, Result};
use aya::programs::sock_ops::SockOpsLinkId;
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, CgroupAttachMode, SockOps};

use crate::bench::bpftool::{self, bpftool, run};
use crate::bench::empty::root;
use crate::bench::observer::{Observer, Tool};
use crate::bench::policy::Stage;
use crate::bench::slices::Switched;
use crate::bench::stats;

/// Its program on the root of the cgroup hierarchy, which calls the others.
const SOCK_OPS: &str = "tfo_sock_ops";
/// Those of its tracepoints that a connection meets: its end, and the RST that the generator ends it by.
const TRACEPOINTS: [&str; 2] = ["tfo_destroy", "tfo_sk_error"];

/// A dashboard that runs all the time.
///
/// The link of its program on the cgroup is detached, and another one comes and goes. A tracepoint's link cannot be taken from
/// the process that holds it: its program stays attached, and another link to it comes and goes. Without that link it is called once
/// and finds nothing, with it it does its work in one call and finds nothing in the other one: the difference is its work.
pub struct Dashboard {
    sock_ops: SockOps,
    tracepoints: Vec<BtfTracePoint>,
    attached: Option<(SockOpsLinkId, Vec<BtfTracePointLinkId>)>,
    /// Last, so that nothing of it is attached any more when it ends.
    _observer: Observer,
}

impl Dashboard {
    /// Starts it.
    pub fn start(stage: &Stage) -> Result<Self> {
        let observer = Observer::start(Tool::Top)?;
        let names = bpftool::programs()?;
        let ids = stats::programs_of(observer.pid)?;
        let id_of = |name: &str| {
            let id = ids
                .iter()
                .copied()
                .find(|id| names.get(id).is_some_and(|program| program.name == name));
            id.with_context(|| format!("`top` has no program {name}"))
        };
        let id = id_of(SOCK_OPS)?;
        let sock_ops = stage.with_pin(id, |path| Ok(SockOps::from_pin(path)?))?;
        let tracepoints = TRACEPOINTS
            .iter()
            .map(|name| stage.with_pin(id_of(name)?, |path| Ok(BtfTracePoint::from_pin(path)?)));
        let tracepoints = tracepoints.collect::<Result<_>>()?;
        let links = bpftool(&["link", "show"])?;
        let links = links.as_array().context("bpftool link show: no list")?;
        for link in links.iter().filter(|link| link["prog_id"] == id) {
            run(&["link", "detach", "id", &link["id"].to_string()])?;
        }
        Ok(Self {
            sock_ops,
            tracepoints,
            attached: None,
            _observer: observer,
        })
    }
}

impl Switched for Dashboard {
    fn set(&mut self, on: bool) -> Result<()> {
        if let Some((sock_ops, tracepoints)) = self.attached.take() {
            self.sock_ops.detach(sock_ops)?;
            for (program, link) in self.tracepoints.iter_mut().zip(tracepoints) {
                program.detach(link)?;
            }
        }
        if on {
            let tracepoints = self.tracepoints.iter_mut().map(BtfTracePoint::attach);
            let tracepoints = tracepoints.collect::<Result<_, _>>()?;
            let sock_ops = self.sock_ops.attach(root()?, CgroupAttachMode::Single)?;
            self.attached = Some((sock_ops, tracepoints));
        }
        Ok(())
    }
}
