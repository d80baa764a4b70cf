//! What a policy costs: per connection, per packet, in connections per second and in throughput.

use anyhow::Result;

use super::Time;
use super::sliced::{self, Length};
use crate::bench::load::{Kind, Shape};
use crate::bench::policy::{Rules, Stage, connection, packet};
use crate::bench::report::{Budget, Row, Section};
use crate::bench::slices::Load;

// The goals.
const CONNECTION_US: Budget = Budget::AtMost(1.0);
const PACKET_NS: Budget = Budget::AtMost(25.0);
const BULK: Budget = Budget::AtLeast(0.99);
const ONE_RULE: Budget = Budget::AtLeast(0.97);
const A_GUARD: Budget = Budget::AtLeast(0.95);

/// Nothing at all, programs that do nothing, rules that concern none of the traffic, and a guard that finds nothing wrong.
const UNCONCERNED: [Rules; 5] = [Rules::None, Rules::Empty, Rules::One, Rules::Many, Rules::Guard];
/// The same, programs that ask for what a guard asks for of connections with Fast Open, and a rule that concerns all of these.
const CONCERNED: [Rules; 7] = [
    Rules::None,
    Rules::Empty,
    Rules::Asking,
    Rules::One,
    Rules::Many,
    Rules::Guard,
    Rules::Denying,
];
const LENGTH: Length = Length { times: 8, seconds: 3 };
const QUICK: Length = Length { times: 1, seconds: 5 };

pub fn run(stage: &Stage, time: Time) -> Result<Vec<Section>> {
    Ok(vec![
        per_connection(stage, time)?,
        by_rules(stage, time)?,
        per_packet(stage, time)?,
        both_ends(stage, time)?,
        left(stage, time)?,
        throughput(stage, time)?,
    ])
}

fn per_connection(stage: &Stage, time: Time) -> Result<Section> {
    println!("\n==> policy: run time per connection");
    let mut section = Section::new(
        "A policy, run time per connection",
        "`sock_ops` and the egress program together, both ends of a connection, with a rule for somebody else and a guard that \
         finds nothing wrong. Egress is called for every packet that leaves. The floor are empty programs at the same two \
         hooks; the last row is what ours take beyond them.",
    )
    .drawn("us");
    for kind in [Kind::Tfo, Kind::Plain] {
        let name = kind.name();
        let shape = Shape::fastest(kind, time.seconds);
        let mut columns: [Vec<f64>; 4] = Default::default();
        for _ in 0..time.few {
            let (empty, empty_runs) = connection::run_time(stage, Rules::Empty, &shape)?;
            let (ours, runs) = connection::run_time(stage, Rules::Both, &shape)?;
            for (column, value) in columns.iter_mut().zip([empty, ours, ours - empty, runs]) {
                column.push(value);
            }
            println!(
                "    {name}: empty {empty:.2} us in {empty_runs:.1} runs, ours {ours:.2} us in {runs:.1}"
            );
        }
        let [empty, ours, beyond, runs] = columns;
        let budget = if kind == Kind::Tfo {
            CONNECTION_US
        } else {
            Budget::None
        };
        section.push(Row::of(
            format!("{name}, empty programs"),
            empty,
            "us",
            Budget::None,
        ));
        section.push(Row::of(format!("{name}, a rule and a guard"), ours, "us", budget));
        section.push(Row::of(
            format!("  {name}, runs of its programs"),
            runs,
            "",
            Budget::None,
        ));
        section.push(Row::of(
            format!("{name}, beyond the empty programs"),
            beyond,
            "us",
            Budget::None,
        ));
    }
    Ok(section)
}

/// How the cost of a policy grows with its rules, none of which concerns the traffic.
const BY_RULES: [Rules; 3] = [Rules::One, Rules::Hundred, Rules::Many];

fn by_rules(stage: &Stage, time: Time) -> Result<Section> {
    println!("\n==> policy: run time by number of rules");
    let mut section = Section::new(
        "A policy, by number of rules",
        "`sock_ops` and the egress program together, both ends of a Fast Open connection, with rules for somebody else. A rule \
         is found in a trie by the longest prefix: its depth grows, not a list.",
    )
    .drawn("us");
    let shape = Shape::fastest(Kind::Tfo, time.seconds);
    let mut columns: [Vec<f64>; BY_RULES.len()] = Default::default();
    for _ in 0..time.few.min(3) {
        for (rules, column) in BY_RULES.iter().zip(&mut columns) {
            column.push(connection::run_time(stage, *rules, &shape)?.0);
        }
    }
    for (rules, column) in BY_RULES.iter().zip(columns) {
        section.push(Row::of(
            format!("TFO, {}", rules.name()),
            column,
            "us",
            Budget::None,
        ));
    }
    Ok(section)
}

