//! The recipe of docs/recipes.md: records of `trace` joined with nginx's access log, so that a log line tells what Fast Open did
//! for its request. The commands are taken from the page and run as they stand.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tfo_lab::{
    apps::{Nginx, curl},
    lab::{self, Lab},
};

use crate::support::{ground::temporary_directory, needs_kernel, needs_programs, tool::Tool, wait_until};

const PAGE: &str = include_str!("../../../docs/recipes.md");

/// The block of code behind this heading.
fn block(heading: &str) -> Result<&'static str> {
    let after = PAGE.split(heading).nth(1).context("the heading is gone")?;
    let code = after.split("```").nth(1).context("no code")?;
    Ok(code.split_once('\n').context("one line")?.1)
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_line_of_nginx_log_tells_what_fast_open_did() -> Result<()> {
    needs_kernel!();
    needs_programs!("nginx", "curl", "jq");
    let lab = Lab::up_unique()?;
    let directory = Directory(temporary_directory()?);
    let at = |name: &str| directory.0.join(name);
    // The format of the page, written here.
    let format = block("### nginx")?
        .lines()
        .find(|line| line.starts_with("log_format"))
        .context("no log_format")?;
    let log = format!("{format}\naccess_log {} fast_open;", at("access.log").display());
    let v4 = Nginx::start_with_log(&lab, SocketAddr::new(lab::server_v4(0), 80), Some(64), &log)?;
    let v6 = Nginx::start_with_log(&lab, SocketAddr::new(lab::server_v6(0), 80), Some(64), &log)?;
    let trace = Tool::attached(&[
        "trace", "--all", "--role", "server", "--port", "80", "--format", "json",
    ])?;
    let mut made = Vec::new();
    for nginx in [&v4, &v6] {
        for (fast_open, outcome) in [(true, "cookie-granted"), (true, "accepted"), (false, "plain")] {
            made.push((curl(&lab, nginx.address(), fast_open)?.local, outcome));
        }
    }
    // nginx writes a line when the request is done, which may be after its client has gone.
    wait_until("every line of the log", || {
        Ok(read(&at("access.log")).lines().count() == made.len())
    })?;
    let ended = trace.stop()?;
    fs::write(at("trace.ndjson"), ended.stdout.join("\n") + "\n")?;
    let script = block("### join")?;
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(&directory.0)
        .output()?;
    let joined = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<&str> = joined.lines().collect();
    ensure!(
        lines.len() == made.len(),
        "{joined}\n{}\n{}",
        read(&at("access.log")),
        read(&at("trace.ndjson"))
    );
    for (local, outcome) in made {
        let key = format!("{}:{} ", local.ip(), local.port());
        let line = lines.iter().find(|line| line.starts_with(&key));
        let line = line.with_context(|| format!("no line of {key}in\n{joined}"))?;
        ensure!(
            line.ends_with(&format!(" {outcome}")) && line.contains("\"GET / HTTP/1.1\" 200"),
            "{line}"
        );
    }
    Ok(())
}
