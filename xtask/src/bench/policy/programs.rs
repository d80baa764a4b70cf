//! Rules that come and go while a load runs.

use anyhow::Result;
use aya::programs::cgroup_skb::CgroupSkbLinkId;
use aya::programs::sock_ops::SockOpsLinkId;
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, SockOps};

use super::{InForce, Rules, Stage};
use crate::bench::empty::{Empty, root};
use crate::bench::slices::{Nothing, Switched};

impl Stage {
    /// These rules, or what stands in their place, to be put in force and lifted within microseconds.
    pub fn switched(&self, rules: Rules) -> Result<Box<dyn Switched>> {
        Ok(match (rules, rules.hooks()) {
            (_, Some(hooks)) => Box::new(Empty::load(&hooks)?),
            (Rules::None, None) => Box::new(Nothing),
            (_, None) => Box::new(Programs::of(self, rules)?),
        })
    }
}

/// The programs of a policy.
struct Programs {
    egress: CgroupSkb,
    sock_ops: SockOps,
    attached: Option<(CgroupSkbLinkId, SockOpsLinkId)>,
    /// Keeps the maps, and takes everything away in the end.
    _in_force: InForce,
}

impl Programs {
    /// Puts rules in force, but for the links of their programs.
    fn of(stage: &Stage, rules: Rules) -> Result<Self> {
        let in_force = stage.enforce(rules)?;
        let sock_ops = in_force.pinned("link-sockops")?.0;
        let egress = in_force.program()?;
        let egress = stage.with_pin(egress, |path| {
            Ok(CgroupSkb::from_pin(path, CgroupSkbAttachType::Egress)?)
        })?;
        let sock_ops = stage.with_pin(sock_ops, |path| Ok(SockOps::from_pin(path)?))?;
        // They lose the links they came with, and get others that come and go.
        in_force.detach()?;
        Ok(Self {
            egress,
            sock_ops,
            attached: None,
            _in_force: in_force,
        })
    }
}

impl Switched for Programs {
    fn set(&mut self, on: bool) -> Result<()> {
        if let Some((egress, sock_ops)) = self.attached.take() {
            self.egress.detach(egress)?;
            self.sock_ops.detach(sock_ops)?;
        }
        if on {
            let mode = CgroupAttachMode::Single;
            let egress = self.egress.attach(root()?, CgroupSkbAttachType::Egress, mode)?;
            self.attached = Some((egress, self.sock_ops.attach(root()?, mode)?));
        }
        Ok(())
    }
}
