//! One function per parser.

use std::{io::Cursor, path::Path};

use tfo_cli::{
    capture::{Analyzer, format::Packets},
    config::Config,
    kernel::{self, btf::Btf, procfs},
    model::{cgroup, filter::Filter},
    policy::file,
    recording::Recording,
};

/// Text of any kind; parsers get what is not UTF-8 as `from_utf8_lossy` makes it, as in the program.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A recording, to its end or to where it is damaged.
pub fn recording(bytes: &[u8]) {
    let file = Box::new(Cursor::new(bytes.to_vec()));
    let Ok(mut recording) = Recording::read(file, Path::new("fuzz.tfo")) else {
        return;
    };
    while let Ok(Some(_)) = recording.next_tick() {}
}

/// A capture, pcap or pcapng, through the classifier.
pub fn capture(bytes: &[u8]) {
    const CONNECTIONS: usize = 64;
    let mut analyzer = Analyzer::new(&[], CONNECTIONS);
    let mut packets = Packets::new(Cursor::new(bytes));
    while let Ok(None) = packets.next(&mut |packet| analyzer.packet(&packet, &mut |_| {})) {}
    analyzer.end(&mut |_| {});
}

/// A file of rules and guards.
pub fn rules(bytes: &[u8]) {
    // What is wrong is told with its line.
    if let Err(error) = file::parse(&text(bytes)) {
        let _ = error.to_string();
    }
}

/// A configuration file.
pub fn config(bytes: &[u8]) {
    if let Ok(config) = Config::parse(&text(bytes)) {
        let _ = config.keys();
    }
}

/// A filter as it is typed.
pub fn filter(bytes: &[u8]) {
    match text(bytes).parse::<Filter>() {
        Ok(filter) => drop(filter.is_empty()),
        Err(error) => drop(error.to_string()),
    }
}

/// The kernel's description of its structures.
pub fn btf(bytes: &[u8]) {
    if let Ok(btf) = Btf::parse(bytes) {
        for (container, path) in [
            ("sock", "sk_cgrp_data.cgroup"),
            ("a", "b"),
            ("tcp_sock", "syn_data"),
        ] {
            let _ = btf.member(container, path);
        }
        let _ = btf.has_type("sock");
    }
}

/// Files of /proc, and the paths of cgroups.
pub fn procfs(bytes: &[u8]) {
    let text = text(bytes);
    let _ = procfs::mount_of_type(&text, "cgroup2");
    let _ = procfs::tcp_ext(&text);
    let _ = cgroup::parse(&text);
}

/// Answers of rtnetlink.
pub fn netlink(bytes: &[u8]) {
    kernel::survive_netlink(bytes);
}
