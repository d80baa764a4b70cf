//! The one tokio runtime of the process: what waits for signals or for the network runs here.
//!
//! It has one thread, started by whoever needs it first. Nothing that blocks may run on it: a signal behind it would
//! not be noticed. Reading the kernel, folding the model and drawing have threads of their own and know no futures.

use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The runtime, to spawn tasks on or to wait for a future with [`Handle::block_on`] from any other thread. It lives
/// as long as the process.
///
/// # Errors
///
/// Where the system has no thread or no epoll descriptor left.
pub fn handle() -> anyhow::Result<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let running = match &mut *runtime {
        Some(running) => running,
        none => {
            // Not a runtime of the calling thread: that one goes nowhere while the thread does something else.
            let built = Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("runtime")
                .enable_all()
                .build()
                .context("start the runtime for signals and the network")?;
            none.insert(built)
        }
    };
    Ok(running.handle().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_the_same_one() {
        let (said, heard) = tokio::sync::oneshot::channel();
        let (first, second) = (handle().expect("it starts"), handle().expect("it runs"));
        let thread = async { std::thread::current().id() };
        let before = first.block_on(second.spawn(thread)).expect("it ends");
        second.spawn(async { said.send(std::thread::current().id()) });
        assert_eq!(first.block_on(heard), Ok(before));
    }
}
