//! nginx that answers and closes: a server that does a little work, and one nobody here wrote.

use std::fs;

use anyhow::{Context as _, Result};

use super::load::{Kind, Shape};
use super::observer::scratch;
use crate::process;

/// It has a network namespace to itself.
const PORT: u16 = 8080;

/// Requests to nginx over Fast Open, one per connection, which it closes.
pub fn requests(seconds: impl Into<f64>) -> Result<Shape> {
    Ok(Shape::fastest(Kind::Tfo, seconds)
        .with(&format!("--http {PORT}"))
        .beside(&command()?))
}

/// Processes of curl at a time, and requests of each: about a second.
const CLIENTS: u32 = 2;
const REQUESTS: u32 = 12_000;

/// Requests per second of curl, a client that does a little work as well: each process asks for one page after another, each over a
/// Fast Open connection of its own.
pub fn requests_by_curl() -> Result<f64> {
    let script = format!(
        "set -e\n\
         ip link set lo up\n\
         echo 3 >/proc/sys/net/ipv4/tcp_fastopen\n\
         {nginx} & nginx=$!\n\
         trap 'kill $nginx; wait $nginx' EXIT\n\
         until curl --silent --output /dev/null http://127.0.0.1:{PORT}/; do kill -0 $nginx; sleep 0.02; done\n\
         start=$(date +%s%N)\n\
         for client in $(seq {CLIENTS}); do\n  \
         curl --silent --fail --tcp-fastopen --header 'Connection: close' --output /dev/null \
         \"http://127.0.0.1:{PORT}/[1-{REQUESTS}]\" & clients=\"$clients $!\"\n\
         done\n\
         for client in $clients; do wait $client; done\n\
         echo $(($(date +%s%N) - start))\n",
        nginx = command()?
    );
    let mut unshare = process::command("unshare");
    unshare.args(["--net", "sh", "-c", &script]);
    let nanoseconds = process::output(&mut unshare)?;
    let nanoseconds: f64 = nanoseconds
        .trim()
        .parse()
        .with_context(|| format!("the clients took `{}` nanoseconds", nanoseconds.trim()))?;
    Ok(f64::from(CLIENTS * REQUESTS) * 1e9 / nanoseconds)
}

/// Starts it, with its files where they are not in the way.
fn command() -> Result<String> {
    let directory = scratch("nginx")?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, text(&directory.to_string_lossy()))
        .with_context(|| format!("cannot write {}", configuration.display()))?;
    Ok(format!(
        "nginx -e stderr -p {} -c {}",
        directory.display(),
        configuration.display()
    ))
}

fn text(directory: &str) -> String {
    format!(
        "daemon off;\nworker_processes auto;\nuser root;\npid {directory}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  server {{\n    listen 127.0.0.1:{PORT} fastopen=4096 backlog=4096 reuseport;\n    \
         location / {{ return 200 \"hello\"; }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_files_are_where_it_is_told() {
        let text = text("/tmp/x");
        assert!(
            text.contains("pid /tmp/x/nginx.pid;") && text.contains("fastopen="),
            "{text}"
        );
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
