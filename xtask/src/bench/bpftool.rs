//! What `bpftool` says of the programs of the kernel.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

/// Asks bpftool.
pub fn bpftool(args: &[&str]) -> Result<Value> {
    let text = process::output(process::command("bpftool").arg("--json").args(args))?;
    serde_json::from_str(&text).with_context(|| format!("bpftool {}: no JSON: {text}", args.join(" ")))
}

/// Has bpftool do something.
pub fn run(args: &[&str]) -> Result<()> {
    process::output(process::command("bpftool").args(args)).map(|_| ())
}

/// A program as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    /// Bytes of machine code.
    pub jited: u64,
    /// Nanoseconds and runs so far, while statistics were on.
    pub nanoseconds: u64,
    pub runs: u64,
}

/// Every program that is loaded, by id.
pub fn programs() -> Result<BTreeMap<u64, Program>> {
    let listed = bpftool(&["prog", "show"])?;
    let listed = listed.as_array().context("bpftool prog show: no list")?;
    Ok(listed.iter().filter_map(program).collect())
}

fn program(value: &Value) -> Option<(u64, Program)> {
    let number = |name: &str| value[name].as_u64().unwrap_or(0);
    let program = Program {
        name: value["name"].as_str().unwrap_or("").to_owned(),
        jited: number("bytes_jited"),
        nanoseconds: number("run_time_ns"),
        runs: number("run_cnt"),
    };
    Some((value["id"].as_u64()?, program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_program_with_and_without_statistics() {
        let value = serde_json::json!({"id": 7, "name": "tfo_finish", "bytes_jited": 3636, "run_time_ns": 5, "run_cnt": 2});
        let (id, read) = program(&value).unwrap();
        assert_eq!(
            (id, read.name.as_str(), read.jited, read.runs),
            (7, "tfo_finish", 3636, 2)
        );
        let (_, read) = program(&serde_json::json!({"id": 8})).unwrap();
        assert_eq!((read.nanoseconds, read.jited), (0, 0));
        assert_eq!(program(&serde_json::json!({"name": "x"})), None);
    }
}
