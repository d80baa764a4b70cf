//! Where the TFO option is taken out of SYNs: as a person asks for it, and what came of it.

/// On which interfaces the option is stripped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// A network namespace: its name, a path, or the id of a process in it. `None` is the caller's own.
    pub netns: Option<String>,
    /// Names; none means all that are up, and those that come up later: from the next command on, or at once
    /// while `policy watch` runs.
    pub devices: Vec<String>,
}

impl Interfaces {
    /// Whether anything was named.
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }
}

/// What changed on interfaces, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripReport {
    /// `lo (netns 4026531840)`.
    pub attached: Vec<String>,
    /// Interfaces that are gone.
    pub gone: usize,
    /// Where it is, these included.
    pub places: Vec<String>,
    /// Why it is not on an interface on which it is to be. Nothing else stops for that.
    pub failed: Vec<String>,
}
