//! Who watches while something is measured: nobody, programs that do nothing, or a tool.

mod dashboard;

use std::time::Duration;

use anyhow::{Result, ensure};

use dashboard::Dashboard;

use super::empty::{Empty, Hook};
use super::observer::{Observer, Tool};
use super::policy::Stage;
use super::slices::{Nothing, Switched};
use super::stats;
use crate::interrupt;

/// Who is to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    Nobody,
    /// An empty program where each of `sock_ops` and the end of sockets calls: the floor. Asks for no callback, and is
    /// never attached together with a tool, whose callbacks it would get.
    Empty,
    /// Empty programs at the tracepoints of `top` that a connection meets: where sockets end, and where a RST, by which the generator ends
    /// its connections, makes an error of one.
    Ends,
    /// As [`Watcher::Empty`], but the one of `sock_ops` asks for the callbacks that ours ask for of Fast Open connections, and does nothing with
    /// them: who watches by them leaves no more than this one.
    Asking,
    /// The same, and it writes a record of each connection, which nobody reads: who keeps one leaves no more than this one.
    Recording,
    Tool(Tool),
}

impl Watcher {
    pub const TRACE: Self = Self::Tool(Tool::Trace);
    pub const TOP: Self = Self::Tool(Tool::Top);

    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Empty => "empty programs",
            Self::Ends => "empty programs at the tracepoints alone",
            Self::Asking => "empty programs, our callbacks",
            Self::Recording => "the same, a record of each end",
            Self::Tool(tool) => tool.name(),
        }
    }

    /// Programs that do next to nothing, and where.
    const fn hooks(self) -> Option<[Hook; 2]> {
        match self {
            Self::Nobody | Self::Tool(_) => None,
            Self::Empty => Some([Hook::SockOps, Hook::Destroy]),
            Self::Ends => Some([Hook::Destroy, Hook::Error]),
            Self::Asking => Some([Hook::SockOpsAsking, Hook::Destroy]),
            Self::Recording => Some([Hook::SockOpsRecording, Hook::Destroy]),
        }
    }

    /// Attaches whoever it is.
    pub fn start(self) -> Result<Watching> {
        Ok(match (self, self.hooks()) {
            (_, Some(hooks)) => Watching::Empty(Empty::attach(&hooks)?),
            (Self::Tool(tool), None) => Watching::Tool(Observer::start(tool)?),
            (_, None) => Watching::Nobody,
        })
    }

    /// Whoever it is, to be attached and detached while a load runs. Of tools only `top` can be, but for its tracepoints
    /// ([`Watcher::Ends`]).
    pub fn switched(self, stage: &Stage) -> Result<Box<dyn Switched>> {
        if let Some(hooks) = self.hooks() {
            return Ok(Box::new(Empty::load(&hooks)?));
        }
        if self == Self::Nobody {
            return Ok(Box::new(Nothing));
        }
        ensure!(
            self == Self::TOP,
            "{} cannot be attached and detached",
            self.name()
        );
        Ok(Box::new(Dashboard::start(stage)?))
    }
}

/// Who is attached.
pub enum Watching {
    Nobody,
    Empty(Empty),
    Tool(Observer),
}

impl Watching {
    /// Ids of the programs that are attached.
    pub fn programs(&self) -> Result<Vec<u64>> {
        match self {
            Self::Nobody => Ok(Vec::new()),
            Self::Empty(empty) => Ok(empty.programs.clone()),
            Self::Tool(observer) => stats::programs_of(observer.pid()),
        }
    }

    /// Detaches it; what a tool said on stderr.
    pub fn stop(self) -> Result<Vec<String>> {
        let Self::Tool(observer) = self else {
            return Ok(Vec::new());
        };
        let (_, said) = observer.stop()?;
        // Detaching frees programs in the background.
        interrupt::sleep(Duration::from_millis(300))?;
        Ok(said)
    }
}
