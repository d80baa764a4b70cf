//! How many connections and requests per second are left.

use anyhow::Result;

use super::Time;
use super::sliced::{self, Length};
use crate::bench::load::{Kind, Shape};
use crate::bench::nginx::Page;
use crate::bench::observer::Tool;
use crate::bench::policy::Stage;
use crate::bench::rate::{self, Contestant, median};
use crate::bench::report::{Budget, Row, Section};
use crate::bench::slices::Load;
use crate::bench::watcher::Watcher;

const CONNECTIONS: Budget = Budget::AtLeast(0.90);
const REQUESTS: Budget = Budget::AtLeast(0.97);
/// Watches SYNs in the load's own namespace, as it would have to on a host.
const TCPDUMP: &str = "tcpdump -i lo -n -l --immediate-mode 'tcp[tcpflags] & tcp-syn != 0' 2>/dev/null";

const LENGTH: Length = Length { times: 8, seconds: 4 };
const QUICK: Length = Length { times: 1, seconds: 3 };
/// Rounds of whole runs beside other tools.
const TOOLS_ROUNDS: u32 = 5;

pub fn run(stage: &Stage, time: Time) -> Result<Vec<Section>> {
    let mut waiting = Section::new(
        "Connections per second",
        "Fast Open connections of a generator that does nothing but connect, on every core; what is left of them with each of \
         these attached. What is compared comes and goes every 80 ms while the generator runs, and each slice with it is compared \
         with the two beside it, as with a policy below; nobody, likewise, is what the measurement itself does. Each is loaded \
         anew several times, behind other programs that nobody calls. The empty programs stand where ours would; beside them \
         stand some that ask for the callbacks that ours ask for, and some that also write 128 bytes about each end of a \
         connection, with three times in them, which nobody reads. Of `top` the program on the cgroup \
         comes and goes; its tracepoints cannot be detached by anybody else, so what empty programs at these leave is \
         multiplied in.",
    )
    .drawn("of nobody");
    let load = Load::Connections(Kind::Tfo);
    come_and_go(stage, time, load, CONNECTIONS, &mut waiting)?;

    let mut both_ends = Section::new(
        "Connections per second of threads that wait for nobody",
        "The same of a generator each thread of which has both ends, on a CPU of its own: no context switch, whose number depends on \
         what is attached. The goal was set with the generator above.",
    )
    .drawn("of nobody");
    let load = Load::BothEnds(Kind::Tfo);
    come_and_go(stage, time, load, Budget::None, &mut both_ends)?;

    let mut requests = Section::new(
        "A server that closes after each request",
        "nginx with a network namespace to itself, one request per Fast Open connection; server and clients are both on this \
         host, so all of what watching costs is seen. Measured like those above. The goal was set at 32,000 requests a second, on \
         another machine; here nginx answers more than twice as many, so that the same microseconds are more than twice the part.",
    )
    .drawn("of nobody");
    let load = Load::Requests(Page::Small);
    come_and_go(stage, time, load, Budget::None, &mut requests)?;

    let mut worked = Section::new(
        "A server that works for each request, and closes",
        "The same server, which matches an expression before each answer, so that it answers as many requests as where the goal was set.",
    )
    .drawn("of nobody");
    let load = Load::Requests(Page::Worked);
    come_and_go(stage, time, load, REQUESTS, &mut worked)?;
    Ok(vec![waiting, both_ends, requests, worked, beside_others(time)?])
}

/// Whole runs with each tool, for tools cannot be attached and detached while they run.
fn beside_others(time: Time) -> Result<Section> {
    let rounds = time.rounds.min(TOOLS_ROUNDS);
    println!(
        "\n==> connections per second beside other tools, {rounds} rounds of {} s",
        time.slice
    );
    let mut who: Vec<_> = [Watcher::Nobody, Watcher::TOP, Watcher::Tool(Tool::Tcplife)]
        .map(Contestant::from)
        .into();
    who.push(Contestant {
        name: "tcpdump of SYNs",
        watcher: Watcher::Nobody,
        beside: Some(TCPDUMP),
    });
    let mut section = Section::new(
        "Connections per second beside other tools",
        "The first of these generators again, in whole runs with each tool, beside the mean of the rates before and after with nothing \
         attached: coarser, because two runs differ by several percent whatever is attached.",
    )
    .drawn("of nobody");
    let rates = rate::connections(&who, rounds, &Shape::fastest(Kind::Tfo, time.slice))?;
    section.push(Row::of(
        "per second, nobody watching",
        rates.base.clone(),
        "/s",
        Budget::None,
    ));
    for (index, contestant) in who.iter().enumerate().skip(1) {
        section.push(Row::of(
            contestant.name,
            rates.ratios(index),
            "of nobody",
            Budget::None,
        ));
    }
    Ok(section)
}

/// What is left of a load while programs come and go.
fn come_and_go(stage: &Stage, time: Time, load: Load, budget: Budget, section: &mut Section) -> Result<()> {
    println!("\n==> {}", section.title);
    let who = [
        Watcher::Nobody,
        Watcher::Empty,
        Watcher::Asking,
        Watcher::Recording,
        Watcher::Ends,
        Watcher::TOP,
    ];
    let several = sliced::measure(&who, LENGTH.or_quick(QUICK, time), load, |watcher| {
        watcher.switched(stage)
    })?;
    section.push(Row::of(
        "per second, nobody watching",
        several.without,
        "/s",
        Budget::None,
    ));
    let at_tracepoints = who.iter().position(|watcher| *watcher == Watcher::Ends);
    let at_tracepoints = at_tracepoints.map_or(1.0, |index| median(&several.left[index]));
    for (watcher, mut left) in who.into_iter().zip(several.left) {
        let (name, budget) = match watcher {
            Watcher::Nobody => ("nobody, likewise", Budget::None),
            Watcher::TOP => (watcher.name(), budget),
            _ => (watcher.name(), Budget::None),
        };
        if watcher == Watcher::TOP {
            for left in &mut left {
                *left *= at_tracepoints;
            }
        }
        sliced::push(section, Row::of(name, left, "of nobody", budget));
    }
    Ok(())
}
