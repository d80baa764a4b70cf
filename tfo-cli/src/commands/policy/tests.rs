//! What the commands do to a policy, on one in memory: no root, no kernel.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{keep::Keeper, run_on, watch};
use crate::{
    args::{Command, PolicyWhat},
    exit::{self, Failure},
    policy::{Access, Change, Interfaces, Policies as _, fake::FakePolicies},
};

const WEB: &str = "/system.slice/web.service";
const DB: &str = "/system.slice/db.service";

/// A file that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tfo-commands-{}-{number}", std::process::id()));
        fs::write(&path, text).expect("it is written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn host() -> FakePolicies {
    FakePolicies::with_cgroups([(1, "/"), (7, WEB), (8, DB)])
}

/// Runs `tfo-cli policy ...`.
fn policy(fake: &FakePolicies, line: &str) -> Result<u8, Failure> {
    let Ok(Command::Policy(config)) = crate::args::command(&format!("policy {line}")) else {
        panic!("{line} is a good command line");
    };
    assert!(
        !matches!(config.what, PolicyWhat::Watch(_)),
        "that one does not end"
    );
    run_on(fake, &config.what)
}

fn done(fake: &FakePolicies, line: &str) {
    assert_eq!(policy(fake, line), Ok(exit::DONE), "{line}");
}

/// A file with a rule that denies for each of these units, and what else is said.
fn file(units: &[(&str, &str)], more: &str) -> Scratch {
    let rules = units
        .iter()
        .map(|(unit, dst)| format!("[[rule]]\nunit = \"{unit}\"\ndst = \"{dst}\"\n"));
    Scratch::new(&(rules.collect::<String>() + more))
}

#[test]
fn one_rule_is_added_and_a_second_for_the_same_place_is_not() {
    let fake = host();
    done(&fake, "add --unit web --dst 192.0.2.0/24 --port 443");
    let want = [format!("no-data for {WEB} to 192.0.2.0/24 port 443")];
    assert_eq!(fake.rules(), want);
    let refused = policy(&fake, "add --unit web --dst 192.0.2.0/24").expect_err("the place is taken");
    assert_eq!(refused.code, exit::USAGE);
    assert!(refused.message.contains("rule 1 is there already"), "{refused}");
    let unknown = policy(&fake, "add --unit nobody --dst 192.0.2.0/24").expect_err("no such unit");
    assert!(unknown.message.contains("no such cgroup"), "{unknown}");
    assert_eq!(fake.rules(), want);
}

#[test]
fn rules_are_removed_all_or_none() {
    let fake = host();
    for dst in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        done(&fake, &format!("add --unit web --dst {dst}"));
    }
    let unknown = policy(&fake, "remove 1 9").expect_err("there is no rule 9");
    assert!(unknown.message.contains("rule 9"), "{unknown}");
    assert_eq!(fake.rules().len(), 3, "rule 1 is still there");
    done(&fake, "remove 1 3 1");
    assert_eq!(fake.rules(), [format!("no-data for {WEB} to 192.0.2.2/32")]);
    done(&fake, "flush");
    assert!(fake.rules().is_empty());
    done(&fake, "flush");
}

#[test]
fn a_plan_changes_nothing_and_a_file_applied_twice_changes_nothing_the_second_time() {
    let fake = host();
    done(&fake, "add --unit web --dst 198.51.100.0/24");
    let wanted = file(
        &[("web", "192.0.2.0/24"), ("db", "192.0.2.0/24")],
        "[[guard]]\ncgroup = \"/\"\n",
    );
    let path = wanted.0.display();
    let plan = |fake: &FakePolicies| {
        let Ok(Command::Policy(config)) = crate::args::command(&format!("policy plan {path}")) else {
            panic!("a good command line")
        };
        let PolicyWhat::Plan(file) = config.what else {
            panic!("it is a plan")
        };
        super::file::plan(fake, &file, Access::Repair)
            .expect("there is a plan")
            .1
    };
    assert_eq!(
        plan(&fake).summary(),
        "3 to add, 0 to change, 1 to remove, 0 unchanged"
    );
    done(&fake, &format!("plan {path}"));
    assert_eq!(fake.rules().len(), 1, "a plan changes nothing");
    done(&fake, &format!("apply {path}"));
    let want = [
        format!("no-data for {WEB} to 192.0.2.0/24"),
        format!("no-data for {DB} to 192.0.2.0/24"),
    ];
    assert_eq!(fake.rules(), want);
    assert_eq!(fake.kept().guards.len(), 1);
    assert_eq!(
        plan(&fake).summary(),
        "0 to add, 0 to change, 0 to remove, 3 unchanged"
    );
    // What is new comes before what goes: nothing is without its rule in between.
    fake.kept().fails_at = Some(1);
    let other = file(&[("web", "203.0.113.0/24")], "");
    let failed = policy(&fake, &format!("apply {}", other.0.display())).expect_err("made to fail");
    assert_eq!(failed.message, "made to fail");
    assert_eq!(fake.rules().len(), 3, "{:?}", fake.rules());
}

