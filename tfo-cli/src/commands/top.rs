//! `tfo-cli top`: the dashboard on a terminal, a table everywhere else.

mod enforcer;
pub(super) mod reader;
pub(super) mod replay;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::Arc,
    time::Instant,
};

use super::{
    attach, networks,
    observe::Observer,
    replay::{CUT_SHORT, Replay},
};
use crate::{
    args::{TopConfig, TopFormat},
    exit::{self, Failure},
    kernel::policy::Pinned,
    model::{DestRow, Snapshot, source::Keep},
    output::{snapshot_json, table},
    signals::{self, Stop},
    tui,
};
use enforcer::Enforcer;
use reader::{Reader, Shared};

/// Runs the command on the live kernel or on a recording.
pub fn run(config: &TopConfig) -> Result<u8, Failure> {
    let stop = signals::watch(tui::abandon)?;
    let on_terminal = !config.once && io::stdout().is_terminal();
    if config.allow_policy && !on_terminal {
        let why = "--allow-policy: only the dashboard can change rules, and stdout is not a terminal";
        return Err(Failure::new(exit::USAGE, why).hint("use `tfo-cli policy add`, `remove` or `apply`"));
    }
    match (&config.replay, on_terminal) {
        (Some(path), on_terminal) => {
            let replay = Replay::open(path, &stop)?;
            replay.check_filter(&config.filter)?;
            if on_terminal {
                replay_dashboard(config, replay, &stop)
            } else {
                replay_table(config, replay, &stop)
            }
        }
        (None, true) => live_dashboard(config, attach(config)?, &stop),
        (None, false) => live_table(config, attach(config)?, &stop),
    }
}

fn attach(config: &TopConfig) -> Result<Reader, Failure> {
    let observer = Observer::attach(&config.attach, config.record.as_deref())?;
    Ok(Reader::new(observer))
}

/// An empty model, with what networks are called.
fn shared(config: &TopConfig) -> Result<Shared, Failure> {
    let networks = networks::load(config.networks.as_deref(), &config.filter)?;
    let shared = Shared::new(&config.attach);
    shared.lock().set_networks(networks);
    Ok(shared)
}

/// Shows the live dashboard until the user or a signal ends it.
fn live_dashboard(config: &TopConfig, mut reader: Reader, stop: &Stop) -> Result<u8, Failure> {
    // Who may change rules needs what `tfo-cli policy` needs; tables are exported to where the user is.
    if !config.allow_policy {
        attach::give_up_rights(reader.observer.source(), Keep { files: true })?;
    }
    let shared = Arc::new(shared(config)?);
    let reader = reader::spawn(reader, config.interval, Arc::clone(&shared), stop.clone())?;
    let enforcer = config
        .allow_policy
        .then(|| Enforcer::start(Pinned::new(&*config.attach.bpffs), stop.clone()))
        .transpose()?;
    let allowed = enforcer
        .as_ref()
        .map(|enforcer| -> &dyn tui::Enforcer { enforcer });
    let shown = tui::run(
        &config.dashboard(),
        &*shared,
        allowed,
        stop,
        &signals::watch_job_control()?,
    );
    stop.raise();
    let read = reader
        .join()
        .map_err(|_| Failure::new(exit::FAILED, "reader: it panicked"))?;
    shown?;
    read?;
    Ok(exit::DONE)
}

/// Shows a recording until the user or a signal ends it.
fn replay_dashboard(config: &TopConfig, recording: Replay, stop: &Stop) -> Result<u8, Failure> {
    let shared = Arc::new(shared(config)?);
    let replay = replay::spawn(recording, config.speed, Arc::clone(&shared), stop.clone())?;
    let shown = tui::run(
        &config.dashboard(),
        &*shared,
        None,
        stop,
        &signals::watch_job_control()?,
    );
    stop.raise();
    let played = replay
        .join()
        .map_err(|_| Failure::new(exit::FAILED, "replay: it panicked"))?;
    shown?;
    played?;
    Ok(exit::DONE)
}

/// Prints one table after one interval.
fn live_table(config: &TopConfig, mut reader: Reader, stop: &Stop) -> Result<u8, Failure> {
    attach::give_up_rights(reader.observer.source(), Keep::default())?;
    print_live(config, reader, stop, &mut io::stdout().lock())?;
    Ok(exit::DONE)
}

