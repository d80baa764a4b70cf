//! Runs the external tools that the lab needs (`ip`, `nft` and others), with errors that say what to do.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs `program` with `args` and returns its standard output.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    run_with_input(program, args, "")
}

/// Runs `program` with `args`, feeds it `input`, and returns its standard output.
///
/// A non-zero exit is an error that carries the command line and what the tool wrote to stderr.
pub fn run_with_input(program: &str, args: &[&str], input: &str) -> Result<String> {
    let output = capture(program, args, input)?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn capture(program: &str, args: &[&str], input: &str) -> Result<Output> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program}: cannot start it; is its package installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that fails early closes its input; its exit status says more than our EPIPE.
        let _ = stdin.write_all(input.as_bytes());
    }
    child
        .wait_with_output()
        .with_context(|| format!("{program}: waiting for it"))
}

/// Whether `program` can be found in `PATH`.
pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
