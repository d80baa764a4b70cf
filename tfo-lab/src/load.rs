//! A load generator: makes as many short connections per second as the machine can.
//!
//! Each client thread starts a batch of connections before it reads the first reply, so that
//! several are in flight and both cores stay busy without a context switch per connection. A
//! connection is one request and one reply; the client ends it by RST, so neither end keeps a
//! `TIME_WAIT` socket and ports do not run out. Against an HTTP server (`Load::http`) a connection
//! ends as the server wants it.

mod beside;
mod both_ends;
mod client;
mod server;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use beside::Beside;
use serde::Serialize;
use server::Servers;

use crate::{
    client::{Connect, Family},
    cpu,
    mib::Mib,
    netns::Namespace,
    noted::Noted,
};

/// When a load run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After this time.
    Duration(Duration),
    /// After exactly this many attempts.
    Connections(u64),
}

/// A load to generate.
#[derive(Clone, Debug)]
pub struct Load {
    /// Whether connections use TFO, with a cookie fetched beforehand, or are plain.
    pub fast_open: bool,
    /// When the run ends.
    pub limit: Limit,
    /// Whether to use IPv6 instead of IPv4.
    pub v6: bool,
    /// Client threads, and as many server threads.
    pub threads: usize,
    /// Connections each client thread has in flight.
    pub in_flight: usize,
    /// Bytes of request, and of reply.
    pub message: usize,
    /// Whether each thread has both ends of its connections, on a CPU of its own, and so never waits for another one.
    pub both_ends: bool,
    /// Connections per second at most; as many as the machine makes where it is `None`.
    pub rate: Option<u64>,
    /// How many addresses of the loopback are connected to in turn, all of the same servers. More than one is for
    /// plain connections over IPv4: each address has a cookie of its own.
    pub destinations: u32,
    /// Port of an HTTP server on 127.0.0.1, started by [`Load::beside`]: requests with `Connection: close` go there,
    /// and the reply is read to its end.
    pub http: Option<u16>,
    /// A shell command that runs in the same network namespace while the load does: a server, or who watches.
    pub beside: Option<String>,
    /// How often to note how many connections are complete, of a load with a duration.
    pub every: Option<Duration>,
}

/// First of the addresses of [`Load::destinations`].
const FIRST_DESTINATION: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

impl Load {
    /// TFO over IPv4 with 100-byte messages, sized for this machine.
    pub fn new(limit: Limit) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            fast_open: true,
            limit,
            v6: false,
            threads: cores,
            in_flight: 32,
            message: 100,
            both_ends: false,
            rate: None,
            destinations: 1,
            http: None,
            beside: None,
            every: None,
        }
    }

    /// Runs on the loopback of a namespace of its own; the host's loopback (and its sysctls) are
    /// left alone.
    pub fn run(&self) -> Result<LoadReport> {
        let namespace = Namespace::anonymous("load")?;
        namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
        self.run_in(&namespace)
    }

    /// Runs on the loopback of `namespace`, whose `tcp_fastopen` must be 3 for TFO.
    pub fn run_in(&self, namespace: &Namespace) -> Result<LoadReport> {
        ensure!(
            self.threads > 0 && self.in_flight > 0,
            "load: needs at least one thread and connection"
        );
        ensure!(
            self.destinations == 1 || !self.fast_open && !self.v6 && self.http.is_none(),
            "load: several destinations are for plain connections over IPv4 to servers of its own"
        );
        ensure!(
            !self.both_ends || self.destinations == 1 && self.http.is_none(),
            "load: threads with both ends have one destination each, and no server elsewhere"
        );
        namespace.run(|| self.run_here())
    }

    fn run_here(&self) -> Result<LoadReport> {
        let ip: IpAddr = if self.v6 {
            Ipv6Addr::LOCALHOST.into()
        } else if self.destinations > 1 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        let _beside = self.beside.as_deref().map(Beside::start).transpose()?;
        let servers = match self.http {
            Some(port) => Servers::elsewhere(SocketAddr::new(ip, port)),
            None => Servers::start(ip, self.threads, self.message)?,
        };
        let primes = self.prime(servers.addresses())?;
        let own = self.own_listeners(ip)?;
        let cpus = cpu::cpus()?;
        let before = Mib::read_current()?;
        let progress = Progress::new(self.limit);
        let started = progress.started;
        let mut noted = Vec::new();
        thread::scope(|scope| -> Result<()> {
            let progress = &progress;
            let own = own.iter().zip(cpus.iter().cycle());
            let mut workers: Vec<_> = own
                .map(|(own, cpu)| scope.spawn(move || both_ends::work(self, *cpu, own, progress)))
                .collect();
            if !self.both_ends {
                let targets = servers.addresses().iter().cycle().take(self.threads);
                workers
                    .extend(targets.map(|target| scope.spawn(move || client::work(self, *target, progress))));
            }
            if let Limit::Duration(duration) = self.limit {
                while let Some(left) = duration.checked_sub(started.elapsed()) {
                    thread::sleep(self.every.map_or(left, |every| every.min(left)));
                    if self.every.is_some() {
                        noted.push(Noted::now(progress.completed.load(Ordering::Relaxed)));
                    }
                }
                progress.stop.store(true, Ordering::Relaxed);
            }
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow!("load: a client thread panicked"))??;
            }
            Ok(())
        })?;
        let seconds = started.elapsed().as_secs_f64();
        drop(servers);
        let counted = Mib::read_current()?.since(&before);
        let completed = progress.completed.load(Ordering::Relaxed);
        Ok(LoadReport {
            fast_open: self.fast_open,
            connections: completed,
            errors: progress.errors.load(Ordering::Relaxed),
            primes,
            accepted: counted.of("TCPFastOpenActive"),
            active_opens: counted.of("ActiveOpens"),
            passive_opens: counted.of("PassiveOpens"),
            seconds,
            per_second: completed as f64 / seconds,
            noted,
        })
    }

    /// What threads with both ends connect to: none where there are no such threads.
    fn own_listeners(&self, ip: IpAddr) -> Result<Vec<(TcpListener, SocketAddr)>> {
        let count = if self.both_ends { self.threads } else { 0 };
        (0..count).map(|_| server::listen(ip)).collect()
    }

    /// Fetches the cookie with one connection; it serves for every port of the address. Returns the number of connections
    /// made.
    fn prime(&self, addresses: &[SocketAddr]) -> Result<u64> {
        if !self.fast_open {
            return Ok(0);
        }
        if self.http.is_some() {
            // The first request fetches it.
            return client::prime(addresses);
        }
        let target = *addresses.first().context("load: no server")?;
        let family = if self.v6 { Family::V6 } else { Family::V4 };
        let connect = Connect {
            family,
            reset_on_close: true,
            ..Connect::new(target, self.message)
        };
        let report = connect.run()?;
        ensure!(
            report.reply_matched,
            "load: the priming connection got no echo: {report:?}"
        );
        Ok(1)
    }
}

