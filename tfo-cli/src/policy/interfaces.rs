//! The interfaces on which the TFO option is stripped from SYNs: what the user asks for, and what changed.

/// The interfaces on which the user wants the option to be stripped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The network namespace: its name, its inode, a path, or the id of a process in it. `None` for that of the caller.
    pub netns: Option<String>,
    /// Names of interfaces. Empty for all that are up and those that come up later; the next command finds the latter,
    /// and `policy watch` at once.
    pub devices: Vec<String>,
}

impl Interfaces {
    /// Whether a namespace or an interface was named.
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }
}

/// What changed on interfaces, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripReport {
    /// Interfaces that have the classifier from now on, such as `lo (netns 4026531840)`.
    pub attached: Vec<String>,
    /// How many interfaces with the classifier are gone.
    pub gone: usize,
    /// All interfaces that have the classifier.
    pub places: Vec<String>,
    /// Errors of interfaces that should have the classifier and do not. The other interfaces are not affected.
    pub failed: Vec<String>,
}
