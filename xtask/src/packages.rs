//! What the chores need from the system, and apt-get to install it. The one list of such programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::interrupt::{self, Interrupted};
use crate::process;

/// Who calls for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    Lab,
    Tests,
    Vm,
    Bench,
    Fuzz,
}

/// Everyone.
pub const ALL_USERS: [User; 5] = [User::Lab, User::Tests, User::Vm, User::Bench, User::Fuzz];

/// A program, the Debian package that has it, and what it is needed for.
pub struct Tool {
    binary: &'static str,
    package: &'static str,
    users: &'static [User],
    what_for: &'static str,
}

const TOOLS: [Tool; 19] = [
    tool("ip", "iproute2", &[User::Lab], "namespaces and veth pairs"),
    tool(
        "nft",
        "nftables",
        &[User::Lab],
        "the middlebox that drops or strips",
    ),
    tool(
        "nginx",
        "nginx",
        &[User::Tests, User::Bench],
        "a server nobody here wrote",
    ),
    tool("curl", "curl", &[User::Tests], "a client nobody here wrote"),
    tool(
        "wget2",
        "wget2",
        &[User::Tests],
        "a client that uses Fast Open unasked",
    ),
    tool(
        "unbound",
        "unbound",
        &[User::Tests],
        "a resolver with Fast Open at both ends",
    ),
    tool(
        "bpftool",
        "bpftool",
        &[User::Tests, User::Bench],
        "programs as the kernel lists them, and what they cost",
    ),
    tool(
        "systemd-analyze",
        "systemd",
        &[User::Tests],
        "whether systemd takes the units; it is not run",
    ),
    tool(
        "ethtool",
        "ethtool",
        &[User::Tests],
        "checksum offload on and off",
    ),
    tool(
        "tcpdump",
        "tcpdump",
        &[User::Tests, User::Bench],
        "what was really on the wire",
    ),
    tool("tmux", "tmux", &[User::Tests], "`tfo-cli top` on a terminal"),
    tool(
        "script",
        "bsdutils",
        &[User::Bench],
        "`tfo-cli top` on a terminal",
    ),
    tool(
        "tshark",
        "tshark",
        &[User::Bench],
        "what `analyze` is compared with",
    ),
    tool(
        "tcplife",
        "libbpf-tools",
        &[User::Bench],
        "what tfo-cli is compared with",
    ),
    tool(
        "bpftrace",
        "bpftrace",
        &[User::Bench],
        "a counter that tfo-cli is compared with",
    ),
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        &[User::Vm],
        "boots older kernels",
    ),
    tool("busybox", "busybox-static", &[User::Vm], "shell of the initramfs"),
    tool("cpio", "cpio", &[User::Vm], "packs the initramfs"),
    tool("c++", "g++", &[User::Fuzz], "compiles LLVM's fuzzer"),
];

const fn tool(
    binary: &'static str,
    package: &'static str,
    users: &'static [User],
    what_for: &'static str,
) -> Tool {
    Tool {
        binary,
        package,
        users,
        what_for,
    }
}

fn missing(users: &[User]) -> Vec<&'static Tool> {
    let wanted = TOOLS
        .iter()
        .filter(|tool| tool.users.iter().any(|user| users.contains(user)));
    wanted
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
    // Debian enables units for the next boot; a test tool must not leave a server behind.
    for server in ["nginx", "unbound"] {
        if packages.iter().any(|package| package == server) && process::find("systemctl").is_some() {
            let unit = format!("{server}.service");
            let _ = process::output(process::command("systemctl").args(["disable", &unit]));
        }
    }
    Ok(())
}

/// Refreshes the package lists, once. Whoever else refreshes them is waited for: `DPkg::Lock::Timeout` does not
/// cover their lock (seen with apt 2.6.1).
pub fn update() -> Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    const ATTEMPTS: u32 = 12;
    const PAUSE: Duration = Duration::from_secs(10);
    if DONE.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut attempts = 1;
    while let Err(error) = process::run(apt_get().args(["update", "--quiet"])) {
        if attempts == ATTEMPTS || error.is::<Interrupted>() {
            return Err(error.context("cannot refresh the package lists"));
        }
        interrupt::sleep(PAUSE)?;
        attempts += 1;
    }
    DONE.store(true, Ordering::Relaxed);
    Ok(())
}

/// `apt-get` as we call it.
pub fn apt_get() -> std::process::Command {
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

/// Installs the programs that these users lack, or says how.
pub fn ensure(users: &[User]) -> Result<()> {
    let missing = missing(users);
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        println!(
            "    missing: {} ({:?}: {})",
            tool.binary, tool.users, tool.what_for
        );
    }
    let packages: Vec<String> = missing.iter().map(|tool| tool.package.to_owned()).collect();
    if let Some(why) = cannot_install() {
        let packages = packages.join(" ");
        bail!(
            "cannot install programs ({why})\n  run: sudo apt-get install --no-install-recommends {packages}"
        );
    }
    install(&packages)?;
    let still: Vec<_> = self::missing(users).iter().map(|tool| tool.binary).collect();
    if still.is_empty() {
        Ok(())
    } else {
        bail!("not found after installation: {}", still.join(", "))
    }
}
