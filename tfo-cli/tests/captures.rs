//! `analyze` as a user runs it: with a compressed file, a live pipe, and an interrupt.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// `tfo-cli analyze` with these arguments.
fn analyze(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfo-cli"));
    command.arg("analyze").args(words);
    command
}

/// A pcap of raw IP with one connection whose SYN data is accepted.
fn capture() -> Vec<u8> {
    let mut file = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0,
    ];
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let ack = Packet {
        us: 0,
        to_server: true,
        flags: 0x10,
        sequence: 0,
        acknowledgement: 0,
        options: &[],
        data: b"",
    };
    for packet in [
        Packet {
            flags: 0x02,
            sequence: 1_000,
            options: &cookie,
            data: b"data",
            ..ack
        },
        Packet {
            us: 20_000,
            to_server: false,
            flags: 0x12,
            sequence: 5_000,
            acknowledgement: 1_005,
            ..ack
        },
        Packet {
            us: 20_010,
            sequence: 1_005,
            acknowledgement: 5_001,
            ..ack
        },
        Packet {
            us: 20_020,
            to_server: false,
            sequence: 5_001,
            acknowledgement: 1_005,
            data: b"answer",
            ..ack
        },
    ] {
        packet.write(&mut file);
    }
    file
}

/// A packet of the connection.
struct Packet<'a> {
    /// Microseconds after the first packet.
    us: u32,
    to_server: bool,
    /// The TCP flags.
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    /// The TCP options, padded to a multiple of 4 bytes.
    options: &'a [u8],
    data: &'a [u8],
}

impl Packet<'_> {
    /// Appends the packet to a capture.
    fn write(&self, file: &mut Vec<u8>) {
        let Self {
            us,
            to_server,
            flags,
            sequence,
            acknowledgement,
            options,
            data,
        } = *self;
        let length = 40 + options.len() + data.len();
        for word in [
            1_767_323_045,
            us,
            u32::try_from(length).expect("it is short"),
            u32::try_from(length).expect("it is short"),
        ] {
            file.extend(word.to_le_bytes());
        }
        let (client, server) = (([192, 0, 2, 1], 40_000_u16), ([198, 51, 100, 7], 443_u16));
        let (from, to) = if to_server {
            (client, server)
        } else {
            (server, client)
        };
        file.extend([0x45, 0]);
        file.extend(u16::try_from(length).expect("it is short").to_be_bytes());
        file.extend([0, 1, 0, 0, 64, 6, 0, 0]);
        file.extend(from.0);
        file.extend(to.0);
        file.extend(from.1.to_be_bytes());
        file.extend(to.1.to_be_bytes());
        file.extend(sequence.to_be_bytes());
        file.extend(acknowledgement.to_be_bytes());
        let words = u8::try_from(5 + options.len() / 4).expect("it is short");
        file.extend([words << 4, flags, 1, 0, 0, 0, 0, 0]);
        file.extend(options);
        file.extend(data);
    }
}

/// A file that is removed at the end of the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tfo-captures-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("a file can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("it is UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).expect("memory takes it");
    packed.finish().expect("memory takes it")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn packed_files_are_read_and_cut_ones_up_to_there() {
    let bytes = packed(&capture());
    let whole = TempFile::new("whole.pcap.gz", &bytes);
    let output = analyze(&["--format", "json", whole.path()])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).matches("\"outcome\":\"accepted\"").count(), 2);

    let cut = TempFile::new("cut.pcap.gz", &bytes[..bytes.len() - 12]);
    let output = analyze(&["--format", "json", cut.path()])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("ends inside a packet"),
        "{}",
        stderr(&output)
    );

    let other = TempFile::new("other.gz", &packed(b"no capture at all"));
    let output = analyze(&[other.path()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not a capture"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn damage_is_told_with_its_place_and_by_the_exit_code() {
    let mut bytes = capture();
    bytes.extend([0; 8]);
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend([0; 100]);
    let file = TempFile::new("damaged.pcap", &bytes);
    let output = analyze(&["--format", "json", file.path()])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("after 4 packets: a block is longer"),
        "{}",
        stderr(&output)
    );
    assert!(stdout(&output).contains("\"outcome\":\"accepted\""));
}

