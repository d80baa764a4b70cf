//! Policy files: `apply` makes the changes that `plan` prints.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    policy::{self, PINS, add, fails, ok},
    support::sandbox::Sandbox,
};

/// A file that goes with the mount namespace's /tmp... which is the host's: small, and overwritten next time.
pub fn temporary(name: &str, text: &str) -> Result<String> {
    let path = std::env::temp_dir().join(format!("tfo-cli-test-{name}"));
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

/// Root follows no rules that somebody else can write, or has written.
pub fn others_write() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let name = sandbox.name()?;
    let text = format!("[[rule]]\ncgroup = \"{name}\"\ndst = \"10.0.0.0/8\"\n");
    let path = temporary("others.toml", &text)?;
    let refused = |why: &str| -> Result<()> {
        for command in [&["policy", "apply", &path][..], &["policy", "plan", &path]] {
            let said = fails(command, 2)?;
            ensure!(said.contains(why), "{said}");
        }
        ensure!(!Path::new(PINS).exists(), "nothing is in force");
        Ok(())
    };
    for mode in [0o666, 0o664] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        refused("others may write to it")?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    chown(&path, Some(65_534), None)?;
    refused("owned by user 65534")?;
    fs::remove_file(&path)?;
    let path = temporary("others.toml", &text)?;
    ok(&["policy", "apply", &path])?;
    ok(&["policy", "flush"])?;
    Ok(())
}

pub fn planned_and_applied() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    sandbox.within("app", || Ok(()))?;
    let name = sandbox.name()?;
    let text = format!(
        "[[rule]]\ncgroup = \"{name}\"\ndst = \"10.0.0.0/8\"\nports = [443, \"8000-8999\"]\nttl = \"1h\"\nnote = \"one\"\n\
         [[rule]]\ncgroup = \"{name}/app\"\ndst = \"2001:db8::/32\"\naction = \"observe\"\n\
         [[guard]]\ncgroup = \"{name}\"\nfailures = 3\nof = 4\nbackoff = \"5m\"\n"
    );
    let path = temporary("policy.toml", &text)?;
    let plan = ok(&["policy", "plan", &path])?;
    ensure!(plan.contains("3 to add, 0 to change, 0 to remove"), "{plan}");
    ensure!(!Path::new(PINS).exists(), "a plan changes nothing");
    ok(&["policy", "apply", &path])?;
    let rules = policy::list()?["rules"].clone();
    ensure!(
        rules[0]["ports"] == serde_json::json!([[443, 443], [8000, 8999]]),
        "{rules}"
    );
    ensure!(
        rules[0]["note"] == "one" && rules[0]["cgroup"] == name && !rules[0]["left_us"].is_null(),
        "{rules}"
    );
    ensure!(
        policy::guards()?["guards"][0]["failures"] == 3,
        "{}",
        policy::guards()?
    );
    let plan = ok(&["policy", "plan", &path])?;
    ensure!(
        plan == "0 to add, 0 to change, 0 to remove, 3 unchanged\n",
        "{plan}"
    );

    let changed = text
        .replace("action = \"observe\"", "action = \"no-data\"")
        .replace("failures = 3", "failures = 4");
    let changed = temporary(
        "changed.toml",
        &changed[changed.find("[[rule]]\ncgroup = \"").unwrap_or(0)..],
    )?;
    let plan = policy::json(&["policy", "plan", &changed, "--format", "json"])?;
    let names: Vec<&str> = plan["changes"]
        .as_array()
        .context("changes")?
        .iter()
        .filter_map(|change| change["change"].as_str())
        .collect();
    ensure!(
        names == ["replace", "guard"] && plan["changes"][0]["id"] == 2,
        "{plan}"
    );
    ok(&["policy", "apply", &changed])?;
    ensure!(
        policy::list()?["rules"][1]["action"] == "no-data",
        "{}",
        policy::list()?
    );

    // What another file does not list goes, with everything else.
    ok(&["policy", "apply", "/dev/null"])?;
    ensure!(!Path::new(PINS).exists(), "{PINS} is left");
    let missing = temporary(
        "skip.toml",
        &format!("{text}\n[[rule]]\nunit = \"no-such\"\ndst = \"::/0\"\n"),
    )?;
    ok(&["policy", "apply", "--skip-missing", &missing])?;
    ensure!(
        policy::list()?["rules"].as_array().map(Vec::len) == Some(2),
        "{}",
        policy::list()?
    );
    // A name that cannot be right is no service that may start later.
    let wrong = temporary(
        "wrong.toml",
        &format!("{text}\n[[rule]]\ncontainer = \"0123\"\ndst = \"::/0\"\n"),
    )?;
    let stderr = fails(&["policy", "apply", "--skip-missing", &wrong], 2)?;
    ensure!(
        stderr.contains("line 17: container 0123: give at least 6 digits"),
        "{stderr}"
    );
    Ok(())
}

/// A plan points out the ports that a narrow rule takes out of a wider one, because one rule alone decides.
pub fn gaps() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    sandbox.within("app", || Ok(()))?;
    add(sandbox.path(), "10.0.0.0/8", &[])?;
    let (name, app) = (sandbox.name()?, sandbox.child("app"));
    let app = app.to_string_lossy();
    let one = ["policy", "add", "--cgroup", &app, "--dst", "10.1.0.0/16"];
    let said = policy::told(&[&one[..], &["--port", "443"]].concat())?;
    let note = format!(
        "note: no-data for {name}/app to 10.1.0.0/16 port 443 decides there alone: ports it does not name are not \
         under no-data for {name} to 10.0.0.0/8"
    );
    ensure!(said.contains(&note), "{said}");
    ok(&["policy", "remove", "2"])?;
    let said = policy::told(&one)?;
    ensure!(!said.contains("note:"), "{said}");
    let rule = |cgroup: &str, dst: &str, more: &str| {
        format!("[[rule]]\ncgroup = \"{cgroup}\"\ndst = \"{dst}\"\n{more}\n")
    };
    let text = rule(&name, "10.0.0.0/8", "") + &rule(&format!("{name}/app"), "10.1.0.0/16", "ports = [443]");
    let path = temporary("gaps.toml", &text)?;
    let plan: Value = serde_json::from_str(&ok(&["policy", "plan", &path, "--format", "json"])?)?;
    ensure!(plan["notes"].as_array().map(Vec::len) == Some(1), "{plan}");
    let plan = ok(&["policy", "plan", &path])?;
    ensure!(plan.contains(&note), "{plan}");
    let said = policy::told(&["policy", "apply", &path])?;
    ensure!(said.contains(&note), "{said}");
    Ok(())
}
