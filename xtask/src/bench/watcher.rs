//! Who watches while something is measured: nobody, programs that do nothing, or a tool.

use std::time::Duration;

use anyhow::Result;

use super::empty::{Empty, Hook};
use super::observer::{Observer, Tool};
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
            Self::Tool(tool) => tool.name(),
        }
    }

    /// Attaches whoever it is.
    pub fn start(self) -> Result<Watching> {
        Ok(match self {
            Self::Nobody => Watching::Nobody,
            Self::Empty => Watching::Empty(Empty::attach(&[Hook::SockOps, Hook::Destroy])?),
            Self::Asking => Watching::Empty(Empty::attach(&[Hook::SockOpsAsking, Hook::Destroy])?),
            Self::Tool(tool) => Watching::Tool(Observer::start(tool)?),
        })
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