#[test]
fn a_misspelt_name_says_so_before_anything_is_printed() {
    let file = TempFile::new("first.pcap", &capture());
    let output = analyze(&[file.path(), "/no/such/file.pcap"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && stderr(&output).contains("/no/such/file.pcap"));
}

#[test]
fn files_that_follow_on_each_other_are_one_capture() {
    let whole = capture();
    // Header and SYN; header and the rest.
    let middle = 24 + 16 + 56;
    let first = TempFile::new("1.pcap", &whole[..middle]);
    let second = TempFile::new("2.pcap", &[&whole[..24], &whole[middle..]].concat());
    let output = analyze(&["--format", "json", first.path(), second.path()])
        .output()
        .expect("it runs");
    assert_eq!(
        stdout(&output).matches("\"outcome\":\"accepted\"").count(),
        2,
        "{}",
        stdout(&output)
    );
    // The other way around nothing follows.
    let output = analyze(&["--format", "json", second.path(), first.path()])
        .output()
        .expect("it runs");
    assert!(
        !stdout(&output).contains("\"outcome\":\"accepted\""),
        "{}",
        stdout(&output)
    );
}

fn live() -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = analyze(&["--format", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, out)
}

#[test]
fn a_live_pipe_is_told_at_once_and_ends_on_an_interrupt() {
    let (mut child, mut out) = live();
    let mut pipe = child.stdin.take().expect("it is piped");
    pipe.write_all(&capture()).expect("it reads");
    pipe.flush().expect("it reads");
    // The pipe stays open: this waits for ever if the line waits for its end.
    let mut line = String::new();
    out.read_line(&mut line).expect("it writes");
    assert!(line.contains("\"outcome\":\"accepted\""), "{line}");
    let id = Pid::from_raw(i32::try_from(child.id()).expect("it fits"));
    kill(id, Signal::SIGINT).expect("it runs");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("it ends");
    assert!(
        rest.trim_end()
            .lines()
            .last()
            .is_some_and(|line| line.contains("\"summary\"")),
        "{rest}"
    );
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("stopped before the end"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_named_pipe_is_opened_once() {
    let path = std::env::temp_dir().join(format!("tfo-captures-{}.fifo", std::process::id()));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    let _gone = TempFile(path.clone());
    let child = analyze(&["--format", "json"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    write(&path);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        stdout(&output).contains("\"outcome\":\"accepted\""),
        "{}",
        stderr(&output)
    );
}

fn write(path: &Path) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut pipe| pipe.write_all(&capture()))
        .expect("somebody reads");
}

#[test]
fn the_report_of_a_capture_has_its_reasons_and_no_kernel() {
    // The answer came after the end: nobody knows what became of the SYN.
    let whole = capture();
    let file = TempFile::new("begun.pcap", &whole[..24 + 16 + 56]);
    let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(["report", "--replay", file.path()])
        .output()
        .expect("it runs");
    let text = stdout(&output);
    assert!(
        text.starts_with("# TCP Fast Open in the capture tfo-captures-"),
        "{text}"
    );
    assert!(
        text.contains("- 1 capture-end: the capture ended before the handshake did"),
        "{text}"
    );
    assert!(
        text.contains("- kernels: not known") && !text.contains("tcp_fastopen:"),
        "{text}"
    );
}

#[test]
fn what_packets_do_not_tell_cannot_be_asked_for() {
    let file = TempFile::new("filtered.pcap", &capture());
    for words in [
        &["analyze", "--unit", "web"][..],
        &["top", "--once", "--unit", "web", "--replay"],
        &["diagnose", "--process", "curl", "--replay"],
        &["trace", "--filter", "cgroup:web", "--replay"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
            .args(words)
            .arg(file.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stdout(&output));
        assert!(
            stderr(&output).contains("a capture has packets only") && output.stdout.is_empty(),
            "{words:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_capture_becomes_a_report_and_a_table() {
    let file = TempFile::new("report.pcap", &capture());
    for words in [
        &["report", "--replay"][..],
        &["top", "--once", "--replay"],
        &["diagnose", "--replay"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
            .args(words)
            .arg(file.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        if words[0] != "diagnose" {
            let text = stdout(&output);
            assert!(
                text.contains("198.51.100.7") || text.contains("2 of 2"),
                "{words:?}: {text}"
            );
        }
    }
}

/// A capture knows addresses, so it can be asked for networks.
#[test]
fn networks_of_a_capture_are_named_filtered_and_added_up() {
    let file = TempFile::new("networks.pcap", &capture());
    let names = TempFile::new("networks", b"198.51.100.0/24 = office\n203.0.113.0/24 = mobile\n");
    let on = |more: &[&str]| {
        let output = analyze(&["--networks"])
            .arg(names.path())
            .args(more)
            .arg(file.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let text = on(&[]);
    let sums = text.split("NETWORK  PEERS").nth(1).expect("a table of networks");
    assert!(
        sums.contains("\noffice ") && !sums.contains("\nmobile "),
        "{text}"
    );
    let json = |more: &[&str]| -> Vec<serde_json::Value> {
        let text = on(&[&["--format", "json"], more].concat());
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("it is JSON")
    };
    let all = json(&[]);
    let client = all
        .iter()
        .find(|line| line["role"] == "client")
        .expect("a client");
    assert_eq!(client["network"], "office", "{client}");
    let summary = all.last().expect("a summary");
    let office = &summary["networks"][0];
    assert!(
        office["network"] == "office" && office["attempts"] == 1,
        "{summary}"
    );
    let flows = |lines: &[serde_json::Value]| lines.iter().filter(|line| line["type"] == "flow").count();
    let filtered = json(&["--filter", "network:office"]);
    assert!(flows(&filtered) == 1 && flows(&all) == 2, "{filtered:?}");
    assert_eq!(flows(&json(&["--filter", "network:mobile"])), 0);

    let unknown = analyze(&["--filter", "network:office"])
        .arg(file.path())
        .output()
        .expect("it runs");
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("no file says"), "{}", stderr(&unknown));
}
