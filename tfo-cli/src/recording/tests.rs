//! What was written can be read again, and damage is noticed.

use std::{
    io::Cursor,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::prelude::*;

use super::{
    FORMAT, MAGIC, Preamble, Recorder, Recording, RecordingError, Tick, block,
    entry::{Counters, put_entry, tag},
    flow::put_record,
};
use crate::model::{
    fake::{EPOCH_NS, Scenario},
    row_delta::put_key,
};

/// A path for a file, which is removed at the end of the test.
struct TemporaryPath(PathBuf);

impl TemporaryPath {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("tfo-recording-{}-{number}", std::process::id())))
    }
}

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ticks(count: u64) -> Vec<Tick> {
    let mut scenario = Scenario::default().with_extra(20);
    let tick = |second| {
        let (records, reading) = scenario.step();
        Tick {
            records,
            reading,
            names: if second == 0 {
                Scenario::cgroups()
                    .into_iter()
                    .map(|(id, name)| (id, Some(name)))
                    .collect()
            } else {
                Vec::new()
            },
            host: Some(scenario.host()),
            listeners: (second == 0).then(Scenario::listeners),
            host_facts: (second == 0).then(Scenario::host_facts),
            degradations: (second == 2).then(|| vec![("overhead-plain".into(), "why".into())]),
        }
    };
    (0..count).map(tick).collect()
}

fn preamble() -> Preamble {
    Preamble {
        version: "1.2.3".into(),
        wall_offset_ns: EPOCH_NS,
        server_prefixes: (24, 48),
        ..Preamble::default()
    }
}

fn recorded(ticks: &[Tick]) -> Vec<u8> {
    let temporary = TemporaryPath::new();
    let mut recorder = Recorder::create(&temporary.0, &preamble()).expect("a new file");
    for tick in ticks {
        recorder.tick(tick).expect("it is written");
    }
    std::fs::read(&temporary.0).expect("it is there")
}

/// The first bytes of every recording of this version.
fn beginning() -> Vec<u8> {
    [&MAGIC[..], &[FORMAT]].concat()
}

fn open(bytes: Vec<u8>) -> Result<Recording, RecordingError> {
    Recording::read(Box::new(Cursor::new(bytes)), Path::new("test.tfo"))
}

/// Every reading of a recording, and whether it is truncated or the error that ended the reading.
fn read_all(bytes: Vec<u8>) -> (Vec<Tick>, Result<bool, RecordingError>) {
    let mut read = Vec::new();
    let mut recording = match open(bytes) {
        Ok(recording) => recording,
        Err(error) => return (read, Err(error)),
    };
    loop {
        match recording.next_tick() {
            Ok(Some(tick)) => read.push(tick),
            Ok(None) => return (read, Ok(recording.is_truncated())),
            Err(error) => return (read, Err(error)),
        }
    }
}

/// The same readings with sorted rows, which have no particular order in a recording.
fn sorted(mut ticks: Vec<Tick>) -> Vec<Tick> {
    for tick in &mut ticks {
        tick.reading
            .dests
            .sort_by_key(|(key, _)| (key.role, key.remote, key.port, key.cgroup_id));
    }
    ticks
}

#[test]
fn what_is_written_is_read() {
    let ticks = ticks(5);
    let bytes = recorded(&ticks);
    let (read, end) = read_all(bytes.clone());
    assert_eq!(sorted(read), sorted(ticks));
    assert!(matches!(end, Ok(false)));
    assert_eq!(*open(bytes).expect("it is a recording").preamble(), preamble());
}

#[test]
fn a_row_that_is_gone_stays_gone() {
    let mut ticks = ticks(2);
    let gone = ticks[1].reading.dests.remove(3).0;
    let (read, _) = read_all(recorded(&ticks));
    assert!(read[0].reading.dests.iter().any(|(key, _)| *key == gone));
    assert!(read[1].reading.dests.iter().all(|(key, _)| *key != gone));
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let temporary = TemporaryPath::new();
    std::fs::write(&temporary.0, "evidence").expect("it is written");
    let error = Recorder::create(&temporary.0, &preamble()).expect_err("it exists");
    assert!(error.to_string().contains("create"), "{error}");
    assert_eq!(std::fs::read(&temporary.0).expect("it is there"), b"evidence");
}

#[test]
fn wherever_a_recording_is_cut_its_whole_ticks_are_read() {
    let ticks = ticks(3);
    let bytes = recorded(&ticks);
    let whole = sorted(ticks);
    for length in 0..bytes.len() {
        let (read, end) = read_all(bytes[..length].to_vec());
        match end {
            Err(RecordingError::Foreign(_)) => assert!(length < 8, "{length}"),
            Err(error) => panic!("cut at {length}: {error}"),
            Ok(_) => assert_eq!(sorted(read.clone()), whole[..read.len()], "cut at {length}"),
        }
    }
}

#[test]
fn foreign_and_future_files_are_named() {
    let (_, end) = read_all(b"\x7fELF and more".to_vec());
    assert!(matches!(end, Err(RecordingError::Foreign(_))));
    let mut bytes = recorded(&[]);
    bytes[7] = 9;
    let (_, end) = read_all(bytes);
    assert_eq!(
        end.expect_err("it is from the future").to_string(),
        "test.tfo: recording format 9; this tfo-cli reads 1 to 2"
    );
}

#[test]
fn a_flipped_bit_is_noticed() {
    let mut bytes = recorded(&ticks(2));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let (read, end) = read_all(bytes);
    assert_eq!(read.len(), 1);
    assert!(
        matches!(end, Err(RecordingError::Damaged { block: 3, .. })),
        "{end:?}"
    );
}

