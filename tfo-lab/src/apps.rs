//! Programs nobody here wrote, inside the lab: nginx as server, curl as client.

use std::{
    env, fs,
    io::ErrorKind,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{lab::Lab, netns::Namespace};

const START_DEADLINE: Duration = Duration::from_secs(10);
const PROC_TCP_LISTEN: &str = "0A";

/// A running nginx with a configuration and directory of its own.
#[derive(Debug)]
pub struct Nginx {
    master: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Nginx {
    /// Starts nginx on `address` in the server's namespace, with `fastopen=<queue>` if given.
    /// It answers every request with `ok`.
    pub fn start(lab: &Lab, address: SocketAddr, fast_open: Option<u32>) -> Result<Self> {
        let directory = temporary_directory(address.port())?;
        let config = directory.join("nginx.conf");
        fs::write(&config, configuration(&directory, address, fast_open))
            .with_context(|| format!("{}: writing nginx's configuration", config.display()))?;
        let master = lab.in_server(|| {
            Command::new("nginx")
                .arg("-p")
                .arg(&directory)
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("nginx: starting it; is the package `nginx` installed?")
        })?;
        let mut nginx = Self {
            master,
            directory,
            address,
        };
        nginx.await_listener(lab.server())?;
        Ok(nginx)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks at the namespace's socket table instead of connecting: a trial connection would show
    /// up in what is being tested.
    fn await_listener(&mut self, namespace: &Namespace) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while !namespace.run(|| has_listener(self.address))? {
            let ended = self.master.try_wait().context("nginx: asking for its state")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join("error.log")).unwrap_or_default();
                bail!(
                    "nginx on {}: does not listen ({ended:?}): {}",
                    self.address,
                    log.trim()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.master.id()) {
            // The master ends its workers; killing it outright would leave them behind.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.master.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What curl reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurlReport {
    /// Its own address.
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

fn temporary_directory(port: u16) -> Result<PathBuf> {
    let directory = env::temp_dir().join(format!("tfo-lab-nginx-{}-{port}", std::process::id()));
    let make = || fs::DirBuilder::new().mode(0o700).create(&directory);
    let result = match make() {
        // Left over by a run that had the same process id.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_dir_all(&directory).and_then(|()| make())
        }
        other => other,
    };
    result.with_context(|| format!("{}: creating nginx's directory", directory.display()))?;
    Ok(directory)
}

fn configuration(directory: &Path, address: SocketAddr, fast_open: Option<u32>) -> String {
    let directory = directory.display();
    let fast_open = fast_open
        .map(|queue| format!(" fastopen={queue}"))
        .unwrap_or_default();
    format!(
        "daemon off; user root; worker_processes 1;\n\
         pid {directory}/nginx.pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
           fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;\n\
           scgi_temp_path {directory}/scgi;\n\
           server {{ listen {address}{fast_open}; return 200 \"ok\"; }}\n\
         }}\n"
    )
}

/// Whether the calling thread's namespace has a listener on that port.
fn has_listener(address: SocketAddr) -> Result<bool> {
    let path = if address.is_ipv4() {
        "/proc/thread-self/net/tcp"
    } else {
        "/proc/thread-self/net/tcp6"
    };
    let table = fs::read_to_string(path).with_context(|| format!("{path}: reading it"))?;
    let port = format!(":{:04X}", address.port());
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        local && fields.nth(1) == Some(PROC_TCP_LISTEN)
    }))
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
