//! Splits the serial log of a machine at the markers that `init.sh` prints.

use std::collections::HashMap;

use anyhow::{Result, bail};

/// The beginning of a line that starts a section.
const MARKER: &str = "=== vm: ";

/// The sections of a complete log.
#[derive(Debug)]
pub struct Serial {
    sections: HashMap<String, Vec<String>>,
}

impl Serial {
    /// Splits a log. The error of one that is not complete has its last lines.
    pub fn parse(log: &str) -> Result<Self> {
        let mut sections: HashMap<String, Vec<String>> = HashMap::new();
        let mut current = None;
        for line in log.lines().map(|line| line.trim_end_matches('\r')) {
            if let Some(name) = line.strip_prefix(MARKER) {
                sections.entry(name.to_owned()).or_default();
                current = Some(name.to_owned());
            } else if let Some(lines) = current.as_ref().and_then(|name| sections.get_mut(name)) {
                lines.push(line.to_owned());
            }
        }
        if !sections.contains_key("end") {
            let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let tail = lines
                .get(lines.len().saturating_sub(15)..)
                .unwrap_or_default()
                .join("\n");
            bail!("the machine did not finish; its last words:\n{tail}");
        }
        Ok(Self { sections })
    }

    /// The lines of a section that are not blank.
    pub fn lines(&self, section: &str) -> impl Iterator<Item = &str> {
        let lines = self.sections.get(section).map(Vec::as_slice).unwrap_or_default();
        lines
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty())
    }

    /// The exit code of a program that `init.sh` ran, such as `trace`.
    pub fn exit_code(&self, program: &str) -> Option<i32> {
        self.lines("exit")
            .find_map(|line| line.strip_prefix(program)?.trim().parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "SeaBIOS\r\n\r\n=== vm: kernel\r\n6.1.0-56-cloud-amd64\r\n\r\n=== vm: scenario\r\n{\"a\":1}\r\n\
        {\"a\":2}\r\n\r\n=== vm: exit\r\ntrace 0\r\nscenario 3\r\n\r\n=== vm: end\r\n";

    #[test]
    fn takes_sections_apart() {
        let serial = Serial::parse(LOG).unwrap();
        assert_eq!(
            serial.lines("kernel").collect::<Vec<_>>(),
            ["6.1.0-56-cloud-amd64"]
        );
        assert_eq!(serial.lines("scenario").count(), 2);
        assert_eq!(serial.lines("absent").count(), 0);
        assert_eq!(serial.exit_code("trace"), Some(0));
        assert_eq!(serial.exit_code("scenario"), Some(3));
        assert_eq!(serial.exit_code("other"), None);
    }

    #[test]
    fn a_panic_is_an_error_with_the_last_words() {
        let error = Serial::parse("=== vm: kernel\r\n6.1\r\nKernel panic - not syncing\r\n").unwrap_err();
        assert!(error.to_string().contains("Kernel panic"), "{error}");
    }
}