fn per_packet(stage: &Stage, time: Time) -> Result<Section> {
    println!("\n==> policy: time per packet that is no SYN");
    let packet = packet::measure(stage, time.few.min(3), time.seconds)?;
    let mut section = Section::new(
        "A policy, per packet",
        "The egress program and a packet that is no SYN, 10,000 rules in force.",
    );
    for (what, [ours, empty], budget) in [
        ("test run, caches warm", packet.warm, PACKET_NS),
        ("bulk traffic, statistics on", packet.live, Budget::None),
    ] {
        section.push(Row::new(what, ours, "ns", budget));
        section.push(Row::new(
            format!("  an empty program, {what}"),
            empty,
            "ns",
            Budget::None,
        ));
    }
    Ok(section)
}

fn both_ends(stage: &Stage, time: Time) -> Result<Section> {
    let section = Section::new(
        "A policy, connections per second",
        "What is left of the connections of a generator that does nothing but connect: each thread, on a CPU of its own, has both \
         ends and waits for nobody. The programs come and go every 80 ms while it runs, and each slice with them is compared with \
         the two beside it: two runs one after the other differ by several percent whatever is attached. Nothing, likewise, is \
         what the measurement itself does. Each is loaded anew several times, behind other programs that nobody calls: where the kernel puts instructions is worth 0.02. The \
         empty programs are at the same two hooks: what they take away the kernel takes for calling any. A guard has to ask for the \
         change of state that ends a handshake; the last of them do that and give it back, and nothing else. With every connection denied each takes another SYN and waits for the handshake.",
    );
    connections(stage, time, section, Load::BothEnds)
}

fn left(stage: &Stage, time: Time) -> Result<Section> {
    let section = Section::new(
        "A policy, connections per second of threads that wait",
        "The same of a generator whose clients and servers are threads of their own, which the scheduler wakes, halts and moves: \
         the longer a connect takes, the more often a server has nothing to do, and a context switch takes longer than all of \
         the policy's programs.",
    );
    connections(stage, time, section, Load::Connections)
}

fn connections(stage: &Stage, time: Time, section: Section, load: impl Fn(Kind) -> Load) -> Result<Section> {
    let mut section = section.drawn("of none");
    for (kind, contestants) in [(Kind::Tfo, &CONCERNED[..]), (Kind::Plain, &UNCONCERNED)] {
        compare(
            stage,
            time,
            (kind.name(), "/s", 1.0),
            load(kind),
            contestants,
            &mut section,
        )?;
    }
    Ok(section)
}

fn throughput(stage: &Stage, time: Time) -> Result<Section> {
    let mut section = Section::new(
        "A policy, throughput",
        "Bytes per second of one connection, its ends on two CPUs; measured like the connections above.",
    );
    compare(
        stage,
        time,
        ("bulk", "GB/s", 1e9),
        Load::Bulk,
        &UNCONCERNED,
        &mut section,
    )?;
    Ok(section)
}

/// One row for what is there without a policy, and a ratio for each of the contestants.
fn compare(
    stage: &Stage,
    time: Time,
    (what, unit, scale): (&str, &'static str, f64),
    load: Load,
    contestants: &[Rules],
    section: &mut Section,
) -> Result<()> {
    let length = LENGTH.or_quick(QUICK, time);
    println!(
        "\n==> policy: {what}, what is left per second, {} x {} s each",
        length.times, length.seconds
    );
    let several = sliced::measure(contestants, length, load, |rules| stage.switched(rules))?;
    let without = several.without.iter().map(|rate| rate / scale).collect();
    section.push(Row::of(format!("{what}, no policy"), without, unit, Budget::None));
    for (rules, left) in contestants.iter().zip(several.left) {
        let (name, budget) = match (load, rules) {
            (_, Rules::None) => ("nothing, likewise", Budget::None),
            (_, Rules::Empty | Rules::Asking | Rules::Denying) => (rules.name(), Budget::None),
            (Load::Bulk, _) => (rules.name(), BULK),
            (_, Rules::One) => (rules.name(), ONE_RULE),
            (_, Rules::Guard) => (rules.name(), A_GUARD),
            _ => (rules.name(), Budget::None),
        };
        sliced::push(
            section,
            Row::of(format!("{what}, {name}"), left, "of none", budget),
        );
    }
    Ok(())
}
