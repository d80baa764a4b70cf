//! Neighbours that attach in every other way: as systemd attaches its `IPAddressDeny` (`BPF_PROG_ATTACH`, multi), exclusively,
//! with override, and one that writes options of its own. Beside the policy and the observer their verdicts and counters are
//! those they have alone; where they let nobody in, they are named and left as they are.

use std::path::Path;

use anyhow::{Result, ensure};
use tfo_lab::{
    client::{Connect, Family},
    command,
    lab::Lab,
};

use crate::{
    enforce::{is_fast, primed},
    foreign::{REFUSED, STEPS, calls, connect_once, is_refused, ports, root, step},
    packets::{Ports, Watcher},
    policy::{self, PINS},
    support::{
        flow::Role,
        foreign::{self as callbacks, Foreign},
        sandbox::Sandbox,
        tool::Tool,
        wait_until,
    },
    writer,
};

/// A program on a cgroup without a link, as `BPF_PROG_ATTACH` makes it. Dropping it detaches it.
pub struct Place {
    cgroup: String,
    hook: &'static str,
    id: String,
}

impl Place {
    /// `flags` as bpftool calls them: `multi`, `override`, or none.
    pub fn take(cgroup: &Path, hook: &'static str, id: u32, flags: &[&str]) -> Result<Self> {
        let place = Self {
            cgroup: cgroup.to_string_lossy().into_owned(),
            hook,
            id: id.to_string(),
        };
        place.bpftool("attach", flags)?;
        Ok(place)
    }

    fn bpftool(&self, verb: &str, flags: &[&str]) -> Result<()> {
        let args = ["cgroup", verb, &self.cgroup, self.hook, "id", &self.id];
        command::run("bpftool", &[&args[..], flags].concat()).map(drop)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Gone with its cgroup, where that is gone.
        let _ = self.bpftool("detach", &[]);
    }
}

/// What is attached to a cgroup, and how.
pub fn shown(cgroup: &Path) -> Result<String> {
    command::run("bpftool", &["cgroup", "show", &cgroup.to_string_lossy()])
}

/// A program that counts callbacks, attached nowhere yet.
fn unattached() -> Result<Foreign> {
    Foreign::load(&callbacks::code(), callbacks::LOAD_MAP)
}

pub fn lacks_bpftool() -> bool {
    let lacks = !command::is_installed("bpftool");
    if lacks {
        println!("skipped: needs bpftool");
    }
    lacks
}

pub fn below_us() -> Result<()> {
    if lacks_bpftool() {
        return Ok(());
    }
    for flags in [&["multi"][..], &[], &["override"]] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (server, connect) = primed(&lab, Family::V4, 0)?;
        let (watcher, counter) = (Watcher::egress(ports(&server))?, unattached()?);
        let places = [
            Place::take(sandbox.path(), "egress", watcher.egress_id()?, flags)?,
            Place::take(sandbox.path(), "sock_ops", counter.id()?, flags)?,
        ];
        let theirs = shown(sandbox.path())?;
        let alone = calls(&counter, || connect_once(&lab, &connect, false))?;
        ensure!(is_refused(&lab, Family::V4)?, "{flags:?}: it drops nothing");
        for observed in [false, true] {
            // Of the whole host: on their own cgroup it would be refused.
            let trace = observed
                .then(|| Tool::attached(&["trace", "--all", "--format", "json"]))
                .transpose()?;
            for (name, denied) in STEPS {
                step(name, &sandbox, Family::V4, &[])?;
                let what = format!("{flags:?}, observed {observed}, {name}");
                let now = shown(sandbox.path())?;
                ensure!(now == theirs, "{what}: {now}, not {theirs}");
                let before = watcher.syns()?;
                let together = calls(&counter, || connect_once(&lab, &connect, denied))?;
                ensure!(
                    together.without_header_options() == alone.without_header_options(),
                    "{what}: {together:?}, alone {alone:?}"
                );
                // A denied SYN is seen like any other, and then the bare one.
                let (seen, wanted) = (watcher.syns()? - before, if denied { 2 } else { 1 });
                ensure!(seen == wanted, "{what}: {seen} SYNs, not {wanted}");
                ensure!(is_refused(&lab, Family::V4)?, "{what}: their verdict is lost");
            }
            if let Some(trace) = trace {
                let netns = Some(lab.client().inode()?);
                let (flows, _) = trace.stop()?.records()?;
                let count = |outcome: &str| {
                    let ours = flows
                        .iter()
                        .filter(|flow| flow.netns == netns && flow.role == Role::Client);
                    ours.filter(|flow| flow.outcome == outcome).count()
                };
                let denied = STEPS.iter().filter(|(_, denied)| *denied).count();
                ensure!(
                    (count("denied"), count("accepted")) == (denied, STEPS.len() - denied),
                    "{flags:?}: {flows:#?}"
                );
            }
        }
        drop(places);
        ensure!(!is_refused(&lab, Family::V4)?, "it was not they who dropped");
    }
    Ok(())
}

