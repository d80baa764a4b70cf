//! Every diagnosis in one table: what it is called, how bad it can be, what it looks like, what mends it. The page
//! `docs/diagnoses.md` is made from it, and a test holds the two together.

mod page;
mod table;

pub use self::{page::page, table::TABLE};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Info,
    /// Fast Open does not do what it could.
    Warn,
    /// Connections are slower, or break, because of Fast Open.
    Fail,
}

impl Severity {
    /// All of them, worst first.
    pub const ALL: [Severity; 3] = [Severity::Fail, Severity::Warn, Severity::Info];

    /// The word every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Fail => "fail",
        }
    }
}

/// What a diagnosis is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A service of this host and an address it connects to.
    Destination,
    /// A service.
    Service,
    /// A listening socket.
    Listener,
    /// A network namespace, or the host.
    Host,
}

impl Scope {
    /// The word every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Destination => "destination",
            Scope::Service => "service",
            Scope::Listener => "listener",
            Scope::Host => "host",
        }
    }
}

/// What kind of fault it is: the files of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Between the hosts.
    Path,
    /// At the server.
    Server,
    /// Cookies and keys.
    Cookies,
    /// At the client.
    Client,
    /// Whether it pays.
    Worth,
}

impl Group {
    /// All of them, in the order of the page.
    pub const ALL: [Group; 5] = [
        Group::Path,
        Group::Server,
        Group::Cookies,
        Group::Client,
        Group::Worth,
    ];

    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Group::Path => "The path",
            Group::Server => "The server",
            Group::Cookies => "Cookies and keys",
            Group::Client => "The client",
            Group::Worth => "Whether it pays",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Diagnosis {
    /// Which.
    pub id: Id,
    /// What kind of fault.
    pub group: Group,
    /// The worst it can be.
    pub severity: Severity,
    /// What it is about.
    pub scope: Scope,
    /// What it is, in one sentence.
    pub sentence: &'static str,
    /// What it looks like, with its thresholds.
    pub signature: &'static str,
    /// What looks like it and is none.
    pub not: &'static str,
    /// The lab's scenario that makes it; what stands in for it where there is none.
    pub scenario: &'static str,
    /// The test below `tfo-cli/tests` that makes it with real packets, as `file::function`; `None` where only unit tests
    /// show it.
    pub found_by: Option<&'static str>,
    /// The test that applies the fix and sees the fault go.
    pub mended_by: Option<&'static str>,
    /// What mends it.
    pub fix: &'static str,
    /// What the fix does, and what it does not.
    pub effect: &'static str,
}

/// Declares the ids with their names.
macro_rules! ids {
    ($($(#[$doc:meta])* $variant:ident, $name:literal;)+) => {
        /// Name of a diagnosis. The words are stable: scripts, alerts and links use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Id { $($(#[$doc])* $variant,)+ }

        impl Id {
            /// Every diagnosis, in the order of the table.
            pub const ALL: &[Id] = &[$(Id::$variant),+];

            /// The kebab-case word every output uses.
            pub const fn name(self) -> &'static str {
                match self { $(Id::$variant => $name,)+ }
            }
        }
    };
}

ids! {
    /// The path eats SYNs with data.
    PathDropsSynData, "path-drops-syn-data";
    /// The path eats SYNs with the option.
    PathDropsTfoOption, "path-drops-tfo-option";
    /// SYNs with data are answered by RST.
    ResetOnSynData, "reset-on-syn-data";
    /// The option is taken out of SYNs.
    OptionStripped, "option-stripped";
    /// The SYN is too long for the path.
    SynDataOverPmtu, "syn-data-over-pmtu";
    /// SYN-ACKs are lost.
    SynackLoss, "synack-loss";
    /// After Fast Open plain SYNs fail as well.
    MiddleboxBlacklistsClient, "middlebox-blacklists-client";
    /// The server has it off.
    ServerNotEnabled, "server-not-enabled";
    /// The listener's queue is full.
    TfoQueueOverflow, "tfo-queue-overflow";
    /// The server answers under SYN cookies.
    SyncookiesActive, "syncookies-active";
    /// The accept queue is full.
    AcceptQueueFull, "accept-queue-full";
    /// The listener is MPTCP.
    MptcpListener, "mptcp-listener";
    /// On for the host, off for the container.
    NamespaceSysctlMismatch, "namespace-sysctl-mismatch";
    /// Servers behind one address have different keys.
    CookieKeyMismatch, "cookie-key-mismatch";
    /// The server has a new key.
    KeyRotated, "key-rotated";
    /// The cookie was of the backup key.
    AlternateKey, "alternate-key";
    /// The cookie is asked for again and again.
    CookieNeverCached, "cookie-never-cached";
    /// A load balancer hands on connections to another address.
    LoadBalancerDsrOrNat, "load-balancer-dsr-or-nat";
    /// The client side is off.
    ClientDisabled, "client-disabled";
    /// The kernel's pause is on.
    BlackholePaused, "blackhole-paused";
    /// A connect was put off and never came.
    DeferredNeverSent, "deferred-never-sent";
    /// This host dropped the data.
    LocalDrop, "local-drop";
    /// More to send than a SYN can carry.
    SynDataCapped, "syn-data-capped";
    /// The first write is empty or tiny.
    ApplicationMisuse, "application-misuse";
    /// The answer comes after the handshake anyway.
    NoBenefit, "no-benefit";
    /// It could be used.
    NotUsed, "not-used";
    /// Connections live so long that it does not matter.
    LongLived, "long-lived";
    /// The network duplicated SYN data.
    DuplicateSynData, "duplicate-syn-data";
    /// What rode in the SYN must not be done twice.
    NotIdempotent, "not-idempotent";
    /// Which key is in use.
    KeyInUse, "key-in-use";
}

/// The page with an anchor for each diagnosis.
pub const PAGE: &str = "docs/diagnoses.md";

impl Id {
    /// Its line of the table.
    pub fn entry(self) -> &'static Diagnosis {
        // A test holds the table in the order of the ids.
        &TABLE[self as usize]
    }

    /// Where the documentation has it.
    pub fn anchor(self) -> String {
        format!("{PAGE}#{}", self.name())
    }

    /// The diagnosis of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_line_per_id_in_their_order() {
        let lines: Vec<Id> = TABLE.iter().map(|line| line.id).collect();
        assert_eq!(lines, Id::ALL);
        for (index, id) in Id::ALL.iter().enumerate() {
            assert_eq!(*id as usize, index);
            assert_eq!(Id::from_name(id.name()), Some(*id));
            assert!(
                id.name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            );
        }
    }

    #[test]
    fn the_tests_it_names_exist_and_know_it() {
        let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        for line in &TABLE {
            for test in line.found_by.into_iter().chain(line.mended_by) {
                let (file, function) = test.split_once("::").expect("file::function");
                let text = std::fs::read_to_string(tests.join(file)).expect(file);
                assert!(text.contains(&format!("fn {function}(")), "{test}");
                assert!(text.contains(line.id.name()), "{file}: {}", line.id.name());
            }
            let unit_only = line.scenario.contains("unit tests");
            assert!(!unit_only || line.found_by.is_none(), "{}", line.id.name());
        }
    }

    #[test]
    fn every_line_says_everything() {
        for line in &TABLE {
            for text in [
                line.sentence,
                line.signature,
                line.not,
                line.scenario,
                line.fix,
                line.effect,
            ] {
                assert!(
                    !text.is_empty() && !text.contains('|') && !text.contains('\n'),
                    "{}: {text}",
                    line.id.name()
                );
            }
            assert!(line.sentence.ends_with('.'), "{}", line.sentence);
        }
    }
}
