//! How many connections and requests per second are left.

use anyhow::Result;

use super::Time;
use crate::bench::empty::Idle;
use crate::bench::load::{Kind, Shape};
use crate::bench::nginx::Page;
use crate::bench::observer::Tool;
use crate::bench::policy::Stage;
use crate::bench::rate::{self, Contestant, Rates};
use crate::bench::report::{Budget, Row, Section};
use crate::bench::slices::{self, Load};
use crate::bench::watcher::Watcher;

const CONNECTIONS: Budget = Budget::AtLeast(0.90);
const REQUESTS: Budget = Budget::AtLeast(0.97);
/// Watches SYNs in the load's own namespace, as it would have to on a host.
const TCPDUMP: &str = "tcpdump -i lo -n -l --immediate-mode 'tcp[tcpflags] & tcp-syn != 0' 2>/dev/null";

/// How often each of those that come and go is loaded, and for how many seconds of load.
const SLICED: (u32, u32) = (8, 6);
/// The same where time is short.
const SLICED_QUICK: (u32, u32) = (1, 3);

pub fn run(stage: &Stage, time: Time) -> Result<Vec<Section>> {
    println!(
        "\n==> connections per second, {} rounds of {} s",
        time.rounds, time.slice
    );
    let mut who: Vec<Contestant> = [
        Watcher::Nobody,
        Watcher::Empty,
        Watcher::Asking,
        Watcher::TOP,
        Watcher::Tool(Tool::Tcplife),
    ]
    .map(Contestant::from)
    .into();
    who.push(Contestant {
        name: "tcpdump of SYNs",
        watcher: Watcher::Nobody,
        beside: Some(TCPDUMP),
    });
    let mut connections = Section::new(
        "Connections per second",
        "Fast Open connections of a generator that does nothing but connect, on every core; what is left of them with each of \
         these attached, beside the mean of the rates before and after with nothing attached. The empty programs stand where ours would; beside them stands one \
         that asks for the callbacks that ours ask for and does nothing with them. `top` measures \
         the run time of its programs one second in eight, in which each run takes twice as long; such a second is not in here.",
    )
    .drawn("of nobody");
    let rates = rate::connections(&who, time.rounds, &Shape::fastest(Kind::Tfo, time.slice))?;
    show(&who, &rates, CONNECTIONS, &mut connections);

    let mut both_ends = Section::new(
        "Connections per second of threads that wait for nobody",
        "The same of a generator each thread of which has both ends, on a CPU of its own: no context switch, whose number depends on \
         what is attached. What is compared comes and goes every 80 ms while it runs, as with a policy below; nobody, likewise, is \
         what the measurement itself does. The last of the empty programs also writes 128 bytes about each end of a connection, \
         with three times in them, which nobody reads. The goal was set with the generator above.",
    )
    .drawn("of nobody");
    sliced(
        stage,
        time,
        Load::BothEnds(Kind::Tfo),
        CONNECTIONS,
        &mut both_ends,
    )?;

    let mut requests = Section::new(
        "A server that closes after each request",
        "nginx with a network namespace to itself, one request per Fast Open connection; server and clients are both on this \
         host, so all of what watching costs is seen. Measured like the one above. The goal was set at 32,000 requests a second, on \
         another machine; here nginx answers more than twice as many, so that the same microseconds are more than twice the part.",
    )
    .drawn("of nobody");
    sliced(
        stage,
        time,
        Load::Requests(Page::Small),
        Budget::None,
        &mut requests,
    )?;

    let mut worked = Section::new(
        "A server that works for each request, and closes",
        "The same server, which matches an expression before each answer, so that it answers as many requests as where the goal was set.",
    )
    .drawn("of nobody");
    sliced(stage, time, Load::Requests(Page::Worked), REQUESTS, &mut worked)?;
    Ok(vec![connections, both_ends, requests, worked])
}

/// What is left of a load while programs come and go.
fn sliced(stage: &Stage, time: Time, load: Load, budget: Budget, section: &mut Section) -> Result<()> {
    let (times, seconds) = if time.rounds < 6 { SLICED_QUICK } else { SLICED };
    println!("\n==> {}, {times} x {seconds} s each", section.title);
    let who = [
        Watcher::Nobody,
        Watcher::Empty,
        Watcher::Asking,
        Watcher::Recording,
        Watcher::TOP,
    ];
    let (mut without, mut left) = (Vec::new(), who.map(|_| Vec::new()));
    for round in 0..times {
        for (number, (watcher, left)) in who.iter().zip(&mut left).enumerate() {
            let _elsewhere = Idle::load(u64::from(round) << 32 | number as u64)?;
            let mut switched = watcher.switched(stage)?;
            let measured = slices::left(&mut *switched, load, seconds)?;
            left.extend(measured.left);
            without.extend(measured.without);
        }
    }
    section.push(Row::of(
        "per second, nobody watching",
        without,
        "/s",
        Budget::None,
    ));
    for (watcher, left) in who.into_iter().zip(left) {
        let (name, budget) = match watcher {
            Watcher::Nobody => ("nobody, likewise", Budget::None),
            Watcher::TOP => (watcher.name(), budget),
            _ => (watcher.name(), Budget::None),
        };
        let row = Row::of(name, left, "of nobody", budget);
        println!(
            "    {}: {:.4} of {} slices",
            row.what,
            row.value(),
            row.samples.len()
        );
        section.push(row);
    }
    Ok(())
}

fn show(who: &[Contestant], rates: &Rates, budget: Budget, section: &mut Section) {
    for (index, contestant) in who.iter().enumerate() {
        let name = contestant.name;
        if index == 0 {
            section.push(Row::of(
                format!("per second, {name} watching"),
                rates.base.clone(),
                "/s",
                Budget::None,
            ));
            continue;
        }
        let budget = if contestant.watcher == Watcher::TOP {
            budget
        } else {
            Budget::None
        };
        section.push(Row::of(name, rates.ratios(index), "of nobody", budget));
    }
}
