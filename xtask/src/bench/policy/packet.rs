//! Nanoseconds per packet that is no SYN: what every packet of the host pays, whether it knows TFO or not.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{InForce, Rules, Stage};
use crate::bench::bpftool::bpftool;
use crate::bench::empty::{Empty, Hook};
use crate::bench::observer::scratch;
use crate::bench::rate::median;
use crate::bench::stats::StatsOn;
use crate::commands::program_path;
use crate::process;

/// Runs of `BPF_PROG_TEST_RUN` at a time; it tells the average.
const REPEAT: &str = "1000000";

/// Ours and an empty program, side by side, ns.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// By the kernel's run-time statistics under bulk traffic: with caches and branches as they are then, and with
    /// the clock read before and after.
    pub live: [f64; 2],
    /// By `BPF_PROG_TEST_RUN`, over and over with the same packet: the instructions alone.
    pub warm: [f64; 2],
}

/// Medians over rounds.
pub fn measure(stage: &Stage, rounds: u32, seconds: u32) -> Result<Packet> {
    let mut columns: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds {
        let empty = Empty::attach(&[Hook::Egress])?;
        let floor = *empty.programs.first().context("one was attached")?;
        let in_force = stage.enforce(Rules::Many)?;
        let live = live(&in_force, floor, seconds)?;
        let warm = [in_force.program()?, floor].map(warm);
        let [ours, empty] = warm;
        let values = [live[0], live[1], ours?, empty?];
        println!(
            "    round {}: {:.1} ns, empty program {:.1} ns; test run {:.0} and {:.0} ns",
            round + 1,
            values[0],
            values[1],
            values[2],
            values[3]
        );
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let [live, empty, warm, empty_warm] = columns.each_ref().map(|column| median(column));
    Ok(Packet {
        live: [live, empty],
        warm: [warm, empty_warm],
    })
}

/// Both programs see the same packets.
fn live(in_force: &InForce, floor: u64, seconds: u32) -> Result<[f64; 2]> {
    let programs = [in_force.program()?, floor];
    let _stats = StatsOn::enable()?;
    let before = [run_time(programs[0])?, run_time(programs[1])?];
    bulk(seconds.into())?;
    let mut nanoseconds = [0.0; 2];
    for ((program, before), ns) in programs.into_iter().zip(before).zip(&mut nanoseconds) {
        let after = run_time(program)?;
        let runs = after.1.saturating_sub(before.1);
        ensure!(runs > 0, "program {program} did not run under bulk traffic");
        *ns = after.0.saturating_sub(before.0) as f64 / runs as f64;
    }
    Ok(nanoseconds)
}

/// Sends through one connection and returns bytes per second.
fn bulk(seconds: f64) -> Result<f64> {
    let mut command = Command::new(program_path("tfo-lab"));
    command.args(["bulk", "--seconds", &seconds.to_string()]);
    let report: Value = serde_json::from_str(&process::output(&mut command)?).context("tfo-lab's report")?;
    report["per_second"]
        .as_f64()
        .context("tfo-lab bulk reports no `per_second`")
}

/// Nanoseconds and runs of a program so far; nothing while it has never run with statistics on.
fn run_time(program: u64) -> Result<(u64, u64)> {
    let info = bpftool(&["prog", "show", "id", &program.to_string()])?;
    ensure!(info["id"] == program, "bpftool shows another program: {info}");
    let field = |name: &str| info[name].as_u64().unwrap_or(0);
    Ok((field("run_time_ns"), field("run_cnt")))
}

/// `BPF_PROG_TEST_RUN` with a segment that carries data.
fn warm(program: u64) -> Result<f64> {
    let file = scratch("segment.bin")?;
    fs::write(&file, segment()).with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.to_string_lossy();
    let id = program.to_string();
    let result = bpftool(&["prog", "run", "id", &id, "data_in", &file, "repeat", REPEAT])?;
    passed(&result)
}

fn passed(result: &Value) -> Result<f64> {
    ensure!(
        result["retval"] == 1,
        "the program does not pass a segment: {result}"
    );
    result["duration"].as_f64().context("bpftool tells no duration")
}

/// Ethernet, IPv4 and TCP with ACK and PSH set, and 100 bytes. Checksums do not matter here.
fn segment() -> Vec<u8> {
    let mut packet = vec![0; 12];
    packet.extend([0x08, 0x00]);
    packet.extend([
        0x45, 0, 0, 140, 0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1,
    ]);
    packet.extend([
        0x30, 0x39, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0,
    ]);
    packet.extend([7; 100]);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_is_whole_and_no_syn() {
        let packet = segment();
        let length = u16::from_be_bytes([packet[16], packet[17]]);
        assert_eq!(packet.len(), 14 + usize::from(length));
        assert_eq!(packet[14 + 20 + 13] & 0x02, 0);
    }

    #[test]
    fn a_result_counts_only_if_the_packet_passed() {
        let result = |retval| serde_json::json!({"retval": retval, "data_out": [], "duration": 17});
        assert!((passed(&result(1)).unwrap() - 17.0).abs() < f64::EPSILON);
        assert!(passed(&result(0)).is_err());
    }
}
