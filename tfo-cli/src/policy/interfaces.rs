//! Where the TFO option is taken out of SYNs, as a person asks for it.

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
