//! Reads the firewall rules of the calling thread's network namespace from nft, and from iptables where nft does not know
//! all of them.

use std::{
    io::{self, Read as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::inspect::doctor::{Fact, FirewallRule, iptables, nft};

/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The directories of these programs, which the PATH of a user may lack.
const DIRECTORIES: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin";

/// The rules that affect Fast Open.
pub fn rules() -> Fact<Vec<FirewallRule>> {
    let mut why = match run("nft", &["-j", "list", "ruleset"]) {
        // Rules that iptables-nft made have parts that only iptables understands.
        Ok(json) if !json.contains("\"xt\"") => {
            return nft(&json).ok_or_else(|| "nft -j list ruleset: not what nft writes".to_owned());
        }
        Ok(json) => {
            let mut found = nft(&json).unwrap_or_default();
            found.extend(saved()?);
            return Ok(found);
        }
        Err(why) => why,
    };
    saved().map_err(|other| {
        why.push_str("; ");
        why + &other
    })
}

fn saved() -> Fact<Vec<FirewallRule>> {
    let mut found = iptables("iptables", &run("iptables-save", &[])?);
    // Absent where the host has no IPv6.
    found.extend(
        run("ip6tables-save", &[])
            .map(|text| iptables("ip6tables", &text))
            .unwrap_or_default(),
    );
    Ok(found)
}

/// The output of a program, which inherits the network namespace of this thread.
fn run(program: &str, args: &[&str]) -> Fact<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let child = Command::new(program)
        .args(args)
        .env("PATH", format!("{path}:{DIRECTORIES}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program}: {error}"),
    })?;
    output(child).map_err(|why| format!("{program}: {why}"))
}

fn output(mut child: Child) -> Fact<String> {
    let mut pipe = child.stdout.take().ok_or("no output")?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| bytes)
    });
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            other => {
                // The reader ends with the pipe; it is not waited for.
                let _ = child.kill();
                let _ = child.wait();
                return Err(other
                    .err()
                    .map_or_else(|| "does not end".to_owned(), |error| error.to_string()));
            }
        }
    };
    let bytes = reader
        .join()
        .map_err(|_| "unreadable")?
        .map_err(|error| error.to_string())?;
    if status.success() {
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    } else {
        Err(format!("{status}, as for everybody without CAP_NET_ADMIN"))
    }
}
