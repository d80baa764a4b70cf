//! `tfo-cli trace`: records to lines, until somebody says stop.
//!
//! A thread owns the source and reads it; this one filters, holds flows back for their first byte and writes.
//! Between them is a short queue: when nobody reads our output the queue fills, then the kernel's ring, and the
//! kernel side counts what it could not keep.

mod cookies;
mod found;
mod pending;
mod reader;
mod replay;

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant},
};

use tfo_common::{Loss, event::Record, flags::Shed};

use self::{
    found::Found,
    pending::PendingFlows,
    reader::{Batch, QUEUE, Wants},
};
use super::{attach, networks, observe::Observer};
use crate::{
    args::TraceConfig,
    exit::{self, Failure},
    fingerprint::Fingerprint,
    kernel,
    model::{
        Flow,
        contradiction::contradiction,
        diagnosis::Finding,
        filter::Metric,
        filterable::FilterableFlow,
        names::Names,
        networks::Networks,
        source::{Keep, Source},
    },
    output::{self, FlowLine, Summary, TraceWriter, diagnosis},
    signals::{self, Stop},
};

/// Runs the command on the live kernel or on a recording.
pub fn run(config: &TraceConfig) -> Result<u8, Failure> {
    let stop = signals::watch(|| {})?;
    let mut out = io::BufWriter::with_capacity(1 << 16, stop.progress_writer(io::stdout().lock()));
    let summary = if let Some(path) = &config.replay {
        replay::trace(config, path, &stop, &mut out)?
    } else {
        let source = attach::attach(&config.attach)?;
        attach::announce(&*source)?;
        trace_source(config, source, &stop, &mut out)?
    };
    output::complain(&format_args!("tfo-cli: {}", summary.line()))?;
    if let Some(found) = &summary.found {
        output::complain(&format_args!("tfo-cli: findings: {found}"))?;
    }
    if let Some(unjudged) = summary.unjudged_line() {
        output::complain(&format_args!("tfo-cli: {unjudged}"))?;
    }
    if let Some(lost) = summary.lost_line() {
        output::complain(&format_args!("tfo-cli: {lost}"))?;
    }
    if let Some(shed) = summary.shed_line() {
        output::complain(&format_args!("tfo-cli: {shed}"))?;
    }
    Ok(if incomplete(&summary, config.attach.emit_plain) {
        exit::FAILED
    } else {
        exit::DONE
    })
}

/// Whether flows are missing that should have been printed. The tables of `top` are none of our business, and
/// handshakes that were under way when we attached began before we were asked; plain ones that were only counted are missed
/// where all were asked for.
fn incomplete(summary: &Summary, all: bool) -> bool {
    let elsewhere = [
        Loss::DestInsert,
        Loss::DestEvicted,
        Loss::NetnsFull,
        Loss::SynUnseen,
    ];
    let missed = |loss: Loss| match loss {
        Loss::Shed => all,
        _ => !elsewhere.contains(&loss),
    };
    summary.shed == Shed::Detached
        || Loss::ALL
            .into_iter()
            .any(|loss| summary.losses[loss as usize] > 0 && missed(loss))
}

