//! What other tools cost in the same run, at rates where they work and at the highest; and what cost depends on.

use anyhow::Result;

use super::Time;
use crate::bench::cost::{self, Sample};
use crate::bench::load::{Kind, Shape};
use crate::bench::observer::Tool;
use crate::bench::rate::{median, ratios};
use crate::bench::report::{Budget, Row, Section};
use crate::bench::watcher::Watcher;
use crate::interrupt::Interrupted;

const WHO: [Watcher; 5] = [
    Watcher::TRACE,
    Watcher::TOP,
    Watcher::Tool(Tool::Tcplife),
    Watcher::Tool(Tool::Tcpstates),
    Watcher::Tool(Tool::Bpftrace),
];
/// Where tcplife stands among them.
const TCPLIFE: usize = 2;
/// Connections per second, at most. The ratio to tcplife is taken at the highest where it loses nothing.
const RATES: [Option<u32>; 4] = [None, Some(20_000), Some(5_000), Some(1_000)];
const OF_TCPLIFE: Budget = Budget::AtMost(0.08);
/// What the table of destinations holds by default, and more than it holds.
const DESTINATIONS: [u32; 4] = [1, 100, 16_000, 65_000];

pub fn run(time: Time) -> Result<Vec<Section>> {
    Ok(vec![beside_others(time)?, by_destinations(time)?])
}

fn beside_others(time: Time) -> Result<Section> {
    let mut section = Section::new(
        "Beside other tools",
        "Run time per Fast Open connection, both ends. Tools that copy an event to their user's side with a wake-up for each drop \
         events where that side does not keep up; a dropped event is cheaper than one that arrives, so at the highest rate \
         their run time says little. The ratio to `tcplife` is taken at the highest of these rates where it lost no event. \
         What a wake-up takes depends on the hypervisor: it is an interrupt that the processor sends to itself, one write to \
         a register of its (`irq_work_queue`, `native_write_msr`), and was 42 % of the samples of `tcplife` at 20,000/s on \
         the machine that the goal of 0.08 was missed on, where it took 3.5 us per connection. Where the goal was set that \
         was 16 to 20 us.",
    )
    .drawn("us");
    let rounds = time.few.min(2);
    let mut compared = false;
    let mut absent = [false; WHO.len()];
    for rate in RATES {
        let name = rate.map_or("highest rate".to_owned(), |rate| format!("{rate}/s"));
        println!("\n==> other tools, {name}, {rounds} rounds of {} s", time.seconds);
        let mut shape = Shape::fastest(Kind::Tfo, time.seconds);
        if let Some(rate) = rate {
            shape = shape.at_rate(rate);
        }
        let mut samples: [Vec<Sample>; WHO.len()] = Default::default();
        for _ in 0..rounds {
            for (index, watcher) in WHO.into_iter().enumerate() {
                if absent[index] {
                    continue;
                }
                match cost::sample(watcher, &shape) {
                    Ok(sample) => samples[index].push(sample),
                    Err(error) if error.is::<Interrupted>() || watcher == Watcher::TRACE => {
                        return Err(error);
                    }
                    Err(error) => {
                        absent[index] = true;
                        section.missing.push(format!("{}: {error:#}", watcher.name()));
                    }
                }
            }
        }
        for (watcher, samples) in WHO.iter().zip(&samples) {
            let lost: u64 = samples.iter().map(|sample| sample.lost).sum();
            let note = if lost > 0 {
                format!(" (lost {lost} events)")
            } else {
                String::new()
            };
            let times = of(samples);
            let rates: Vec<f64> = samples.iter().map(|sample| sample.per_second).collect();
            println!(
                "    {} {:.2} us{note} at {:.0}/s",
                watcher.name(),
                median(&times),
                median(&rates)
            );
            if !times.is_empty() {
                let what = format!("{name}, {}{note}", watcher.name());
                section.push(Row::of(what, times, "us", Budget::None));
            }
        }
        let theirs = &samples[TCPLIFE];
        let complete = theirs.len() == samples[0].len() && theirs.iter().all(|sample| sample.lost == 0);
        if complete && !compared {
            compared = true;
            for (watcher, samples) in WHO.iter().zip(&samples).take(2) {
                let what = format!("  {} / tcplife, {name}", watcher.name());
                section.push(Row::of(what, ratios(&of(samples), &of(theirs)), "x", OF_TCPLIFE));
            }
        }
    }
    if !compared {
        let why = "the ratio to tcplife: it lost events at every rate, or does not run";
        section.missing.push(why.to_owned());
    }
    Ok(section)
}

fn of(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.us).collect()
}

fn by_destinations(time: Time) -> Result<Section> {
    let mut section = Section::new(
        "By destinations",
        "Run time of `trace` per plain connection, both ends, to so many addresses in turn. The table of destinations holds \
         16,384 by default; beyond that each connection makes a row and takes another one's place.",
    )
    .drawn("us");
    println!("\n==> by destinations");
    for destinations in DESTINATIONS {
        let shape = Shape::fastest(Kind::Plain, time.seconds).with(&format!("--destinations {destinations}"));
        let samples: Vec<Sample> = (0..time.few.min(3))
            .map(|_| cost::sample(Watcher::TRACE, &shape))
            .collect::<Result<_>>()?;
        let times = of(&samples);
        println!("    {destinations}: {:.2} us", median(&times));
        section.push(Row::of(
            format!("{destinations} destinations"),
            times,
            "us",
            Budget::None,
        ));
    }
    Ok(section)
}
