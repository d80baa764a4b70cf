//! The only tokio runtime of the process: everything that waits for signals or for the network runs on it.
//!
//! It has one thread, which the first use starts. Nothing that blocks may run on it, because signals would not be noticed
//! meanwhile. Reading the kernel, folding the model and drawing have threads of their own and use no futures.

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
            // A current-thread runtime would make progress only while its thread waits for a future.
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
    fn every_caller_gets_the_same_runtime() {
        let (said, heard) = tokio::sync::oneshot::channel();
        let (first, second) = (handle().expect("it starts"), handle().expect("it runs"));
        let thread = async { std::thread::current().id() };
        let before = first.block_on(second.spawn(thread)).expect("it ends");
        second.spawn(async { said.send(std::thread::current().id()) });
        assert_eq!(first.block_on(heard), Ok(before));
    }
}
