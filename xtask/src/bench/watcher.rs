//! Who watches while something is measured: nobody, programs that do nothing, or a tool.

mod restarted;

use std::time::Duration;

use anyhow::Result;

use restarted::Restarted;

use super::empty::{Empty, Hook};
use super::observer::{Observer, Tool};
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
    /// The same, but the one of `sock_ops` asks for the callbacks that ours ask for of Fast Open connections, and does nothing with
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

    /// Whoever it is, to be attached and detached while a load runs.
    pub fn switched(self) -> Result<Box<dyn Switched>> {
        Ok(match (self, self.hooks()) {
            (_, Some(hooks)) => Box::new(Empty::load(&hooks)?),
            (Self::Tool(tool), None) => Box::new(Restarted::new(tool)),
            (_, None) => Box::new(Nothing),
        })
    }

    /// How often it is to be loaded, and for how many seconds of load, so that there are some dozens of slices with it.
    pub const fn loads(self) -> (u32, u32) {
        match self {
            Self::Tool(_) => (2, 60),
            _ => (8, 3),
        }
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
            Self::Tool(observer) => stats::programs_of(observer.pid),
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
