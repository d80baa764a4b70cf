//! An emulated machine: qemu, its serial log on disk, and a deadline.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use crate::process::Running;
use crate::workspace;

/// How long a machine may take. Booting takes about 12 s, and a SYN timeout of the scenario seconds; the rest is for a
/// busy host.
const DEADLINE: Duration = Duration::from_mins(6);

/// A running machine; dropping it kills qemu.
pub struct Machine {
    qemu: Running,
    pub log: PathBuf,
    started: Instant,
}

impl Machine {
    /// Boots a kernel, without KVM, which is not available everywhere.
    pub fn boot(kernel: &Kernel, initramfs: &Path) -> Result<Self> {
        let log = workspace::target("vm").join(format!("{}.log", kernel.version));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file
            .try_clone()
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"])
            .args(["-smp", &kernel.cpus.to_string()])
            .args(["-nic", "none", "-nographic", "-no-reboot"])
            .args(["-append", "console=ttyS0 panic=-1 quiet"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors);
        let qemu = Running::start(&mut command)?;
        Ok(Self {
            qemu,
            log,
            started: Instant::now(),
        })
    }

    /// Time since the start of the machine.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The serial log, once the machine is off or its time is over; `None` while it runs.
    pub fn output(&mut self) -> Result<Option<String>> {
        if self.qemu.poll()?.is_none() && self.age() < DEADLINE {
            return Ok(None);
        }
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
