//! Commands that end by themselves: runs them, and reads their JSON line by line.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::command;

use super::{BINARY, NO_CONFIG, ground::temporary_directory};

/// What it wrote, and how it ended.
#[derive(Debug)]
pub struct Once {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program as root.
pub fn run(args: &[&str]) -> Result<Once> {
    once(Command::new(BINARY).args(args))
}

/// Runs any command that ends up in the program.
pub fn once(command: &mut Command) -> Result<Once> {
    let output: Output = command
        .envs(NO_CONFIG)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}: starting it"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Once {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}

impl Once {
    /// Ends the test unless it ended with this code.
    pub fn ended(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "expected exit {code}: {self:?}");
        Ok(self)
    }

    /// Its objects, each of schema 1 and of this type, with an id of its own.
    pub fn objects(&self, kind: &str) -> Result<Vec<Value>> {
        let objects: Vec<Value> = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect::<Result<_>>()?;
        let mut ids = std::collections::BTreeSet::new();
        for object in &objects {
            super::schema::check(object);
            let is_right = object["schema"] == 1 && object["type"] == kind && object["id"].is_string();
            ensure!(is_right, "no {kind} of schema 1 with an id: {object}");
            ensure!(
                ids.insert(object["id"].to_string()),
                "an id is there twice: {object}"
            );
        }
        Ok(objects)
    }
}

/// A copy of the program that every user may run: the build directory may be root's alone.
pub struct Copy {
    directory: PathBuf,
}

impl Copy {
    pub fn make() -> Result<Self> {
        let copy = Self {
            directory: temporary_directory()?,
        };
        std::fs::copy(BINARY, copy.path()).context("copying the program")?;
        let directory = copy.directory.to_string_lossy().into_owned();
        command::run("chmod", &["--recursive", "a+rx", &directory])?;
        Ok(copy)
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join("tfo-cli")
    }

    /// Runs it as nobody, without any right, inside a network namespace.
    pub fn run_as_nobody(&self, netns: &str, args: &[&str]) -> Result<Once> {
        // Not `ip netns exec`: that mounts a /sys without cgroups.
        let mut command = Command::new("nsenter");
        command.args([
            &format!("--net=/run/netns/{netns}"),
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
        ]);
        command.args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        once(command.arg(Path::new(&self.path())).args(args))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