fn print_live(
    config: &TopConfig,
    mut reader: Reader,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let shared = shared(config)?;
    reader.settled_tick(&shared)?;
    // Only now: what happens from here on is counted on both sides of the cross-check.
    attach::announce(reader.observer.source())?;
    let end = Instant::now() + config.interval;
    while !stop.raised() && Instant::now() < end {
        reader
            .observer
            .wait(end.saturating_duration_since(Instant::now()).min(reader::POLL))?;
        reader.drain(&shared);
        reader.observer.keep_within()?;
    }
    reader.settled_tick(&shared)?;
    // A long table is not judged after every reading.
    shared.lock().diagnose();
    print(config, &shared.snapshot(), out)
}

/// Prints the table of the end of a recording.
fn replay_table(config: &TopConfig, mut recording: Replay, stop: &Stop) -> Result<u8, Failure> {
    let shared = shared(config)?;
    let cut_short = replay::play(&mut recording, None, &shared, stop)?;
    print(config, &shared.snapshot(), &mut io::stdout().lock())?;
    if cut_short {
        crate::output::complain(&CUT_SHORT)?;
    }
    Ok(exit::DONE)
}

fn print(config: &TopConfig, snapshot: &Snapshot, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = chosen(config, snapshot);
    let unjudged = snapshot.unjudged(&config.filter);
    let mut out = io::BufWriter::new(out);
    match config.format {
        TopFormat::Text => {
            table::write(snapshot, &rows, &table::default_columns(snapshot), &mut out)?;
            if unjudged > 0 {
                writeln!(
                    out,
                    "{unjudged} destinations could not be judged by the filter: their cgroup was gone before its name was known"
                )?;
            }
        }
        TopFormat::Json => snapshot_json::write(snapshot, &rows, unjudged, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

fn chosen<'a>(config: &TopConfig, snapshot: &'a Snapshot) -> Vec<&'a DestRow> {
    let matches = |row: &&DestRow| config.filter.matches(&snapshot.filterable(row));
    let mut rows: Vec<&DestRow> = snapshot.rows.iter().filter(matches).collect();
    rows.sort_by(|left, right| snapshot.compare(config.sort, left, right));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Command, model::fake::Scenario};

    fn print(flags: &str) -> String {
        let line = format!("top --once --interval 100ms {flags}");
        let Ok(Command::Top(config)) = crate::args::command(&line) else {
            panic!("{line} is a good command line")
        };
        let mut out = Vec::new();
        let source = Box::new(Scenario::default().source(3));
        let observer = Observer::new(source, &config.attach, None).expect("nothing is recorded");
        let reader = Reader::new(observer);
        print_live(&config, reader, &Stop::default(), &mut out).expect("it prints");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn one_table_after_one_interval() {
        let table = print("");
        assert!(table.contains("checkout.service"), "{table}");
        assert!(table.lines().count() > 10, "{table}");
    }

    /// A service is gone before anybody has looked for its name.
    #[test]
    fn what_a_filter_could_not_judge_is_counted() {
        let shown = |flags: &str| {
            let line = format!("top --once --interval 100ms {flags}");
            let Ok(Command::Top(config)) = crate::args::command(&line) else {
                panic!("{line} is a good command line")
            };
            let mut model = Scenario::default().model(3);
            model.name(1, None);
            let snapshot = model.snapshot();
            let of_gone = snapshot.rows.iter().filter(|row| row.key.cgroup_id == 1).count();
            let mut out = Vec::new();
            super::print(&config, &snapshot, &mut out).expect("it prints");
            (String::from_utf8(out).expect("it is UTF-8"), of_gone)
        };
        let (text, of_gone) = shown("--filter cgroup:checkout");
        assert!(
            of_gone > 0 && text.contains(&format!("{of_gone} destinations could not be judged")),
            "{text}"
        );
        let (json, of_gone) = shown("--filter !unit:checkout --format json");
        let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(value["unjudged"], of_gone);
        // Whatever it is called, its role is known: nothing was left open.
        for flags in ["--filter role:server", ""] {
            let (text, _) = shown(flags);
            assert!(!text.contains("judged"), "{flags}: {text}");
        }
    }

    #[test]
    fn filter_and_order_apply() {
        let table = print("--filter role:server --sort remote --format json");
        let value: serde_json::Value = serde_json::from_str(&table).expect("it is JSON");
        let rows = value["destinations"].as_array().expect("it is a list");
        assert!(rows.len() == 2 && rows.iter().all(|row| row["role"] == "server"));
        assert_eq!(rows[0]["family"], 4);
    }
}
