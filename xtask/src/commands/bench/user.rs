//! The user's side: start and end, loss, memory and CPU at rest, tables, the dashboard, captures.

use anyhow::Result;

use super::Time;
use crate::bench::report::{Budget, Row, Section};
use crate::bench::{captures, cost, dashboard};

// The goals.
const LOST: Budget = Budget::AtMost(0.0);
const ATTACH_MS: Budget = Budget::AtMost(120.0);
const DETACH_MS: Budget = Budget::AtMost(100.0);
const RESIDENT_MIB: Budget = Budget::AtMost(30.0);
const IDLE_CPU_PERCENT: Budget = Budget::AtMost(0.5);
const CHANGING_CPU_PERCENT: Budget = Budget::AtMost(2.0);
const FOLDED: Budget = Budget::AtLeast(2_000_000.0);
const ANALYZED: Budget = Budget::AtLeast(1_000_000.0);
const FRAME_MS: Budget = Budget::AtMost(10.0);

pub fn run(time: Time) -> Result<Section> {
    let mut section = Section::new(
        "The user's side",
        "Start is until `trace` says that it is attached and counts; five starts. All rows change: 16,384 plain connections per \
         second, each to another address than the one before.",
    );
    println!("\n==> loss, attach and detach, memory and idle CPU");
    let loss = cost::loss(time.seconds)?;
    println!(
        "    {} events at {:.0} connections/s",
        loss.events, loss.per_second
    );
    section.push(Row::new(
        format!(
            "records lost by `trace` to a file at {:.0} connections/s",
            loss.per_second
        ),
        loss.lost as f64,
        "",
        LOST,
    ));
    let (attach, detach) = cost::attach_and_detach(5)?;
    section.push(Row::of("start to first count", attach, "ms", ATTACH_MS));
    section.push(Row::of("SIGINT to exit", detach, "ms", DETACH_MS));
    let at_rest = cost::top_at_rest(6 * time.seconds)?;
    section.push(Row::new(
        "`top`, memory",
        at_rest.resident_mib,
        "MiB",
        RESIDENT_MIB,
    ));
    section.push(Row::new(
        "`top`, CPU while nothing happens",
        at_rest.cpu_percent,
        "%",
        IDLE_CPU_PERCENT,
    ));
    let (idle, changing) = cost::full_table(6 * time.seconds)?;
    section.push(Row::new(
        "`top` with 16,384 rows, CPU while nothing changes",
        idle,
        "%",
        IDLE_CPU_PERCENT,
    ));
    section.push(Row::new(
        "`top` with 16,384 rows, CPU while all change",
        changing,
        "%",
        CHANGING_CPU_PERCENT,
    ));

    println!("\n==> the dashboard alone, with 16,384 destinations");
    let speed = dashboard::speed()?;
    section.push(Row::new(
        "records folded, one core",
        speed.events_per_second,
        "/s",
        FOLDED,
    ));
    section.push(Row::new("frame at 200x60, CPU", speed.frame_ms, "ms", FRAME_MS));
    let full = dashboard::full_table(4 * time.seconds)?;
    section.push(Row::new(
        "memory with 16,384 rows and their history",
        full.resident_mib,
        "MiB",
        RESIDENT_MIB,
    ));
    section.push(Row::new(
        "CPU at the end of a recording",
        full.cpu_percent,
        "%",
        IDLE_CPU_PERCENT,
    ));
    Ok(section)
}

pub fn captures() -> Result<Section> {
    println!("\n==> a capture of two million packets, CPU time");
    let speed = captures::speed()?;
    let mut section = Section::new(
        "Captures",
        "`analyze` of two million packets, CPU time; `tshark` printing the same fields of a tenth of them.",
    );
    section.push(Row::new(
        "packets analyzed, one core",
        speed.per_second,
        "/s",
        ANALYZED,
    ));
    section.push(Row::new(
        "times as fast as tshark",
        speed.of_tshark,
        "x",
        Budget::None,
    ));
    Ok(section)
}
