//! `cargo xtask vm-test`: the static programs on Debian's older kernels, under software emulation.

use anyhow::{Context as _, Result, ensure};

use super::build;
use crate::packages::{self, User};
use crate::test_log::TestLog;
use crate::vm::kernel::Kernel;
use crate::vm::machine::Machine;
use crate::vm::serial::Serial;
use crate::vm::{initramfs, kernel, verdict};

pub fn run() -> Result<()> {
    packages::ensure(&[User::Vm])?;
    build::everything()?;
    let mut log = TestLog::default();
    kernels(&mut log)?;
    println!("{} passed, {} failed", log.passed, log.failed);
    Ok(())
}

/// Boots every kernel with the programs that are built; each one counts as a test.
pub fn kernels(log: &mut TestLog) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels to boot are for x86_64; use --no-vm"
    );
    let kernels = kernel::obtain_all().context("cannot get the kernels to boot")?;
    let initramfs = initramfs::pack(&["tfo-cli", "tfo-lab"].map(build::program_path), &kernels)?;
    // All at once: emulation keeps one core busy each.
    let machines: Vec<_> = kernels
        .iter()
        .map(|kernel| Machine::boot(kernel, &initramfs))
        .collect::<Result<_>>()?;
    let mut failed = Vec::new();
    for (kernel, machine) in kernels.iter().zip(machines) {
        let place = machine.log.clone();
        let verdict = machine.output().and_then(|output| judge(kernel, &output));
        crate::interrupt::check()?;
        match verdict {
            Ok(()) => log.passed += 1,
            Err(error) => {
                println!(
                    "    {}: FAILED: {error:#}\n    log: {}",
                    kernel.version,
                    place.display()
                );
                log.failed += 1;
                failed.push(kernel.version.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "failed on {}", failed.join(", "));
    Ok(())
}

fn judge(kernel: &Kernel, output: &str) -> Result<()> {
    let serial = Serial::parse(output)?;
    ensure!(
        serial.lines("kernel").any(|line| line == kernel.version),
        "another kernel was booted"
    );
    let verdict = verdict::Verdict::of(&serial)?;
    println!("    {}: {verdict}", kernel.version);
    for degradation in &verdict.degradations {
        println!("      {degradation}");
    }
    for problem in &verdict.problems {
        println!("      wrong: {problem}");
    }
    ensure!(verdict.problems.is_empty(), "{} findings", verdict.problems.len());
    Ok(())
}
