//! The initramfs of an emulated machine: busybox, our static programs, and `init.sh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use crate::{process, workspace};

/// Packs the programs and the modules of all kernels; returns the path of the archive, which boots with any of the
/// kernels.
pub fn pack(programs: &[PathBuf], kernels: &[Kernel]) -> Result<PathBuf> {
    let root = workspace::target("vm/root");
    let archive = workspace::target("vm/initramfs.cpio");
    let _ = fs::remove_dir_all(&root);
    for directory in ["bin", "dev", "proc", "sys", "tmp"] {
        let path = root.join(directory);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let busybox = process::find("busybox").context("busybox is not installed (package busybox-static)")?;
    for program in programs.iter().chain([&busybox]) {
        let name = program.file_name().context("a program needs a file name")?;
        copy_executable(program, &root.join("bin").join(name))?;
    }
    for kernel in kernels {
        let directory = root.join("modules").join(&kernel.version);
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        for (number, module) in kernel.modules.iter().enumerate() {
            let name = module.file_name().context("a module needs a file name")?;
            // The number gives the order of loading, in which a shell lists the files.
            let to = directory.join(format!("{number}-{}", name.display()));
            fs::copy(module, &to).with_context(|| format!("cannot copy {}", module.display()))?;
        }
    }
    let init = root.join("init");
    fs::write(&init, include_str!("init.sh")).with_context(|| format!("cannot write {}", init.display()))?;
    make_executable(&init)?;

    let mut cpio = Command::new("sh");
    // Not compressed: the emulated machine would take longer to unpack it than qemu takes to load it.
    cpio.args(["-c", r#"find . | cpio --quiet -o -H newc -R 0:0 > "$1""#, "sh"])
        .arg(&archive);
    process::output(cpio.current_dir(&root)).context("cannot pack the initramfs")?;
    Ok(archive)
}

fn copy_executable(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    make_executable(to)
}

fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}
