//! The dashboard on a real pseudo-terminal: on every way out the terminal is as it was before.

#![expect(clippy::print_stdout, reason = "a test program says what it skips")]

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tfo_cli::{
    model::Model,
    signals::{JobControl, Stop},
    tui,
};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often is looked.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Part of the last line of every frame.
const FRAME: &str = "quit";
/// Characters of a typescript a failed test shows.
const SHOWN: usize = 800;
/// Makes [`panics_where_asked`] panic.
const PANIC: &str = "TFO_CLI_TEST_PANIC";

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const NO_MOUSE: &str = "\x1b[?1000l";

/// Has the shell that starts the program outlive its terminal, to tell how the program ended.
const SURVIVE_HANGUP: &str = "trap : HUP";

/// A program on a terminal of its own, as `script` makes one.
struct OnTerminal {
    script: Child,
    directory: PathBuf,
}

impl OnTerminal {
    /// Starts it; `None` where there is no `script`.
    fn start(name: &str, program: &str, arguments: &str) -> Option<Self> {
        Self::start_with("", name, program, arguments)
    }

    /// The same, with another program in front that starts it.
    fn start_with(prefix: &str, name: &str, program: &str, arguments: &str) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("tfo-cli-terminal-{name}-{}", std::process::id()));
        // Of a run that was killed and had the same number.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory for the typescript");
        // The number of the process, and how the terminal was before and after it.
        let shell = format!(
            "{SURVIVE_HANGUP}\nstty rows 24 cols 80\nstty -a >before\n\
             sh -c 'echo $$ >pid; exec \"$@\"' sh {prefix} '{program}' {arguments}\n\
             code=$?\nstty -a >after\necho $code >code\nexit $code\n"
        );
        fs::write(directory.join("run.sh"), shell).expect("the script is written");
        let script = Command::new("script")
            .args(["-qfec", "sh run.sh", "typescript"])
            .current_dir(&directory)
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env("XDG_CONFIG_HOME", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match script {
            Ok(script) => Some(Self { script, directory }),
            Err(error) => {
                println!("skipped: script: {error}");
                let _ = fs::remove_dir_all(&directory);
                None
            }
        }
    }

    /// Starts the dashboard and waits for its first frame.
    fn dashboard(name: &str) -> Option<Self> {
        Self::dashboard_with("", name)
    }

    /// The same, with another program in front that starts it.
    fn dashboard_with(prefix: &str, name: &str) -> Option<Self> {
        let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo");
        let arguments = format!("top --replay '{recording}'");
        let this = Self::start_with(prefix, name, env!("CARGO_BIN_EXE_tfo-cli"), &arguments)?;
        this.wait_for("the first frame", |this| this.typescript().contains(FRAME));
        Some(this)
    }

    fn file(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the terminal was sent so far.
    fn typescript(&self) -> String {
        self.file("typescript")
    }

    /// The end of that, for people.
    fn end(&self) -> String {
        let text = self.typescript();
        let skipped = text.chars().count().saturating_sub(SHOWN);
        format!("{:?}", text.chars().skip(skipped).collect::<String>())
    }

    fn wait_for(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < end, "no {what}: {}", self.end());
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.file("pid").trim().parse().expect("the number of a process"))
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the program is there");
    }

    fn press(&mut self, keys: &[u8]) {
        let terminal = self.script.stdin.as_mut().expect("a pipe");
        terminal
            .write_all(keys)
            .and_then(|()| terminal.flush())
            .expect("script reads keys");
    }

    /// Waits for the end, and looks at what was left behind.
    fn ends_with(&mut self, code: i32) {
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.script.try_wait().expect("script is a child") {
                break status;
            }
            assert!(Instant::now() < end, "it goes on: {}", self.end());
            thread::sleep(POLL_INTERVAL);
        };
        let text = self.typescript();
        assert_eq!(status.code(), Some(code), "{}", self.end());
        assert!(
            text.rfind(ENTER) < text.rfind(LEAVE),
            "alternate screen: {}",
            self.end()
        );
        assert!(
            text.rfind(HIDE_CURSOR) < text.rfind(SHOW_CURSOR),
            "cursor: {}",
            self.end()
        );
        assert!(text.rfind(ENTER) < text.rfind(NO_MOUSE), "mouse: {}", self.end());
        assert!(!self.file("before").is_empty());
        assert_eq!(self.file("before"), self.file("after"), "modes of the terminal");
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