/// The state that client threads share.
struct Progress {
    started: Instant,
    /// Attempts handed out so far.
    begun: AtomicU64,
    stop: AtomicBool,
    /// Attempts that no thread has claimed yet.
    budget: AtomicU64,
    completed: AtomicU64,
    errors: AtomicU64,
}

impl Progress {
    fn new(limit: Limit) -> Self {
        let budget = match limit {
            Limit::Duration(_) => u64::MAX,
            Limit::Connections(count) => count,
        };
        Self {
            started: Instant::now(),
            begun: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            budget: AtomicU64::new(budget),
            completed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// Claims up to `count` connections; returns how many may be made. 0 ends the thread.
    fn claim(&self, count: usize) -> usize {
        if self.stop.load(Ordering::Relaxed) {
            return 0;
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let claim = |left: u64| Some(left.saturating_sub(count));
        let left = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim);
        usize::try_from(left.unwrap_or(0).min(count)).unwrap_or(0)
    }

    /// Takes the numbers of the next `count` connections, after waiting for the time that a rate gives the first.
    fn pace(&self, count: usize, rate: Option<u64>) -> u64 {
        let first = self.begun.fetch_add(count as u64, Ordering::Relaxed);
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(first as f64 / rate.max(1) as f64);
            thread::sleep(due.saturating_sub(self.started.elapsed()));
        }
        first
    }
}

/// What a load run did.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// Whether TFO was asked for.
    pub fast_open: bool,
    /// Connections whose reply arrived.
    pub connections: u64,
    /// Connections that failed.
    pub errors: u64,
    /// Connections made before the clock started, which `connections` leaves out.
    pub primes: u64,
    /// Connections whose SYN data was accepted, by the kernel's counter (primes left out).
    pub accepted: u64,
    /// Connects by the kernel's counter (primes left out).
    pub active_opens: u64,
    /// Accepted connections by the kernel's counter (primes left out).
    pub passive_opens: u64,
    /// Time from the first connection to the end of the last, in seconds.
    pub seconds: f64,
    /// `connections` per second.
    pub per_second: f64,
    /// How many were complete when, for who changes something meanwhile; none unless asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<Noted>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_handed_out_exactly() {
        let progress = Progress::new(Limit::Connections(70));
        assert_eq!(
            [32, 32, 32, 32].map(|wanted| progress.claim(wanted)),
            [32, 32, 6, 0]
        );
        progress.stop.store(true, Ordering::Relaxed);
        assert_eq!(Progress::new(Limit::Duration(Duration::ZERO)).claim(5), 5);
        assert_eq!(progress.claim(1), 0);
    }
}
