//! Keys that change rules: which destination they are about, the plan that the user has to confirm, and the request that
//! is being worked on. The policy itself is not touched here: requests leave as effects, plans and results come back as
//! actions.

mod form;

use tfo_common::Role;

pub use self::form::{Field, Form, FormKey};
use super::{
    Permission,
    command::Command,
    state::{Page, Popup, State},
    table::TableLine,
    update::Effect,
};
use crate::model::diagnosis::Finding;
use crate::policy::{
    Installed, Plan, Request,
    decide::decide,
    request::{Operation, Target},
};

/// Plans and makes changes of the policy on a thread of its own, because the lock of the policy may be held by others.
pub trait Enforcer {
    /// Hands a job to the thread; returns at once.
    fn begin(&self, job: Job);
    /// The answer to a job that is done; `None` while there is none. Each answer is given once.
    fn finished(&self) -> Option<Answer>;
}

/// What an [`Enforcer`] is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Work out what a request would change.
    Plan(Request),
    /// Make the change, if it is still the one that this plan says.
    Change(Request, Plan),
}

/// The answer to a [`Job`]; an error is a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer to [`Job::Plan`]: what would change.
    Planned(Result<Plan, String>),
    /// Answer to [`Job::Change`]: what was changed, in words.
    Changed(Result<String, String>),
}

/// The request that the user is being asked about, or that is being worked on.
#[derive(Clone, Debug, Default)]
pub struct PolicyDialog {
    /// The latest request; `None` before the first.
    request: Option<Request>,
    /// What the request would change; `None` until that is known, and from its confirmation on.
    pub plan: Option<Plan>,
    /// Whether a job has no answer yet; no other begins meanwhile.
    is_busy: bool,
}

/// Handles a key that adds, expires or removes a rule.
pub fn apply(state: &mut State, command: Command) -> Vec<Effect> {
    let target = match check_allowed(state).and_then(|()| target(state)) {
        Ok(target) => target,
        Err(why) => {
            state.message = Some(why.to_owned());
            state.resize();
            return Vec::new();
        }
    };
    match command {
        Command::AddRule => state.popup = Some(Popup::Rule(Form::add(target))),
        // This is said at once, and not only after the user has filled a form in.
        Command::ExpireRule if rule_in_force(state, &target) == RuleInForce::Nothing => {
            show_message(
                state,
                format!("no rule decides on connections to {}", target.remote),
            );
        }
        Command::ExpireRule => state.popup = Some(Popup::Rule(Form::expire(target))),
        _ => {
            let operation = Operation::Remove;
            return request_plan(state, Request { target, operation });
        }
    }
    Vec::new()
}

/// Whether keys may change the policy now; the error says why not.
fn check_allowed(state: &State) -> Result<(), &'static str> {
    match state.permission {
        Permission::Recording => Err("a recording has no policy that could be changed"),
        Permission::ReadOnly => {
            Err("nothing is changed here: start `tfo-cli top --allow-policy` to add, expire and remove rules")
        }
        Permission::Allowed if state.policy_dialog.is_busy => {
            Err("the policy is being worked on: wait for the result")
        }
        Permission::Allowed => Ok(()),
    }
}

