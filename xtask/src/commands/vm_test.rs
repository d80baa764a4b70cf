//! `cargo xtask vm-test`: boots Debian's kernels under software emulation and checks the static programs there.

use std::collections::VecDeque;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::build;
use crate::packages::{self, User};
use crate::test_log::TestLog;
use crate::vm::kernel::{self, Kernel, MachineSpec};
use crate::vm::machine::Machine;
use crate::vm::release::Series;
use crate::vm::report::{Entry, Report};
use crate::vm::serial::Serial;
use crate::vm::verdict::Verdict;
use crate::vm::{document, initramfs};
use crate::{interrupt, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Boot one kernel only: the newest of a series (6.12), the newest there is (newest), or an image
    #[arg(long, value_name = "SERIES|PATH", value_parser = MachineSpec::parse)]
    kernel: Option<MachineSpec>,
    /// Write docs/kernels.md and docs/kernels.json from what was found
    #[arg(long, conflicts_with = "kernel")]
    bless: bool,
    /// Boot nothing: write docs/kernels.md again from docs/kernels.json, after its wording has changed
    #[arg(long, conflicts_with_all = ["kernel", "bless"])]
    reword: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let json = workspace::root().join("docs/kernels.json");
    if args.reword {
        let text = fs::read_to_string(&json).with_context(|| format!("cannot read {}", json.display()))?;
        return document(&Report::read(&text)?);
    }
    packages::ensure(&[User::Vm])?;
    build::everything()?;
    let mut log = TestLog::default();
    let machines = match &args.kernel {
        Some(machines) => std::slice::from_ref(machines),
        None => &kernel::MATRIX,
    };
    let mut report = boot_all(machines, &mut log)?;
    if args.bless {
        report.write(&json)?;
        document(&report)?;
    }
    println!("{} passed, {} failed", log.passed, log.failed);
    ensure!(log.failed == 0, "a kernel has findings");
    Ok(())
}

fn document(report: &Report) -> Result<()> {
    let path = workspace::root().join("docs/kernels.md");
    fs::write(&path, document::write(report)).with_context(|| format!("cannot write {}", path.display()))
}

/// Boots these kernels with the programs that are built; each one counts as a test.
pub fn kernels(machines: &[MachineSpec], log: &mut TestLog) -> Result<()> {
    boot_all(machines, log)?;
    ensure!(log.failed == 0, "a kernel has findings");
    Ok(())
}

/// Time between two looks at the running machines.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

fn boot_all(machines: &[MachineSpec], log: &mut TestLog) -> Result<Report> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels to boot are for x86_64; use --no-vm"
    );
    let kernels = kernel::obtain(machines).context("cannot get the kernels to boot")?;
    let initramfs = initramfs::pack(&["tfo-cli", "tfo-lab"].map(build::program_path), &kernels)?;
    // Each emulated machine keeps a core busy.
    let max_running = thread::available_parallelism().map_or(1, usize::from);
    let mut waiting: VecDeque<_> = kernels.iter().collect();
    let mut running: Vec<(&Kernel, Machine)> = Vec::new();
    let mut report = Report::default();
    while !(waiting.is_empty() && running.is_empty()) {
        while running.len() < max_running
            && let Some(kernel) = waiting.pop_front()
        {
            running.push((kernel, Machine::boot(kernel, &initramfs)?));
        }
        interrupt::sleep(POLL_INTERVAL)?;
        let mut still = Vec::new();
        for (kernel, mut machine) in running {
            match machine.output()? {
                None => still.push((kernel, machine)),
                Some(output) => {
                    let entry = judge(kernel, &machine, &output, log);
                    interrupt::check()?;
                    match &entry {
                        Some(entry) if entry.findings.is_empty() => log.passed += 1,
                        _ => log.failed += 1,
                    }
                    report.kernels.extend(entry);
                }
            }
        }
        running = still;
    }
    report.write(&workspace::target("vm/report.json"))?;
    Ok(report)
}

/// Prints the result of a boot: a line that begins with the kernel's version and ends with `N findings`, then the
/// findings. `None` when the machine did not finish.
fn judge(kernel: &Kernel, machine: &Machine, output: &str, log: &mut TestLog) -> Option<Entry> {
    let took = machine.age().as_secs();
    match verdict(kernel, output) {
        Ok(Booted {
            version,
            series,
            verdict,
        }) => {
            let line = format!("{version}: {} CPUs, {took} s, {verdict}", kernel.cpus);
            println!("{line}");
            log.notes.push(line);
            for degradation in &verdict.degradations {
                println!("      degraded: {degradation}");
            }
            for problem in &verdict.problems {
                println!("      wrong: {problem}");
            }
            Some(Entry::of(&version, series, kernel.cpus, verdict))
        }
        Err(error) => {
            let version = &kernel.version;
            println!(
                "{version}: {} CPUs, {took} s, did not come to its end, 1 findings",
                kernel.cpus
            );
            println!("      wrong: {error:#}\n      log: {}", machine.log.display());
            None
        }
    }
}

/// The verdict about a machine that has finished.
struct Booted {
    /// The release, as `uname -r` printed it.
    version: String,
    series: Series,
    verdict: Verdict,
}

fn verdict(kernel: &Kernel, output: &str) -> Result<Booted> {
    let serial = Serial::parse(output)?;
    let version = serial
        .lines("kernel")
        .next()
        .context("the machine did not name its kernel")?;
    ensure!(
        !kernel.is_packaged || version == kernel.version,
        "another kernel was booted: {version}"
    );
    let series = Series::of(version)?;
    Ok(Booted {
        version: version.to_owned(),
        series,
        verdict: Verdict::of(&serial, series)?,
    })
}
