//! A program on a pseudo-terminal that `script` makes: the test types keys and reads the screen.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::support::{BINARY, NO_CONFIG, wait_until};

const COLUMNS: usize = 120;
const LINES: usize = 40;

/// The program, and the directory of its typescript.
pub struct OnTerminal {
    script: Child,
    directory: PathBuf,
}

impl OnTerminal {
    /// Starts `tfo-cli` with these arguments.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("tfo-cli-pty-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).context("a directory for the typescript")?;
        let quoted: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let line = format!(
            "stty rows {LINES} cols {COLUMNS}; exec '{BINARY}' {}",
            quoted.join(" ")
        );
        let script = Command::new("script")
            .args(["-qfec", &line, "typescript"])
            .current_dir(&directory)
            .envs(NO_CONFIG)
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("script: starting it")?;
        Ok(Self { script, directory })
    }

    /// Everything the terminal was sent so far.
    pub fn typescript(&self) -> String {
        let bytes = fs::read(self.directory.join("typescript")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until something is on the screen.
    pub fn await_text(&self, text: &str) -> Result<()> {
        wait_until(text, || Ok(screen(&self.typescript()).contains(text)))
            .with_context(|| format!("on the screen:\n{}", screen(&self.typescript())))
    }

    /// Waits until something is not on the screen any more.
    pub fn await_no_text(&self, text: &str) -> Result<()> {
        wait_until(&format!("the end of {text}"), || {
            Ok(!screen(&self.typescript()).contains(text))
        })
        .with_context(|| format!("on the screen:\n{}", screen(&self.typescript())))
    }

    /// Waits until it says something, on the screen or after it.
    pub fn await_said(&self, text: &str) -> Result<()> {
        wait_until(text, || Ok(self.typescript().contains(text)))
    }

    /// Types these keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let terminal = self.script.stdin.as_mut().context("script has no stdin")?;
        terminal.write_all(keys.as_bytes())?;
        Ok(terminal.flush()?)
    }

    /// Waits for the end of the program; returns what it printed after it had restored the terminal.
    pub fn ended(&mut self) -> Result<String> {
        let mut status = None;
        wait_until("the end of the program", || {
            status = self.script.try_wait()?;
            Ok(status.is_some())
        })?;
        let text = self.typescript();
        ensure!(
            status.is_some_and(|status| status.success()),
            "{status:?}: {text}"
        );
        let (_, after) = text
            .rsplit_once("\x1b[?1049l")
            .context("it did not give the screen back")?;
        Ok(after.to_owned())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Where a test failed something may still run: it ends with its terminal.
        let _ = self.script.kill();
        let _ = self.script.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What a terminal shows that was sent this: characters, places and clearing, which is all the dashboard uses.
fn screen(typescript: &str) -> String {
    let mut lines = vec![[' '; COLUMNS]; LINES];
    let (mut line, mut column) = (0, 0);
    let mut characters = typescript.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                match characters.next() {
                    Some('[') => {}
                    // To the clipboard.
                    Some(']') => {
                        // It ends with BEL, or with ST, which is ESC and a backslash.
                        if characters.by_ref().find(|end| ['\x07', '\x1b'].contains(end)) == Some('\x1b') {
                            characters.next();
                        }
                        continue;
                    }
                    _ => continue,
                }
                let mut parameters = String::new();
                let last = characters.by_ref().find(|character| {
                    let is_last = ('@'..='~').contains(character);
                    parameters.extend((!is_last).then_some(*character));
                    is_last
                });
                let mut numbers = parameters
                    .split(';')
                    .map(|text| text.parse::<usize>().map_or(0, |number| number.saturating_sub(1)));
                match last {
                    Some('H') => (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
                    Some('J') => lines.fill([' '; COLUMNS]),
                    _ => {}
                }
            }
            '\n' => line += 1,
            '\r' => column = 0,
            _ => {
                if let Some(cell) = lines.get_mut(line).and_then(|line| line.get_mut(column)) {
                    *cell = character;
                }
                column += 1;
            }
        }
    }
    let text: Vec<String> = lines
        .iter()
        .map(|line| line.iter().collect::<String>().trim_end().to_owned())
        .collect();
    text.join("\n")
}