/// The kernel says EPERM; the message says who is in the way, how and where. Theirs goes on as before, and nothing of ours
/// is left.
pub fn in_the_way() -> Result<()> {
    if lacks_bpftool() {
        return Ok(());
    }
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let (root, path) = (root(&sandbox)?, sandbox.path().to_string_lossy().into_owned());
    let ports = Ports {
        counted: 1,
        dropped: REFUSED,
    };
    let (watcher, counter) = (Watcher::egress(ports)?, unattached()?);
    if shown(&root)?.lines().count() > 1 {
        println!(
            "skipped: others are attached to {}: {}",
            root.display(),
            shown(&root)?
        );
        return Ok(());
    }
    let add = ["policy", "add", "--cgroup", &path, "--dst", "192.0.2.0/24"];
    let guard = ["guard", "on", "--cgroup", &path];
    for (hook, id) in [("sock_ops", counter.id()?), ("egress", watcher.egress_id()?)] {
        for (flags, how) in [(&[][..], "exclusively"), (&["override"][..], "with override")] {
            let place = Place::take(&root, hook, id, flags)?;
            let theirs = shown(&root)?;
            for command in [&add[..], &guard] {
                let said = policy::fails(command, 3)?;
                for word in [&*format!("(program {id})"), how, &root.to_string_lossy()] {
                    ensure!(said.contains(word), "{hook} {how}: {word} is not named: {said}");
                }
                ensure!(!Path::new(PINS).exists(), "{hook} {how}: {PINS} is left");
                ensure!(
                    shown(&root)? == theirs,
                    "theirs was {theirs}, and is {}",
                    shown(&root)?
                );
            }
            let dropped = is_refused(&lab, Family::V4)?;
            ensure!(
                dropped == (hook == "egress"),
                "{hook} {how}: their verdict is lost"
            );
            drop(place);
        }
    }
    // With nobody in the way it works again.
    policy::ok(&add).map(drop)
}

/// What the writer counts of one connection, once both of its ends are closed.
fn written(writer: &Foreign, lab: &Lab, connect: &Connect, denied: bool) -> Result<callbacks::Calls> {
    // At each end the change to ESTABLISHED and the one to CLOSE, which is counted apart where the flag is gone.
    const STATES: u64 = 2 * 2;
    let before = writer.calls()?;
    connect_once(lab, connect, denied)?;
    let since = || -> Result<callbacks::Calls> { Ok(writer.calls()?.since(&before)) };
    wait_until("both ends to close", || {
        let calls = since()?;
        Ok(calls.of(callbacks::STATE) + calls.of(writer::FLAG_GONE) >= STATES)
    })?;
    since()
}

pub fn writer_of_options() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let first = writer::attach(sandbox.path())?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    writer::check(&written(&first, &lab, &connect, false)?)?;
    for (name, denied) in STEPS {
        step(name, &sandbox, Family::V4, &[])?;
        let calls = written(&first, &lab, &connect, denied)?;
        writer::check(&calls).map_err(|error| error.context(format!("policy, {name}: {calls:?}")))?;
    }
    let trace = sandbox.trace(&["--all"])?;
    for round in 0..4 {
        let calls = written(&first, &lab, &connect, false)?;
        writer::check(&calls).map_err(|error| error.context(format!("observer, {round}: {calls:?}")))?;
    }
    drop(first);
    told(trace, 4)?;
    // One that comes later, to a tool that was alone: it looks once a second for who else there is.
    let trace = sandbox.trace(&["--all"])?;
    let second = writer::attach(sandbox.path())?;
    let (_server, connect) = primed(&lab, Family::V4, 1)?;
    let mut made = 1;
    wait_until("the tool to see who has come", || {
        made += 1;
        Ok(writer::check(&written(&second, &lab, &connect, false)?).is_ok())
    })?;
    for round in 0..4 {
        let calls = written(&second, &lab, &connect, false)?;
        writer::check(&calls).map_err(|error| error.context(format!("newcomer, {round}: {calls:?}")))?;
        made += 1;
    }
    told(trace, made)?;
    let report = connect.run_in(lab.client())?;
    ensure!(is_fast(&report), "{report:?}");
    Ok(())
}

/// Both ends of so many connections have their records: all were accepted, but for the first, which may have asked for its
/// cookie.
fn told(trace: Tool, made: usize) -> Result<()> {
    let (flows, summary) = trace.stop()?.records()?;
    for role in [Role::Client, Role::Server] {
        let told = flows.iter().filter(|flow| flow.role == role);
        let (asked, taken): (Vec<_>, Vec<_>) = told.partition(|flow| flow.outcome == "cookie-granted");
        ensure!(
            asked.len() <= 1
                && asked.len() + taken.len() == made
                && taken.iter().all(|flow| flow.outcome == "accepted"),
            "{role:?}: {made} made: {flows:#?} {summary:?}"
        );
    }
    Ok(())
}