/// Prints the flows of a source until it is time to stop; returns what was seen. A closed pipe is a clean end.
pub fn trace_source(
    config: &TraceConfig,
    source: Box<dyn Source>,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<Summary, Failure> {
    let deadline = config.duration.map(|duration| Instant::now() + duration);
    let mut tracer = Tracer::new(config, source.wall_offset_ns())?;
    let (sender, batches) = sync_channel(QUEUE);
    let reader_stop = Stop::default();
    let mut observer = Observer::new(source, &config.attach, config.record.as_deref())?;
    attach::give_up_rights(observer.source(), Keep::default())?;
    let wants = Wants {
        summary: config.summary,
        names: config.filter.needs_names(),
        cookies: config
            .cookies
            .then(kernel::boot_salt)
            .transpose()
            .map_err(|error| super::cookies::failure(&error))?,
    };
    let reader = reader::spawn(observer, sender, reader_stop.clone(), wants)?;

    let written = tracer
        .writer
        .begin(out)
        .and_then(|()| out.flush())
        .and_then(|()| {
            loop {
                let done =
                    stop.raised() || deadline.is_some_and(|at| Instant::now() >= at) || tracer.is_done();
                if done {
                    return Ok(());
                }
                match batches.recv_timeout(reader::POLL) {
                    Ok(batch) => tracer.take(batch, out)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
                tracer.release(Instant::now(), out)?;
            }
        });
    reader_stop.raise();
    // What the reader still had in its hands, and what was queued.
    let mut last = Vec::new();
    while let Ok(batch) = batches.recv() {
        last.push(batch);
    }
    let last_reading = reader
        .join()
        .map_err(|_| Failure::new(exit::FAILED, "reader: it panicked"))??;

    let written = written.and_then(|()| last.into_iter().try_for_each(|batch| tracer.take(batch, out)));
    let counted = Summary {
        totals: last_reading.reading.totals,
        losses: last_reading.reading.losses,
        stats: last_reading.reading.stats,
        shed: last_reading.shed,
        ..Summary::default()
    };
    if let Some(found) = &mut tracer.found {
        found.end(last_reading);
    }
    tracer.finish(&counted, written, out)
}

struct Tracer<'a> {
    config: &'a TraceConfig,
    wall_offset_ns: i64,
    writer: Box<dyn TraceWriter>,
    names: Names,
    networks: Arc<Networks>,
    pending: PendingFlows,
    /// Hashes of cookies of flows that are held.
    cookies: HashMap<u64, Fingerprint>,
    summary: Summary,
    bad_records: u64,
    contradictory: u64,
    /// The filter compares times to first byte: it can judge a flow only when that is known.
    late: bool,
    /// What is judged at the end, under `--summary`.
    found: Option<Found>,
}

impl<'a> Tracer<'a> {
    fn new(config: &'a TraceConfig, wall_offset_ns: i64) -> Result<Self, Failure> {
        let networks = networks::load(config.networks.as_deref(), &config.filter)?;
        Ok(Self {
            config,
            wall_offset_ns,
            writer: config.format.flows(),
            names: Names::default(),
            networks: Arc::clone(&networks),
            pending: PendingFlows::new(config.ttfb_wait),
            cookies: HashMap::new(),
            summary: Summary::default(),
            bad_records: 0,
            contradictory: 0,
            late: config.filter.compares(Metric::Ttfb),
            found: config.summary.then(|| Found::new(networks)),
        })
    }

    fn is_done(&self) -> bool {
        self.config
            .count
            .is_some_and(|count| self.summary.printed >= count)
    }

    /// Sorts a batch: names are kept, flows that pass the filter are held, first bytes find their flow.
    fn take(&mut self, batch: Batch, out: &mut dyn Write) -> io::Result<()> {
        if let Some(found) = &mut self.found {
            found.take(&batch.records, &batch.names);
        }
        for (id, name) in batch.names {
            self.names.insert(id, name);
        }
        self.cookies.extend(batch.cookies);
        for record in batch.records {
            match record {
                Record::FirstByte(first) => self.pending.first_byte(first.id, first.ttfb_us),
                Record::Flow(event) => {
                    self.summary.events += 1;
                    let flow = Flow::new(&event);
                    self.contradictory += u64::from(flow.is_some() && contradiction(&event).is_some());
                    match flow {
                        Some(flow) if self.late || self.passes(&flow) => {
                            if let Some(displaced) = self.pending.push(flow, batch.at) {
                                self.release_one(&displaced, out)?;
                            }
                        }
                        Some(flow) => {
                            self.cookies.remove(&flow.id());
                        }
                        None => self.bad_records += 1,
                    }
                }
            }
        }
        Ok(())
    }

    fn passes(&mut self, flow: &Flow) -> bool {
        let cgroup = self.names.get(flow.event().cgroup_id);
        let network = self.networks.label(flow.remote_ip()).map(|label| &**label);
        let flow = FilterableFlow {
            flow,
            cgroup,
            network,
        };
        if cgroup.is_none() && self.config.filter.is_undecided(&flow) {
            self.summary.unjudged += 1;
        }
        self.config.filter.matches(&flow)
    }

    fn release(&mut self, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let mut any = false;
        while let Some(flow) = self.pending.pop(now).filter(|_| !self.is_done()) {
            any |= self.release_one(&flow, out)?;
        }
        if any { out.flush() } else { Ok(()) }
    }

    /// Prints a flow that waits no longer, if it passes and is still wanted; tells whether it did.
    fn release_one(&mut self, flow: &Flow, out: &mut dyn Write) -> io::Result<bool> {
        let wanted = !self.is_done() && (!self.late || self.passes(flow));
        if wanted {
            self.print(flow, out)?;
        }
        Ok(wanted)
    }

    fn release_all(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.release(
            Instant::now() + self.config.ttfb_wait + Duration::from_secs(1),
            out,
        )
    }

    /// Prints what was held and the summary. A closed pipe is a clean end.
    fn finish(
        mut self,
        counted: &Summary,
        written: io::Result<()>,
        out: &mut dyn Write,
    ) -> Result<Summary, Failure> {
        let written = written.and_then(|()| self.release_all(out));
        // Records are counted here, everything else by the kernel side.
        let mut summary = Summary {
            events: self.summary.events,
            printed: self.summary.printed,
            unjudged: self.summary.unjudged,
            ..counted.clone()
        };
        summary.losses[Loss::BadRecord as usize] += self.bad_records;
        summary.losses[Loss::Contradictory as usize] += self.contradictory;
        let judged = self.found.take().map(|found| found.judged(self.wall_offset_ns));
        let shown = judged.as_ref().map(|snapshot| {
            let findings = snapshot.diagnosis.findings.iter();
            let shown: Vec<&Finding> = findings
                .filter(|finding| snapshot.passes(finding, &self.config.filter))
                .collect();
            summary.found = Some(diagnosis::totals(&shown, snapshot.diagnosis.window_ns));
            (shown, snapshot)
        });
        let written = written.and_then(|()| match shown {
            Some((shown, snapshot)) => self.writer.findings(&shown, snapshot, out),
            None => Ok(()),
        });
        match written
            .and_then(|()| self.writer.end(&summary, out))
            .and_then(|()| out.flush())
        {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(summary),
        }
    }

    fn print(&mut self, flow: &Flow, out: &mut dyn Write) -> io::Result<()> {
        let cgroup = self.names.get(flow.event().cgroup_id);
        let cookie = self.cookies.remove(&flow.id());
        self.summary.printed += 1;
        self.writer.flow(
            &FlowLine {
                cookie,
                flow,
                cgroup,
                network: self.networks.label(flow.remote_ip()).map(|label| &**label),
                wall_offset_ns: self.wall_offset_ns,
            },
            out,
        )
    }
}

#[cfg(test)]
mod tests;
