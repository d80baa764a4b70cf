//! Network namespaces by the names people have for them. Pure: [`crate::kernel::places`] finds them.

use std::fmt;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Netns {
    /// Number of its inode, as `/proc/PID/ns/net` and `lsns` show it.
    pub inode: u32,
    /// What it is known by: its name under /run/netns, `host` for that of the kernel's threads, else a process inside it.
    /// Chosen by others: to be cleaned before it is shown.
    pub name: Option<String>,
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(&crate::clean::clean(name)),
            None => write!(f, "{}", self.inode),
        }
    }
}

/// The namespaces that could not be read, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Namespaces that could not be entered or read, with the error.
    pub failed: Vec<(Netns, String)>,
    /// Number of processes whose namespace the kernel does not tell.
    pub processes: usize,
}

impl Unseen {
    /// Whether every namespace was read.
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.processes == 0
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Namespaces that are named; there may be thousands.
        const NAMED: usize = 5;
        f.write_str("not looked at:")?;
        let mut separator = " ";
        for (netns, why) in self.failed.iter().take(NAMED) {
            write!(f, "{separator}netns {netns} ({why})")?;
            separator = ", ";
        }
        if self.failed.len() > NAMED {
            write!(
                f,
                "{separator}{} more network namespaces",
                self.failed.len() - NAMED
            )?;
            separator = ", ";
        }
        if self.processes > 0 {
            write!(
                f,
                "{separator}the network namespaces of {} processes",
                self.processes
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let netns = |inode| Netns {
            inode,
            name: (inode == 7).then(|| "we\u{1b}b".to_owned()),
        };
        let mut unseen = Unseen::default();
        assert!(unseen.is_empty());
        unseen.failed = (1..=7)
            .rev()
            .map(|inode| (netns(inode), "EPERM".to_owned()))
            .collect();
        unseen.processes = 3;
        assert_eq!(
            unseen.to_string(),
            "not looked at: netns we?b (EPERM), netns 6 (EPERM), netns 5 (EPERM), netns 4 (EPERM), netns 3 (EPERM), \
             2 more network namespaces, the network namespaces of 3 processes"
        );
    }
}