#[test]
fn a_file_that_names_an_unknown_service_changes_nothing_unless_told_to_leave_it_out() {
    let fake = host();
    let wanted = file(&[("web", "192.0.2.0/24"), ("gone", "192.0.2.0/24")], "");
    let path = wanted.0.display();
    let refused = policy(&fake, &format!("apply {path}")).expect_err("there is no such service");
    assert!(refused.message.contains("line 4"), "{refused}");
    assert!(refused.hint.is_some_and(|hint| hint.contains("--skip-missing")));
    assert!(fake.rules().is_empty());
    done(&fake, &format!("apply --skip-missing {path}"));
    assert_eq!(fake.rules().len(), 1);
    // Two rules for one place, written in two ways.
    let twice = file(
        &[("web", "192.0.2.0/24")],
        &format!("[[rule]]\ncgroup = \"{WEB}\"\ndst = \"192.0.2.0/24\"\n"),
    );
    let refused = policy(&fake, &format!("apply {}", twice.0.display())).expect_err("it is there twice");
    assert!(refused.message.contains("is in line 1 already"), "{refused}");
}

fn look(fake: &FakePolicies, keeper: &mut Keeper) {
    let mut store = fake.open(Access::Repair).expect("it opens");
    keeper.add_new(&mut *store).expect("it is told");
}

#[test]
fn keeping_adds_rules_again_for_a_service_that_was_restarted_and_for_no_other() {
    let fake = host();
    let wanted = file(&[("web", "192.0.2.0/24"), ("db", "192.0.2.0/24")], "");
    let interfaces = Interfaces::default();
    let mut keeper = Keeper::new(wanted.0.clone(), interfaces).expect("the file is read");
    look(&fake, &mut keeper);
    assert_eq!(fake.rules().len(), 2);
    // Somebody removed one by hand: that is not undone.
    done(&fake, "remove 2");
    look(&fake, &mut keeper);
    assert_eq!(fake.rules(), [format!("no-data for {WEB} to 192.0.2.0/24")]);
    // A restart: the cgroup goes, with its rule, and comes back under another id.
    fake.kept().cgroups.remove(&7);
    look(&fake, &mut keeper);
    assert!(fake.rules().is_empty());
    fake.kept().cgroups.insert(70, WEB.to_owned());
    look(&fake, &mut keeper);
    assert_eq!(fake.rules(), [format!("no-data for {WEB} to 192.0.2.0/24")]);
    assert_eq!(fake.kept().rules[0].spec.cgroup.id, 70);
    // A rule that is there already, by whomever, is left alone.
    fake.kept().cgroups.remove(&8);
    look(&fake, &mut keeper);
    fake.kept().cgroups.insert(80, DB.to_owned());
    done(&fake, "add --unit db --dst 192.0.2.0/24 --action observe");
    look(&fake, &mut keeper);
    assert_eq!(fake.rules()[1], format!("observe for {DB} to 192.0.2.0/24"));
}

#[test]
fn keeping_goes_on_with_the_file_it_knows_and_tries_again_what_failed() {
    let fake = host();
    let wanted = file(&[("web", "192.0.2.0/24")], "");
    let mut keeper = Keeper::new(wanted.0.clone(), Interfaces::default()).expect("the file is read");
    fs::write(&wanted.0, "this is no policy file").expect("it is written");
    fake.kept().fails_at = Some(0);
    look(&fake, &mut keeper);
    assert!(fake.rules().is_empty(), "it was made to fail");
    fake.kept().fails_at = None;
    look(&fake, &mut keeper);
    assert_eq!(
        fake.rules().len(),
        1,
        "it was tried again, by the file from before"
    );
    let longer =
        "[[rule]]\nunit = \"web\"\ndst = \"192.0.2.0/24\"\n[[rule]]\nunit = \"db\"\ndst = \"::/0\"\n";
    fs::write(&wanted.0, longer).expect("it is written");
    look(&fake, &mut keeper);
    assert_eq!(fake.rules().len(), 2, "the new file counts");
}

#[test]
fn watching_waits_while_another_command_works() {
    let fake = host();
    fake.kept().is_busy = true;
    let mut reported = watch::Reported::default();
    assert_eq!(watch::round(&fake, &mut reported, None), Ok(()));
    let refused = policy(&fake, "list").expect_err("others wait for the lock");
    assert_eq!(refused.message, "lock: busy");
}

#[test]
fn a_guard_is_set_once_per_cgroup_and_removed() {
    let fake = host();
    let guard = |line: &str| {
        let Ok(Command::Guard(command)) = crate::args::command(&format!("guard {line}")) else {
            panic!("{line} is a good command line");
        };
        crate::commands::guard::run_on(&fake, &command.what)
    };
    assert_eq!(guard("on --unit web"), Ok(exit::DONE));
    assert_eq!(guard("on --unit web --failures 2"), Ok(exit::DONE));
    let settings: Vec<u8> = fake
        .kept()
        .guards
        .iter()
        .map(|guard| guard.spec.settings.failures)
        .collect();
    assert_eq!(settings, [2]);
    let refused = guard("off --unit db").expect_err("there is none");
    assert!(refused.message.contains("there is none"), "{refused}");
    assert_eq!(guard("off --unit web"), Ok(exit::DONE));
    assert!(fake.kept().guards.is_empty());
}

#[test]
fn what_is_told_to_have_been_done_was_done() {
    let fake = host();
    done(&fake, "add --unit web --dst 192.0.2.1");
    fake.kept().fails_at = Some(1);
    let mut store = fake.open(Access::Repair).expect("it opens");
    let rules = store.rules().expect("there are some");
    let changes = [Change::Remove(rules[0].clone()), Change::Remove(rules[0].clone())];
    let mut told = Vec::new();
    let failed = store.change(&changes, &Interfaces::default(), "me", &mut |change| {
        told.push(change.done());
    });
    assert!(failed.is_err());
    assert_eq!(told.len(), 1);
    assert!(fake.rules().is_empty());
}
