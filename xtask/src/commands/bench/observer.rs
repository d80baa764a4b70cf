//! What watching costs per connection: runs, run time beside empty programs, warm and cold; and the size of the code.

use anyhow::Result;

use super::Time;
use crate::bench::cost::{self, Sample};
use crate::bench::load::{Kind, Shape};
use crate::bench::neighbour::Neighbour;
use crate::bench::rate::ratios;
use crate::bench::report::{Budget, Row, Section};
use crate::bench::watcher::Watcher;

/// Programs that a healthy Fast Open client goes through.
const CLIENT_PATH: [&str; 5] = [
    "tfo_sock_ops",
    "tfo_connect",
    "tfo_client_est",
    "tfo_finish",
    "tfo_first_byte",
];

/// The goals of one kind of connection.
struct Goals {
    kind: Kind,
    runs: f64,
    warm: f64,
    cold: f64,
}

const GOALS: [Goals; 2] = [
    Goals {
        kind: Kind::Plain,
        runs: 11.0,
        warm: 2.5,
        cold: 3.5,
    },
    Goals {
        kind: Kind::Tfo,
        runs: 14.0,
        warm: 3.5,
        cold: 5.0,
    },
];

pub fn run(time: Time) -> Result<Vec<Section>> {
    let mut warm = Section::new(
        "Run time per connection",
        "Both ends of a connection, as many connections as the machine makes. The floor are programs that return at once, at \
         the same hooks (`sock_ops`, `tcp_destroy_sock`), measured in the same rounds and never together with ours. Runs \
         are counted, not timed: they have no noise. The generator ends each connection by a RST, which is an error \
         of each end that is still open, and has a program called for it. The last empty program asks for the callbacks that ours ask for of Fast Open connections, and does nothing with them.",
    )
    .drawn("us");
    println!(
        "\n==> run time per connection, {} rounds of {} s",
        time.few, time.seconds
    );
    for goals in &GOALS {
        let mut who = vec![Watcher::Empty, Watcher::TRACE, Watcher::TOP];
        if goals.kind == Kind::Tfo {
            who.push(Watcher::Asking);
        }
        let shape = Shape::fastest(goals.kind, time.seconds);
        let samples = rounds(&who, time.few, &shape)?;
        add_runs(goals, &samples, &mut warm);
        add_times(goals.kind, "", goals.warm, &who, &samples, &mut warm);
    }
    let mut cold = Section::new(
        "With cold caches",
        "In turns: one connection after another, client and server on threads of their own, so that each finds what the other \
         has left in the caches. Beside a neighbour: the same while another thread writes through 256 MiB of memory.",
    )
    .drawn("us");
    println!(
        "\n==> the same with cold caches, {} rounds of {} s",
        time.few, time.seconds
    );
    for (name, has_neighbour) in [("in turns", false), ("beside a neighbour", true)] {
        for goals in &GOALS {
            let _neighbour = has_neighbour.then(Neighbour::start);
            let who = [Watcher::Empty, Watcher::TRACE];
            let shape = Shape::in_turns(goals.kind, time.seconds);
            let samples = rounds(&who, time.few, &shape)?;
            add_times(goals.kind, name, goals.cold, &who, &samples, &mut cold);
        }
    }
    Ok(vec![warm, cold, code()?])
}

/// Samples of each watcher, in alternating rounds.
fn rounds(who: &[Watcher], rounds: u32, shape: &Shape) -> Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::new(); who.len()];
    for round in 0..rounds {
        for (watcher, samples) in who.iter().zip(&mut samples) {
            samples.push(cost::sample(*watcher, shape)?);
        }
        let last = |samples: &Vec<Sample>| samples.last().map_or(0.0, |sample| sample.us);
        let shown: Vec<_> = who
            .iter()
            .zip(&samples)
            .map(|(watcher, samples)| format!("{} {:.2} us", watcher.name(), last(samples)))
            .collect();
        println!(
            "    round {}, {}: {}",
            round + 1,
            shape.kind.name(),
            shown.join(", ")
        );
    }
    Ok(samples)
}

/// Samples are those of the empty programs, of `trace`, of `top` and, with Fast Open, of those that ask for their callbacks.
fn add_runs(goals: &Goals, samples: &[Vec<Sample>], section: &mut Section) {
    let name = goals.kind.name();
    let of = |count: fn(&Sample) -> f64| samples[1].iter().map(count).collect();
    section.push(Row::of(
        format!("runs of empty programs, {name}, sock_ops"),
        samples[0].iter().map(|sample| sample.sock_ops).collect(),
        "",
        Budget::None,
    ));
    if let Some(asking) = samples.get(3) {
        section.push(Row::of(
            format!("runs of those that ask for our callbacks, {name}, sock_ops"),
            asking.iter().map(|sample| sample.sock_ops).collect(),
            "",
            Budget::None,
        ));
    }
    section.push(Row::of(
        format!("program runs, {name}, sock_ops"),
        of(|sample| sample.sock_ops),
        "",
        Budget::AtMost(goals.runs),
    ));
    section.push(Row::of(
        "  at the end of sockets",
        of(|sample| sample.destroy),
        "",
        Budget::AtMost(2.01),
    ));
    section.push(Row::of(
        "  by RST",
        of(|sample| sample.by_reset),
        "",
        Budget::None,
    ));
}

fn add_times(
    kind: Kind,
    how: &str,
    goal: f64,
    who: &[Watcher],
    samples: &[Vec<Sample>],
    section: &mut Section,
) {
    let times: Vec<Vec<f64>> = samples
        .iter()
        .map(|samples| samples.iter().map(|sample| sample.us).collect())
        .collect();
    let how = if how.is_empty() {
        String::new()
    } else {
        format!(", {how}")
    };
    for (index, (watcher, times_of)) in who.iter().zip(&times).enumerate() {
        let what = format!("{}{how}, {}", kind.name(), watcher.name());
        section.push(Row::of(what, times_of.clone(), "us", Budget::None));
        if index > 0 {
            let budget = if *watcher == Watcher::TRACE {
                Budget::AtMost(goal)
            } else {
                Budget::None
            };
            let what = format!("  {} / empty programs, {}{how}", watcher.name(), kind.name());
            section.push(Row::of(what, ratios(times_of, &times[0]), "x", budget));
        }
    }
}

/// Bytes of machine code.
fn code() -> Result<Section> {
    println!("\n==> size of the machine code");
    let code = cost::machine_code()?;
    let mut section = Section::new(
        "Size of the code",
        "Machine code of the programs of `trace` as the kernel's compiler made it. The path of a healthy Fast Open client is \
         every program it goes through, all of each: what it leaves out of them by its branches is not taken off.",
    )
    .drawn("bytes");
    let path = CLIENT_PATH.map(|name| code.get(name).copied().unwrap_or(0));
    section.push(Row::new(
        "KiB on the path of a healthy Fast Open client",
        path.iter().sum::<u64>() as f64 / 1024.0,
        "KiB",
        Budget::AtMost(12.0),
    ));
    for (name, bytes) in &code {
        section.push(Row::new(
            format!("`{name}`"),
            *bytes as f64,
            "bytes",
            Budget::None,
        ));
    }
    let all = code.values().sum::<u64>() as f64 / 1024.0;
    section.push(Row::new("all programs", all, "KiB", Budget::None));
    Ok(section)
}
