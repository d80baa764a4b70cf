//! `tfo-cli top`: the dashboard on a terminal, a table everywhere else.

mod reader;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::Arc,
    thread,
};

use super::attach;
use crate::{
    args::{TopConfig, TopFormat},
    exit::{self, Failure},
    model::{DestRow, Snapshot, feed::Source, subject::RowSubject},
    output::{snapshot_json, table},
    signals::{self, Stop},
    tui,
};
use reader::Shared;

/// Runs the command on the live kernel.
pub fn run(config: &TopConfig) -> Result<u8, Failure> {
    let stop = signals::watch(tui::abandon)?;
    let source = attach::attach(&config.attach)?;
    if config.once || !io::stdout().is_terminal() {
        attach::announce(&*source)?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        print_once(config, source, &stop, &mut out)?;
        out.flush()?;
        return Ok(exit::DONE);
    }
    dashboard(config, source, &stop)
}

/// Shows the dashboard until the user or a signal ends it.
fn dashboard(config: &TopConfig, source: Box<dyn Source>, stop: &Stop) -> Result<u8, Failure> {
    let shared = Arc::new(Shared::new(&config.attach));
    let reader = reader::spawn(source, config.interval, Arc::clone(&shared), stop.clone())?;
    let shown = tui::run(config, &*shared, stop);
    stop.raise();
    let read = reader
        .join()
        .map_err(|_| Failure::new(exit::FAILED, "reader: it panicked"))?;
    shown?;
    read?;
    Ok(exit::DONE)
}

/// Prints one table after one interval.
fn print_once(
    config: &TopConfig,
    mut source: Box<dyn Source>,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let shared = Shared::new(&config.attach);
    reader::tick(&mut *source, &shared)?;
    let end = std::time::Instant::now() + config.interval;
    while !stop.raised() && std::time::Instant::now() < end {
        source.wait(reader::POLL.min(config.interval))?;
        reader::drain(&mut *source, &shared);
        thread::yield_now();
    }
    reader::tick(&mut *source, &shared)?;
    let snapshot = shared.snapshot();
    let rows = chosen(config, &snapshot);
    match config.format {
        TopFormat::Text => table::write(&snapshot, &rows, &table::default_columns(), out)?,
        TopFormat::Json => snapshot_json::write(&snapshot, &rows, out)?,
    }
    Ok(())
}

fn chosen<'a>(config: &TopConfig, snapshot: &'a Snapshot) -> Vec<&'a DestRow> {
    let matches = |row: &&DestRow| {
        let cgroup = snapshot.names.get(row.key.cgroup_id);
        let processes = snapshot.processes_of(row.key.cgroup_id);
        config.filter.matches(&RowSubject {
            row,
            cgroup,
            processes,
        })
    };
    let mut rows: Vec<&DestRow> = snapshot.rows.iter().filter(matches).collect();
    rows.sort_by(|left, right| config.sort.compare(left, right));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Command, Parsed},
        model::fake::Scenario,
    };

    fn print(flags: &str) -> String {
        let line = format!("tfo-cli top --once --interval 100ms {flags}");
        let Ok(Parsed::Run(command)) = crate::args::parse(line.split_whitespace().map(Into::into)) else {
            panic!("{line} is a good command line")
        };
        let Command::Top(config) = *command else {
            panic!("{line} is top")
        };
        let mut out = Vec::new();
        print_once(
            &config,
            Box::new(Scenario::default().source(3)),
            &Stop::default(),
            &mut out,
        )
        .expect("it prints");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn one_table_after_one_interval() {
        let table = print("");
        assert!(table.contains("checkout.service"), "{table}");
        assert!(table.lines().count() > 10, "{table}");
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
