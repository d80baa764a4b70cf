//! The load generator, `tfo-lab load`: connections in flight from every core, in a namespace of its own.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::commands::program_path;
use crate::process::{self, Running};

/// Which kind of connection the load consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tfo,
    Plain,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tfo => "TFO",
            Self::Plain => "plain",
        }
    }
}

/// What the generator is asked for.
#[derive(Debug, Clone)]
pub struct Shape {
    pub kind: Kind,
    pub seconds: f64,
    /// More of its options.
    pub options: Vec<String>,
}

impl Shape {
    /// As many connections as the machine makes, from every core.
    pub fn fastest(kind: Kind, seconds: impl Into<f64>) -> Self {
        Self {
            kind,
            seconds: seconds.into(),
            options: Vec::new(),
        }
    }

    /// The same from threads that have both ends of their connections: nobody waits for anybody.
    pub fn both_ends(kind: Kind, seconds: impl Into<f64>) -> Self {
        Self::fastest(kind, seconds).with("--both-ends")
    }

    /// One connection after another: client and server take turns, so that each finds cold caches.
    pub fn in_turns(kind: Kind, seconds: impl Into<f64>) -> Self {
        Self::fastest(kind, seconds).with("--threads 1 --in-flight 1")
    }

    /// No more than so many connections per second.
    pub fn at_rate(self, rate: u32) -> Self {
        self.with(&format!("--rate {rate}"))
    }

    /// With these options as well, which have no spaces in them.
    pub fn with(mut self, options: &str) -> Self {
        self.options.extend(options.split(' ').map(str::to_owned));
        self
    }

    /// With a shell command in the same network namespace.
    pub fn beside(mut self, command: &str) -> Self {
        self.options.extend(["--beside".to_owned(), command.to_owned()]);
        self
    }

    /// Generates it.
    pub fn run(&self) -> Result<Load> {
        let mut command = Command::new(program_path("tfo-lab"));
        command.args(["load", "--json", "--seconds", &self.seconds.to_string()]);
        if self.kind == Kind::Plain {
            command.arg("--plain");
        }
        command.args(&self.options);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut last = String::new();
        let status =
            process::wait_with_lines(Running::start(&mut command)?, |line| line.clone_into(&mut last))?;
        ensure!(
            status.success(),
            "`{}` failed ({status})",
            process::show(&command)
        );
        let load = Load::parse(&last).with_context(|| format!("tfo-lab load printed `{last}`"))?;
        ensure!(
            load.connections > 0 && load.seconds > 0.0,
            "tfo-lab load made no connection: `{last}`"
        );
        Ok(load)
    }
}

/// What one run of the generator did.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub connections: u64,
    pub seconds: f64,
}

impl Load {
    /// As many connections as the machine makes, for some seconds.
    pub fn run(kind: Kind, seconds: impl Into<f64>) -> Result<Self> {
        Shape::fastest(kind, seconds).run()
    }

    fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).context("that is not JSON")?;
        let errors = value["errors"].as_u64().context("no number `errors`")?;
        ensure!(
            errors == 0,
            "{errors} connections failed: the numbers would mean nothing"
        );
        Ok(Self {
            connections: value["connections"].as_u64().context("no number `connections`")?,
            seconds: value["seconds"].as_f64().context("no number `seconds`")?,
        })
    }

    pub fn per_second(&self) -> f64 {
        self.connections as f64 / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_generators_line() {
        let load = Load::parse(r#"{"connections":5000,"accepted":4990,"errors":0,"seconds":2.5}"#).unwrap();
        assert_eq!(
            load,
            Load {
                connections: 5000,
                seconds: 2.5
            }
        );
        assert!((load.per_second() - 2000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_load_with_errors_is_no_measurement() {
        assert!(Load::parse(r#"{"connections":5,"accepted":4,"errors":1,"seconds":2}"#).is_err());
        assert!(Load::parse("no route to host").is_err());
    }
}
