//! What the chores need from the system, and apt-get to install it. The one list of such programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// A program, the Debian package that has it, and who calls for it.
pub struct Tool {
    pub binary: &'static str,
    pub package: &'static str,
    pub what_for: &'static str,
}

/// Programs that tests, demo and benchmarks run.
pub const TEST_TOOLS: [Tool; 11] = [
    tool("ip", "iproute2", "lab: namespaces and veth pairs"),
    tool("nft", "nftables", "lab: the middlebox that drops or strips"),
    tool("nginx", "nginx", "privileged test: a server nobody here wrote"),
    tool("curl", "curl", "privileged test: a client nobody here wrote"),
    tool("tcpdump", "tcpdump", "lab: what was really on the wire"),
    tool("tmux", "tmux", "tests of `tfo-cli top` on a terminal"),
    tool("script", "bsdutils", "bench: `tfo-cli top` on a terminal"),
    tool("tcplife", "libbpf-tools", "bench: what tfo-cli is compared with"),
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "vm-test: boots older kernels",
    ),
    tool("busybox", "busybox-static", "vm-test: shell of the initramfs"),
    tool("cpio", "cpio", "vm-test: packs the initramfs"),
];

const fn tool(binary: &'static str, package: &'static str, what_for: &'static str) -> Tool {
    Tool {
        binary,
        package,
        what_for,
    }
}

/// The tools that are not installed.
pub fn missing(tools: &'static [Tool]) -> Vec<&'static Tool> {
    tools
        .iter()
        .filter(|tool| process::find(tool.binary).is_none())
        .collect()
}

/// Why packages cannot be installed from here, if so.
pub fn cannot_install() -> Option<&'static str> {
    if process::find("apt-get").is_none() {
        Some("this system has no apt-get")
    } else if !process::is_root() {
        Some("not root")
    } else {
        None
    }
}

/// Installs packages, without questions, without recommended extras, without starting services.
pub fn install(packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    println!("==> apt-get install {}", packages.join(" "));
    let _no_services = NoServices::enforce()?;
    update()?;
    let mut command = apt_get();
    command
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    process::run(&mut command).context("cannot install the packages named above")?;
    // Debian enables the unit for the next boot; a test tool must not leave a server behind.
    if packages.iter().any(|package| package == "nginx") && process::find("systemctl").is_some() {
        let _ = process::output(process::command("systemctl").args(["disable", "nginx.service"]));
    }
    Ok(())
}

/// Refreshes the package lists, once.
pub fn update() -> Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    process::run(apt_get().args(["update", "--quiet"])).context("cannot refresh the package lists")
}

fn apt_get() -> std::process::Command {
    let mut command = process::command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // Another apt on the machine and a mirror's hiccup are both worth a wait.
    command.args([
        "-o",
        "DPkg::Lock::Timeout=120",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "Dpkg::Use-Pty=0",
        "-q",
    ]);
    command
}

/// Forbids packages to start their services while it exists (Debian policy 9.3.3).
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn enforce() -> Result<Self> {
        let path = Path::new(POLICY);
        if path.exists() {
            // The machine has a policy of its own; containers forbid all starts, as we would.
            return Ok(Self { ours: false });
        }
        let write = || {
            fs::write(path, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        };
        write()
            .with_context(|| format!("cannot write {POLICY}, which keeps packages from starting services"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Installs the missing ones of `tools`, or says how.
pub fn ensure(tools: &'static [Tool]) -> Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        println!("    missing: {} ({})", tool.binary, tool.what_for);
    }
    let packages: Vec<String> = missing.iter().map(|tool| tool.package.to_owned()).collect();
    if let Some(why) = cannot_install() {
        bail!(
            "cannot install test tools ({why})\n  run: sudo apt-get install {}",
            packages.join(" ")
        );
    }
    install(&packages)?;
    let still: Vec<_> = self::missing(tools).iter().map(|tool| tool.binary).collect();
    if still.is_empty() {
        Ok(())
    } else {
        bail!("not found after installation: {}", still.join(", "))
    }
}
