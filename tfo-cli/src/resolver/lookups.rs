//! Names of many addresses, asked for at once while somebody else goes on.

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

/// How long an answer may take, with every repetition. Nobody waits for it: the address is shown meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Questions under way at once. The others wait their turn.
const AT_ONCE: usize = 64;

/// Answers as they come: the address, and its name if it has one.
type Answer = (IpAddr, Option<String>);

/// Questions on their way, and answers that have come.
pub struct Lookups {
    runtime: Handle,
    resolver: Arc<Resolver>,
    turns: Arc<Semaphore>,
    answered: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Lookups {
    /// Nothing is asked yet.
    pub fn start(resolver: Resolver) -> anyhow::Result<Self> {
        let (answered, answers) = channel();
        Ok(Self {
            runtime: runtime::handle()?,
            resolver: Arc::new(resolver),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            answered,
            answers,
        })
    }

    /// Asks for a name.
    pub fn ask(&self, ip: IpAddr) {
        let (resolver, turns) = (Arc::clone(&self.resolver), Arc::clone(&self.turns));
        let answered = self.answered.clone();
        self.runtime.spawn(async move {
            // Nobody closes the semaphore.
            let _turn = turns.acquire().await;
            let name = timeout(TIMEOUT, resolver.name(ip)).await.ok().flatten();
            // Who does not listen any more does not want to know.
            let _ = answered.send((ip, name));
        });
    }

    /// Answers that have come.
    pub fn found(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}