#[test]
fn keys_leave_the_terminal_as_it_was() {
    for (name, key) in [("q", b"q"), ("ctrl-c", b"\x03")] {
        let Some(mut dashboard) = OnTerminal::dashboard(name) else {
            return;
        };
        dashboard.press(key);
        dashboard.ends_with(0);
    }
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let Some(mut dashboard) = OnTerminal::dashboard(signal.as_str()) else {
            return;
        };
        dashboard.signal(signal);
        dashboard.ends_with(0);
    }
}

/// A connection of ssh that breaks, an emulator that is closed. Reading such a terminal gives nothing at once, again and
/// again: whoever waits for a key there takes all of a processor.
#[test]
fn a_terminal_that_goes_away_ends_it() {
    // Whoever ignores SIGHUP (`nohup`, `trap '' HUP`) finds out when it draws.
    for (name, prefix) in [("hangup", ""), ("nohup", "env --ignore-signal=HUP")] {
        let Some(mut dashboard) = OnTerminal::dashboard_with(prefix, name) else {
            return;
        };
        dashboard.script.kill().expect("script is there");
        let _ = dashboard.script.wait();
        dashboard.wait_for("end", |this| !this.file("code").is_empty());
        assert_eq!(dashboard.file("code").trim(), "0", "{name}");
    }
}

#[test]
fn a_stopped_dashboard_gives_the_terminal_back_and_takes_it_again() {
    let Some(mut dashboard) = OnTerminal::dashboard("stop") else {
        return;
    };
    dashboard.signal(Signal::SIGTSTP);
    let stat = PathBuf::from(format!("/proc/{}/stat", dashboard.pid()));
    dashboard.wait_for("stop", |_| {
        let stat = fs::read_to_string(&stat).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    });
    // `script` writes down what the dashboard said a moment after it was said.
    dashboard.wait_for("the screen given back", |this| {
        let text = this.typescript();
        text.rfind(ENTER) < text.rfind(LEAVE)
    });
    dashboard.signal(Signal::SIGCONT);
    dashboard.wait_for("second frame", |this| {
        let text = this.typescript();
        text.matches(ENTER).count() > 1
            && text
                .rsplit(ENTER)
                .next()
                .is_some_and(|frame| frame.contains(FRAME))
    });
    dashboard.press(b"q");
    dashboard.ends_with(0);
}

#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    let program = std::env::current_exe().expect("this program");
    let arguments = format!(
        "{PANIC}=1 '{}' --exact panics_where_asked --nocapture",
        program.display()
    );
    let Some(mut panicking) = OnTerminal::start("panic", "env", &arguments) else {
        return;
    };
    // What a failed test ends with; a panic of the program itself ends so, too.
    panicking.ends_with(101);
    let text = panicking.typescript();
    assert!(text.contains(FRAME), "a frame was drawn: {}", panicking.end());
    assert!(
        text.matches(LEAVE).count() == 1 && text.find(LEAVE) < text.find("made to panic"),
        "the message can be read: {}",
        panicking.end()
    );
}

/// Shows one frame, then panics.
#[derive(Default)]
struct Panicking(std::sync::atomic::AtomicU64);

impl tui::ModelHandle for Panicking {
    fn generation(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn state(&self) -> tui::ModelState {
        let seen = self.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(seen < 3, "made to panic");
        let model = Model::default();
        tui::ModelState {
            snapshot: model.snapshot(),
            history: model.history(),
            status: Vec::new(),
        }
    }

    fn clear(&self) {}
}

/// The program under [`a_panic_leaves_the_terminal_as_it_was`].
#[test]
fn panics_where_asked() {
    if std::env::var_os(PANIC).is_none() {
        return;
    }
    let shown = tui::run(
        &tui::Options::default(),
        &Panicking::default(),
        None,
        &Stop::default(),
        &JobControl::default(),
    );
    shown.expect("it panics before");
}
