//! Third-party programs inside the lab: nginx as server, curl as client, unbound as both.

mod daemon;
mod unbound;

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result};
use daemon::Daemon;
pub use unbound::{Unbound, ask};

use crate::lab::Lab;

/// A running nginx with a configuration and directory of its own.
#[derive(Debug)]
pub struct Nginx(Daemon);

impl Nginx {
    /// Starts nginx on `address` in the server's namespace, with `fastopen=<queue>` if given.
    /// It answers every request with `ok`.
    pub fn start(lab: &Lab, address: SocketAddr, fast_open: Option<u32>) -> Result<Self> {
        Self::start_with_log(lab, address, fast_open, "access_log off;")
    }

    /// The same with these lines of configuration about its access log.
    pub fn start_with_log(lab: &Lab, address: SocketAddr, fast_open: Option<u32>, log: &str) -> Result<Self> {
        Daemon::start("nginx", lab.server(), address, |directory| {
            let mut command = Command::new("nginx");
            command.arg("-p").arg(directory);
            (configuration(directory, address, fast_open, log), command)
        })
        .map(Self)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// What curl reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurlReport {
    /// Local address of the connection.
    pub local: SocketAddr,
    /// HTTP status.
    pub status: u16,
    /// The body it received.
    pub body: String,
}

/// Fetches `http://<target>/` with curl in the client's namespace, with `--tcp-fastopen` or not.
pub fn curl(lab: &Lab, target: SocketAddr, fast_open: bool) -> Result<CurlReport> {
    let url = format!("http://{target}/");
    // A proxy from the environment would lead out of the lab.
    let mut args = vec!["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
    args.extend(fast_open.then_some("--tcp-fastopen"));
    args.extend(["--write-out", "\n%{local_ip}\n%{local_port}\n%{http_code}", &url]);
    let output = lab.client().command("curl", &args)?;
    parse_curl(&output).with_context(|| format!("curl {url}: unexpected output {output:?}"))
}

fn parse_curl(output: &str) -> Option<CurlReport> {
    let mut fields = output.rsplitn(4, '\n');
    let status = fields.next()?.parse().ok()?;
    let port = fields.next()?.parse().ok()?;
    let ip = fields.next()?.parse().ok()?;
    Some(CurlReport {
        local: SocketAddr::new(ip, port),
        status,
        body: fields.next()?.to_owned(),
    })
}

fn configuration(directory: &Path, address: SocketAddr, fast_open: Option<u32>, log: &str) -> String {
    let directory = directory.display();
    let fast_open = fast_open
        .map(|queue| format!(" fastopen={queue}"))
        .unwrap_or_default();
    format!(
        "daemon off; user root; worker_processes 1;\n\
         pid {directory}/nginx.pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n\
           {log}\n\
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
           fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;\n\
           scgi_temp_path {directory}/scgi;\n\
           server {{ listen {address}{fast_open}; return 200 \"ok\"; }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_output_is_read_from_its_end() {
        let report = parse_curl("two\nlines\n10.77.0.1\n40000\n200").unwrap();
        assert_eq!((report.body.as_str(), report.status), ("two\nlines", 200));
        assert_eq!(report.local, "10.77.0.1:40000".parse().unwrap());
        assert_eq!(parse_curl("curl: no"), None);
    }
}