/// The service and the destination of the open page or of the line under the cursor; the error says why there is none.
fn target(state: &State) -> Result<Target, &'static str> {
    let snapshot = &state.snapshot;
    let of_row = |index: u32| snapshot.rows.get(index as usize).map(|row| row.key);
    let of_flow = |flow: &crate::model::Flow| {
        let event = flow.event();
        let target = Target {
            cgroup_id: event.cgroup_id,
            remote: flow.remote_ip(),
            port: event.remote_port,
        };
        (flow.role(), target)
    };
    let of_key = |key: tfo_common::DestKey| {
        let role = Role::from_code(key.role).unwrap_or(Role::Client);
        let remote = crate::addr::ip(&key.remote, key.family);
        let target = Target {
            cgroup_id: key.cgroup_id,
            remote,
            port: key.port,
        };
        (role, target)
    };
    // A rule is for one destination: of a finding with several, the first and worst.
    let of_finding = |finding: &Finding| finding.rows.first().copied().map(of_key);
    let found = match (&state.page, state.line()) {
        (Some(Page::Destination(key)), _) => Some(of_key(*key)),
        (Some(Page::Finding(id, subject)), _) => state.finding(*id, subject).and_then(of_finding),
        (Some(Page::Flow(flow)), _) => Some(of_flow(flow)),
        (None, Some(TableLine::Destination(index) | TableLine::OfService(index))) => {
            of_row(index).map(of_key)
        }
        (None, Some(TableLine::Finding(index))) => {
            let found = snapshot.diagnosis.findings.get(index as usize);
            found.and_then(of_finding)
        }
        (None, Some(TableLine::Flow(index))) => snapshot.flows.get(index as usize).map(of_flow),
        // Rules for all destinations of a service are written in a policy file.
        (None, Some(TableLine::Service(_) | TableLine::Process(..))) => {
            return Err("a rule is for a destination: unfold the service and choose one");
        }
        (None, Some(TableLine::Listener(_)) | None) => None,
    };
    match found {
        None => Err("a rule is for a destination, and none is chosen here"),
        Some((Role::Server, _)) => Err("rules are about SYNs this host sends: here it is the server"),
        Some((Role::Client, target)) if target.cgroup_id == 0 => Err("the service of this row is not known"),
        Some((Role::Client, target)) => Ok(target),
    }
}

/// The rule that decides on a target, as the policy was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleInForce<'a> {
    /// The policy could not be read, or the cgroup of the service is gone.
    NotKnown,
    /// No rule decides.
    Nothing,
    /// This rule decides.
    Rule(&'a Installed),
}

/// Looks up the rule that decides on a target.
pub fn rule_in_force<'a>(state: &'a State, target: &Target) -> RuleInForce<'a> {
    let snapshot = &state.snapshot;
    let service = snapshot.names.get(target.cgroup_id);
    let Some((policy, service)) = snapshot.policy.as_ref().zip(service) else {
        return RuleInForce::NotKnown;
    };
    let remote = target.remote.to_canonical();
    let rule = decide(&policy.rules, &service.path, remote, snapshot.at_ns);
    rule.map_or(RuleInForce::Nothing, RuleInForce::Rule)
}

/// Handles a key in the form of a rule.
pub fn fill(state: &mut State, key: FormKey) -> Vec<Effect> {
    let Some(Popup::Rule(mut form)) = state.popup else {
        return Vec::new();
    };
    match key {
        FormKey::Go(by) => form.go(by),
        FormKey::Choose(by) => form.choose(by),
        FormKey::Done => return request_plan(state, form.request()),
    }
    state.popup = Some(Popup::Rule(form));
    Vec::new()
}

/// Requests the plan of a change.
fn request_plan(state: &mut State, request: Request) -> Vec<Effect> {
    state.policy_dialog = PolicyDialog {
        request: Some(request),
        plan: None,
        is_busy: true,
    };
    state.popup = Some(Popup::Planning);
    vec![Effect::Policy(Job::Plan(request))]
}

/// Requests the change whose plan the user has confirmed.
pub fn confirm(state: &mut State) -> Vec<Effect> {
    let (Some(request), Some(plan)) = (state.policy_dialog.request, state.policy_dialog.plan.take()) else {
        return Vec::new();
    };
    state.policy_dialog.is_busy = true;
    show_message(state, "changing the policy ...".to_owned());
    vec![Effect::Policy(Job::Change(request, plan))]
}

/// Handles an answer of the [`Enforcer`].
pub fn answered(state: &mut State, answer: Answer) {
    state.policy_dialog.is_busy = false;
    let is_awaited = state.popup == Some(Popup::Planning);
    match answer {
        // The user has closed the popup meanwhile and does not want the plan any more.
        Answer::Planned(_) if !is_awaited => {}
        Answer::Planned(Ok(plan)) => {
            state.policy_dialog.plan = Some(plan);
            (state.popup, state.scroll) = (Some(Popup::Plan), 0);
        }
        Answer::Planned(Err(why)) => {
            state.popup = None;
            show_message(state, why);
        }
        Answer::Changed(Ok(what) | Err(what)) => show_message(state, what),
    }
}

fn show_message(state: &mut State, text: String) {
    state.message = Some(text);
    state.resize();
}
