//! What this process uses, out of `/proc/self`.

use std::fs;

use crate::model::cost::ProcessUse;

/// `/proc/PID/stat` counts in these (`USER_HZ`): 100 a second on every architecture Linux runs on today.
const TICK_US: u64 = 10_000;

/// CPU time and memory so far; `None` where `/proc` is not mounted.
pub fn read() -> Option<ProcessUse> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(ProcessUse {
        cpu_us: cpu_us(&stat)?,
        rss_bytes: rss_bytes(&status)?,
    })
}

/// Fields 14 and 15 of proc(5); the name of the process, which may contain anything, ends at the last bracket.
fn cpu_us(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some((user + system) * TICK_US)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_name_is() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 3 0 5 1 2";
        assert_eq!(cpu_us(stat), Some(420_000));
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!((cpu_us("nonsense"), rss_bytes("")), (None, None));
        assert!(read().is_some());
    }
}
