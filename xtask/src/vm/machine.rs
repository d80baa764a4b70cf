//! One emulated machine: qemu, its serial log on disk, and a deadline.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use crate::process::Running;
use crate::{interrupt, workspace};

/// Booting takes about 12 s and a SYN timeout in the scenario seconds; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_mins(4);

/// A machine that was started; dropping it kills qemu.
pub struct Machine {
    qemu: Running,
    pub log: PathBuf,
    deadline: Instant,
}

impl Machine {
    /// Boots a kernel. KVM is not used: it does not work everywhere this has to.
    pub fn boot(kernel: &Kernel, initramfs: &Path) -> Result<Self> {
        let log = workspace::target("vm").join(format!("{}.log", kernel.version));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file
            .try_clone()
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "1024",
                "-nic",
                "none",
                "-nographic",
                "-no-reboot",
            ])
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
            deadline: Instant::now() + DEADLINE,
        })
    }

    /// Waits until the machine is off, and returns everything it said.
    pub fn output(mut self) -> Result<String> {
        loop {
            if self.qemu.poll()?.is_some() {
                break;
            }
            // What it said before it hung is worth reading, so this is no error yet.
            if Instant::now() >= self.deadline {
                break;
            }
            interrupt::sleep(Duration::from_millis(100))?;
        }
        let log = self.log.clone();
        drop(self);
        let bytes = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
