//! A neighbour that streams memory: it takes what connections have left in the caches that CPUs share, and, where it is
//! given their CPU for a while, the others.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// More than the caches of a core, and its part of those that are shared.
const BYTES: usize = 256 << 20;

/// Streams as long as it exists, on one thread.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut memory = vec![1_u64; BYTES / 8];
            while !told.load(Ordering::Relaxed) {
                for line in memory.chunks_mut(8) {
                    line[0] = line[0].wrapping_add(1);
                }
                black_box(&mut memory);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
