//! The programs of a policy, to be attached and detached while a load runs.

use anyhow::Result;
use aya::programs::cgroup_skb::CgroupSkbLinkId;
use aya::programs::sock_ops::SockOpsLinkId;
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, SockOps};

use super::{InForce, Rules, Stage};
use crate::bench::empty::root;
use crate::bench::slices::Switched;

/// Programs that can be attached and detached within microseconds.
pub struct Programs {
    egress: CgroupSkb,
    sock_ops: SockOps,
    attached: Option<(CgroupSkbLinkId, SockOpsLinkId)>,
    /// Keeps the maps, and takes everything away in the end.
    _in_force: InForce,
}

impl Programs {
    /// Puts rules in force, but for the links of their programs.
    pub fn of(stage: &Stage, rules: Rules) -> Result<Self> {
        let mut in_force = stage.enforce(rules)?;
        let [sock_ops, egress] = match in_force.empty() {
            Some(&[sock_ops, egress]) => [sock_ops, egress],
            _ => [
                in_force.pinned("link-sockops")?.0,
                in_force.pinned("link-egress")?.0,
            ],
        };
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