/// Changes of three neighbouring bytes that cancel out in Adler-32, the checksum of format 1.
#[test]
fn changes_that_cancel_out_in_adler_32_are_noticed() {
    let bytes = recorded(&ticks(1));
    let last = bytes.len() - 3;
    let fits = |at: &usize| bytes[*at] < 255 && bytes[*at + 1] >= 2 && bytes[*at + 2] < 255;
    let places: Vec<usize> = (last.saturating_sub(200)..last).filter(fits).collect();
    assert!(places.len() > 20, "{}", places.len());
    for at in places {
        let mut bytes = bytes.clone();
        bytes[at] += 1;
        bytes[at + 1] -= 2;
        bytes[at + 2] += 1;
        let (_, end) = read_all(bytes);
        let noticed = matches!(
            end,
            Err(RecordingError::Damaged {
                why: "wrong checksum",
                ..
            })
        );
        assert!(noticed, "{at}: {end:?}");
    }
}

#[test]
fn format_1_is_still_read() {
    let bytes = include_bytes!("../../recordings/format-1.tfo");
    let now = include_bytes!("../../recordings/lab.tfo");
    assert_eq!((bytes[7], now[7]), (1, FORMAT));
    let (old, end) = read_all(bytes.to_vec());
    assert!(matches!(end, Ok(false)), "{end:?}");
    let (new, end) = read_all(now.to_vec());
    assert!(matches!(end, Ok(false)), "{end:?}");
    // The old file is the beginning of the new one, which was written again in the present format.
    assert!(old.len() > 3 && old.iter().any(|tick| !tick.records.is_empty()));
    assert_eq!(sorted(old.clone()), sorted(new[..old.len()].to_vec()));
    let mut damaged = bytes.to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let (read, end) = read_all(damaged);
    assert!(end.is_err() && read.len() + 1 == old.len(), "{end:?}");
}

proptest! {
    #[test]
    fn damage_never_panics(place: usize, value: u8, garbage: Vec<u8>) {
        let mut bytes = recorded(&ticks(1));
        let place = place % bytes.len();
        bytes[place] = value;
        let _ = read_all(bytes.clone());
        bytes.extend(&garbage);
        let _ = read_all(bytes);
        // The same behind a good magic and inside a good block.
        let mut file = beginning();
        file.extend(&garbage);
        let _ = read_all(file);
        let mut file = beginning();
        file.extend(block::pack(b"\x01\x02{}"));
        file.extend(block::pack(&garbage));
        let _ = read_all(file);
    }
}

/// A file of one block that says nothing but this, over and over.
fn repeated(tag: u8, payload: &[u8], times: usize, last: &[u8]) -> Vec<u8> {
    let mut entries = Vec::new();
    put_entry(
        tag::PREAMBLE,
        &serde_json::to_vec(&preamble()).expect("it is JSON"),
        &mut entries,
    );
    for _ in 0..times {
        put_entry(tag, payload, &mut entries);
    }
    entries.extend(last);
    let mut file = [&MAGIC[..], &[FORMAT]].concat();
    file.extend(block::pack(&entries));
    file
}

fn read(file: Vec<u8>) -> Result<Recording, RecordingError> {
    Recording::read(Box::new(Cursor::new(file)), Path::new("hostile.tfo"))
}

/// A small file may say a lot: what is kept of it at once is bounded, and nothing is left out.
#[test]
fn one_reading_never_fills_the_memory() {
    const TIMES: usize = 400_000;
    let mut record = Vec::new();
    put_record(&crate::model::fake::first_byte(1, 1), &mut record);
    let mut end = Vec::new();
    let counters = Counters::of(&ticks(1)[0].reading);
    put_entry(
        tag::READING,
        &serde_json::to_vec(&counters).expect("it is JSON"),
        &mut end,
    );
    put_entry(tag::TICK, &[], &mut end);
    for (kind, payload) in [(tag::RECORD, &record[..]), (tag::NAME, b"[1,null]")] {
        let file = repeated(kind, payload, TIMES, &end);
        assert!(file.len() < 100_000, "it is small: {}", file.len());
        let mut recording = read(file).expect("it is whole");
        let (mut seen, mut readings) = (0, 0);
        while let Some(tick) = recording.next_tick().expect("it is whole") {
            let here = tick.records.len() + tick.names.len();
            assert!(here <= 65_536, "{here} at once");
            seen += here;
            readings += u32::from(tick.reading.at_ns > 0);
        }
        assert_eq!((seen, readings), (TIMES, 1));
    }
}

#[test]
fn entries_that_ask_for_more_than_there_can_be_are_damage() {
    let mut mib = String::from(
        "{\"name\":\"\",\"kernel\":\"\",\"netns\":1,\"tcp_fastopen\":null,\"blackhole_timeout_sec\":null,\"mib\":[",
    );
    mib.push_str(&"[1,{}],".repeat(700_000));
    mib.push_str("[1,{}]]}");
    let mut row = Vec::new();
    for number in 0..200_000u32 {
        put_key(&crate::model::fake::dest_key(number), &mut row);
        crate::model::row_delta::RowDelta::default().put(&mut row);
    }
    for (kind, payload, why) in [
        (tag::HOST, mib.as_bytes(), "impossible length"),
        (tag::LISTENERS, &*listeners_of(200_000), "too many listeners"),
        (tag::ROWS, &*row, "too many rows"),
    ] {
        let mut end = Vec::new();
        put_entry(tag::TICK, &[], &mut end);
        let file = repeated(kind, payload, 1, &end);
        let error = read(file)
            .and_then(|mut recording| recording.next_tick())
            .expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
}

fn listeners_of(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let one = Scenario::listeners()[0];
    for _ in 0..count {
        super::flow::put_listener(&one, &mut bytes);
    }
    bytes
}
