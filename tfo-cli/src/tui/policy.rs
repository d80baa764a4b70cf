//! Keys that change rules: what they are about, the plan that has to be confirmed, and what is under way. Nothing here
//! touches the policy: requests go out as effects, and come back as plans and results.

mod form;

use tfo_common::Role;

pub use self::form::{Field, Form, FormKey};
use super::{
    Permission,
    command::Command,
    lines::Line,
    state::{Page, Popup, State},
    update::Effect,
};
use crate::model::diagnosis::Finding;
use crate::policy::{
    Installed, Plan, Request,
    decide::decide,
    request::{Operation, Target},
};

/// Plans and makes changes of the policy, on a thread of its own.
pub trait Enforcer {
    /// Begins a job.
    fn begin(&self, job: Job);
    /// The answer, once the job is done.
    fn finished(&self) -> Option<Answer>;
}

/// Something for an [`Enforcer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Say what a request would change.
    Plan(Request),
    /// Do it, if it would still change what this plan says.
    Change(Request, Plan),
}

/// What came out of a job; errors in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What would change.
    Planned(Result<Plan, String>),
    /// What was changed.
    Changed(Result<String, String>),
}

/// What is asked for, and what is under way.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The latest request.
    request: Option<Request>,
    /// What it would change.
    pub plan: Option<Plan>,
    /// No answer yet.
    is_busy: bool,
}

/// A key that changes rules.
pub fn apply(state: &mut State, command: Command) -> Vec<Effect> {
    let target = match allowed(state).and_then(|()| target(state)) {
        Ok(target) => target,
        Err(why) => {
            state.message = Some(why.to_owned());
            state.resize();
            return Vec::new();
        }
    };
    match command {
        Command::AddRule => state.popup = Some(Popup::Rule(Form::add(target))),
        // Here, not as the answer to a form somebody has filled in.
        Command::ExpireRule if deciding(state, &target) == Deciding::Nothing => {
            tell(
                state,
                format!("no rule decides on connections to {}", target.remote),
            );
        }
        Command::ExpireRule => state.popup = Some(Popup::Rule(Form::expire(target))),
        _ => {
            let operation = Operation::Remove;
            return ask(state, Request { target, operation });
        }
    }
    Vec::new()
}

fn allowed(state: &State) -> Result<(), &'static str> {
    match state.permission {
        Permission::Recording => Err("a recording has no policy that could be changed"),
        Permission::ReadOnly => {
            Err("nothing is changed here: start `tfo-cli top --allow-policy` to add, expire and remove rules")
        }
        Permission::Allowed if state.asked.is_busy => {
            Err("the policy is being worked on: wait for the result")
        }
        Permission::Allowed => Ok(()),
    }
}

/// The service and the destination of what is open or under the cursor.
fn target(state: &State) -> Result<Target, &'static str> {
    let snapshot = &state.snapshot;
    let of_row = |index: u32| snapshot.rows.get(index as usize).map(|row| row.key);
    let of_flow = |flow: &crate::model::Flow| {
        let event = flow.event();
        (flow.role(), event.cgroup_id, flow.remote_ip(), event.remote_port)
    };
    let of_key = |key: tfo_common::DestKey| {
        let role = Role::from_code(key.role).unwrap_or(Role::Client);
        let remote = crate::addr::ip(&key.remote, key.family);
        (role, key.cgroup_id, remote, key.port)
    };
    // A rule is for one destination: the worst row stands for the others.
    let of_finding = |finding: &Finding| finding.rows.first().copied().map(of_key);
    let found = match (&state.page, state.line()) {
        (Some(Page::Destination(key)), _) => Some(of_key(*key)),
        (Some(Page::Finding(id, subject)), _) => state.finding(*id, subject).and_then(of_finding),
        (Some(Page::Flow(flow)), _) => Some(of_flow(flow)),
        (None, Some(Line::Destination(index) | Line::OfService(index))) => of_row(index).map(of_key),
        (None, Some(Line::Finding(index))) => {
            let found = snapshot.diagnosis.findings.get(index as usize);
            found.and_then(of_finding)
        }
        (None, Some(Line::Flow(index))) => snapshot.flows.get(index as usize).map(of_flow),
        // A rule for all destinations of a service is for a policy file, not for a key.
        (None, Some(Line::Service(_) | Line::Process(..))) => {
            return Err("a rule is for a destination: unfold the service and choose one");
        }
        (None, Some(Line::Listener(_)) | None) => None,
    };
    match found {
        None => Err("a rule is for a destination, and none is chosen here"),
        Some((Role::Server, ..)) => Err("rules are about SYNs this host sends: here it is the server"),
        Some((_, 0, ..)) => Err("the service of this row is not known"),
        Some((_, cgroup_id, remote, port)) => Ok(Target {
            cgroup_id,
            remote,
            port,
        }),
    }
}

/// What decides on a target, as it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deciding<'a> {
    /// It could not be read.
    NotKnown,
    /// No rule.
    Nothing,
    /// This one.
    Rule(&'a Installed),
}

/// Looks up what decides on a target.
pub fn deciding<'a>(state: &'a State, target: &Target) -> Deciding<'a> {
    let snapshot = &state.snapshot;
    let service = snapshot.names.get(target.cgroup_id);
    let Some((policy, service)) = snapshot.policy.as_ref().zip(service) else {
        return Deciding::NotKnown;
    };
    let remote = target.remote.to_canonical();
    let rule = decide(&policy.rules, &service.path, remote, snapshot.at_ns);
    rule.map_or(Deciding::Nothing, Deciding::Rule)
}

/// A key in the form.
pub fn fill(state: &mut State, key: FormKey) -> Vec<Effect> {
    let Some(Popup::Rule(mut form)) = state.popup else {
        return Vec::new();
    };
    match key {
        FormKey::Go(by) => form.go(by),
        FormKey::Choose(by) => form.choose(by),
        FormKey::Done => return ask(state, form.request()),
    }
    state.popup = Some(Popup::Rule(form));
    Vec::new()
}

fn ask(state: &mut State, request: Request) -> Vec<Effect> {
    state.asked = Asked {
        request: Some(request),
        plan: None,
        is_busy: true,
    };
    state.popup = Some(Popup::Planning);
    vec![Effect::Policy(Job::Plan(request))]
}

/// The plan was seen, and is what the user wants.
pub fn confirm(state: &mut State) -> Vec<Effect> {
    let (Some(request), Some(plan)) = (state.asked.request, state.asked.plan.take()) else {
        return Vec::new();
    };
    state.asked.is_busy = true;
    tell(state, "changing the policy ...".to_owned());
    vec![Effect::Policy(Job::Change(request, plan))]
}

/// Something came back.
pub fn answered(state: &mut State, answer: Answer) {
    state.asked.is_busy = false;
    let waits = state.popup == Some(Popup::Planning);
    match answer {
        // Whoever does not wait any more does not want it any more.
        Answer::Planned(_) if !waits => {}
        Answer::Planned(Ok(plan)) => {
            state.asked.plan = Some(plan);
            (state.popup, state.scroll) = (Some(Popup::Plan), 0);
        }
        Answer::Planned(Err(why)) => {
            state.popup = None;
            tell(state, why);
        }
        Answer::Changed(Ok(what) | Err(what)) => tell(state, what),
    }
}

fn tell(state: &mut State, what: String) {
    state.message = Some(what);
    state.resize();
}
