//! `diagnose` on the live kernel: started, stopped, and its findings read.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    sandbox::Sandbox,
    tool::{Ended, Tool},
};

/// Starts `diagnose`; it ends when it is told to. It has looked at everything once when this returns, and looks again
/// at its end.
pub fn watch(sandbox: &Sandbox) -> Result<Tool> {
    sandbox.tool("diagnose", &["--format", "json", "--duration", "10m"])
}

/// What it found.
pub fn findings(ended: &Ended) -> Result<Vec<Value>> {
    let lines: Vec<Value> = ended
        .stdout
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| line.clone()))
        .collect::<Result<_>>()?;
    let (last, found) = lines.split_last().context("no summary")?;
    ensure!(last["type"] == "summary", "{last}");
    Ok(found.to_vec())
}

/// Their names.
pub fn ids(found: &[Value]) -> Vec<&str> {
    found.iter().filter_map(|one| one["id"].as_str()).collect()
}

/// Stops it, and returns what it found of this name.
pub fn stopped(diagnose: Tool, id: &str) -> Result<Vec<Value>> {
    let found = findings(&diagnose.stop()?)?;
    Ok(found.into_iter().filter(|one| one["id"] == id).collect())
}
