//! The part of the table about enforcement.

use anyhow::Result;

use crate::bench::load::Kind;
use crate::bench::policy::rates;
use crate::bench::policy::{Rules, Stage, packet};
use crate::bench::rate::Rates;
use crate::bench::report::{Budget, Row};

// The budgets of the design.
const PACKET_NS: Budget = Budget::AtMost(25.0);
const BULK: Budget = Budget::AtLeast(0.99);

/// Rules that concern none of the traffic, from none to many.
const UNCONCERNED: [Rules; 3] = [Rules::None, Rules::One, Rules::Many];
/// The same, a guard on all of it, and a rule that concerns all of it.
const CONCERNED: [Rules; 5] = [Rules::None, Rules::One, Rules::Many, Rules::Guard, Rules::Denying];
/// A guard looks at plain connections, too: it compares with them.
const WATCHED: [Rules; 4] = [Rules::None, Rules::One, Rules::Many, Rules::Guard];

pub fn run(rounds: u32, seconds: u32, rows: &mut Vec<Row>) -> Result<()> {
    let stage = Stage::enter()?;
    println!(
        "\n==> policy: time per packet that is no SYN, {} rounds of {seconds} s",
        rounds.min(3)
    );
    let packet = packet::measure(&stage, rounds.min(3), seconds)?;
    for (what, [ours, empty], budget) in [
        ("test run", packet.warm, PACKET_NS),
        ("bulk traffic, statistics on", packet.live, Budget::None),
    ] {
        rows.push(Row::new(format!("egress program, {what}"), ours, "ns", budget));
        rows.push(Row::new(
            "  an empty program, likewise".to_owned(),
            empty,
            "ns",
            Budget::None,
        ));
    }

    println!("\n==> policy: bytes per second of one connection, {rounds} rounds of {seconds} s");
    let bulk = rates::throughput(&stage, &UNCONCERNED, rounds, seconds)?;
    show("throughput", &UNCONCERNED, &bulk, ("GB/s", 1e9), BULK, rows);

    println!("\n==> policy: connections per second, {rounds} rounds of {seconds} s");
    let tfo = rates::connections(&stage, &CONCERNED, Kind::Tfo, rounds, seconds)?;
    show(
        "TFO connections",
        &CONCERNED,
        &tfo,
        ("/s", 1.0),
        Budget::None,
        rows,
    );
    let plain = rates::connections(&stage, &WATCHED, Kind::Plain, rounds, seconds)?;
    show(
        "plain connections",
        &WATCHED,
        &plain,
        ("/s", 1.0),
        Budget::None,
        rows,
    );
    Ok(())
}

/// One row for what is there without a policy, and a ratio for each of the others.
fn show(
    what: &str,
    rules: &[Rules],
    rates: &Rates,
    (unit, scale): (&'static str, f64),
    budget: Budget,
    rows: &mut Vec<Row>,
) {
    for (index, (rules, (per_second, ratio))) in rules
        .iter()
        .zip(rates.per_second.iter().zip(&rates.ratios))
        .enumerate()
    {
        rows.push(if index == 0 {
            Row::new(
                format!("{what}, {}", rules.name()),
                per_second / scale,
                unit,
                Budget::None,
            )
        } else {
            Row::new(
                format!("  {} / no policy, median of rounds", rules.name()),
                *ratio,
                "",
                budget,
            )
        });
    }
}
