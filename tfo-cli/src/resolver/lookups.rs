//! Looks up the names of many addresses at the same time, without holding up the caller.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::Resolver;
use crate::runtime;

/// How long a lookup may take, repetitions included. The dashboard shows the address meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Lookups that run at the same time; further ones wait.
const MAX_CONCURRENT: usize = 64;

/// The result of a lookup: the address, and its name if it has one.
type Answer = (IpAddr, Option<String>);

/// Lookups that are under way, and the results that have arrived.
pub struct Lookups {
    runtime: Handle,
    resolver: Arc<Resolver>,
    permits: Arc<Semaphore>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Lookups {
    /// Prepares lookups with this resolver; none runs yet.
    pub fn start(resolver: Resolver) -> anyhow::Result<Self> {
        let (sender, answers) = channel();
        Ok(Self {
            runtime: runtime::handle()?,
            resolver: Arc::new(resolver),
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            sender,
            answers,
        })
    }

    /// Starts the lookup of an address.
    pub fn ask(&self, ip: IpAddr) {
        let (resolver, permits) = (Arc::clone(&self.resolver), Arc::clone(&self.permits));
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            // Fails only for a closed semaphore, and this one is never closed.
            let _permit = permits.acquire().await;
            let name = timeout(TIMEOUT, resolver.name(ip)).await.ok().flatten();
            // The receiver is gone when the dashboard has ended; the result is not needed then.
            let _ = sender.send((ip, name));
        });
    }

    /// The results that have arrived since the last call.
    pub fn found(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}
