//! Plans and makes the changes of the policy that the dashboard asks for: in a thread of its own, because another
//! command may hold the lock for a while, and by the same code as `tfo-cli policy`.

use std::{
    cell::Cell,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

use crate::{
    commands::policy,
    exit::{self, Failure},
    kernel,
    output::{clean, complain},
    policy::{
        Access, CgroupRef, Change, Enforcement, Interfaces, Plan, Policies, Request, request::Operation,
    },
    signals::Stop,
    tui::{self, Answer, Job},
};

/// The thread. Dropping it waits for what is under way, so that its log is complete.
pub struct Enforcer {
    /// `None` from its end on.
    jobs: Option<Sender<Job>>,
    answers: Receiver<Answer>,
    is_busy: Cell<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Enforcer {
    /// Starts it.
    pub fn start(policies: impl Policies + Send + 'static, stop: Stop) -> anyhow::Result<Self> {
        let (jobs, wanted) = channel();
        let (done, answers) = channel();
        let thread = thread::Builder::new()
            .name("policy".into())
            .spawn(move || {
                let _held = stop.on_panic();
                for job in wanted {
                    if done.send(answer(&policies, &job)).is_err() {
                        return;
                    }
                }
            })
            .context("start the thread that changes the policy")?;
        Ok(Self {
            jobs: Some(jobs),
            answers,
            is_busy: Cell::new(false),
            thread: Some(thread),
        })
    }
}

impl tui::Enforcer for Enforcer {
    fn begin(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends early only by a panic, and that ends the dashboard.
            self.is_busy.set(jobs.send(job).is_ok());
        }
    }

    fn finished(&self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok();
        self.is_busy.set(self.is_busy.get() && answer.is_none());
        answer
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        self.jobs = None;
        if self.is_busy.get() {
            // Whoever reads this sees why the prompt does not come; nobody is left to tell when it cannot be written.
            let _ = complain(&"tfo-cli: policy: waiting for what is under way");
        }
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by its own message.
            let _ = thread.join();
        }
    }
}

fn answer(policies: &dyn Policies, job: &Job) -> Answer {
    match job {
        Job::Plan(request) => Answer::Planned(plan(policies, request).map(|(_, plan)| plan).map_err(words)),
        Job::Change(request, shown) => Answer::Changed(change(policies, request, shown).map_err(words)),
    }
}

/// Error and hint on one line.
fn words(failure: Failure) -> String {
    match failure.hint {
        Some(hint) => clean(&format!("{}; {hint}", failure.message)),
        None => clean(&failure.message),
    }
}

/// What a request would change now.
fn plan(policies: &dyn Policies, request: &Request) -> Result<(Box<dyn Enforcement>, Plan), Failure> {
    let store = policy::open(policies, Access::Change)?;
    let id = request.target.cgroup_id;
    let path = store.cgroups().path(id).ok_or_else(|| {
        Failure::new(exit::FAILED, format!("cgroup {id}: it is gone"))
            .hint("a service that was restarted has a new cgroup, and a row of its own")
    })?;
    let rules = store.rules()?;
    let plan = request
        .plan(CgroupRef { path, id }, &rules, kernel::now().monotonic_ns)
        .map_err(|refused| Failure::new(exit::FAILED, &refused).hint(refused.hint()))?;
    Ok((store, plan))
}

/// Makes the change that was shown, and no other.
fn change(policies: &dyn Policies, request: &Request, shown: &Plan) -> Result<String, Failure> {
    let (mut store, plan) = plan(policies, request)?;
    if !plan.is_same(shown) {
        let why = "nothing was done: the policy has changed since the plan was shown";
        return Err(Failure::new(exit::FAILED, why).hint("ask again to see what would change now"));
    }
    // The option is stripped where the service is, which need not be where the dashboard is.
    let strips = matches!(request.operation, Operation::Add { action, .. } if action.strips_option());
    let process = store
        .cgroups()
        .process(request.target.cgroup_id)
        .filter(|_| strips);
    let interfaces = Interfaces {
        netns: process.map(|id| id.to_string()),
        devices: Vec::new(),
    };
    policy::change(&mut *store, &plan.changes, &interfaces)?;
    let done: Vec<String> = plan.changes.iter().map(Change::done).collect();
    Ok(clean(&done.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tfo_common::PolicyAction;

    use super::*;
    use crate::{
        policy::{fake::FakePolicies, request::Target},
        tui::Enforcer as _,
    };

    const WEB: &str = "/system.slice/web.service";

    fn request(operation: Operation) -> Request {
        let target = Target {
            cgroup_id: 7,
            remote: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
            port: 443,
        };
        Request { target, operation }
    }

    fn add() -> Request {
        request(Operation::Add {
            action: PolicyAction::NoData,
            all_ports: false,
            ttl: None,
        })
    }

    /// What came of a job, as the dashboard would see it.
    fn ask(enforcer: &Enforcer, job: Job) -> Answer {
        enforcer.begin(job);
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(answer) = enforcer.finished() {
                return answer;
            }
            assert!(Instant::now() < deadline, "there is no answer");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn planned(enforcer: &Enforcer, request: Request) -> Result<Plan, String> {
        match ask(enforcer, Job::Plan(request)) {
            Answer::Planned(plan) => plan,
            other @ Answer::Changed(_) => panic!("{other:?}"),
        }
    }

    fn changed(enforcer: &Enforcer, request: Request, plan: Plan) -> Result<String, String> {
        match ask(enforcer, Job::Change(request, plan)) {
            Answer::Changed(done) => done,
            other @ Answer::Planned(_) => panic!("{other:?}"),
        }
    }

    fn enforcer(fake: &FakePolicies) -> Enforcer {
        Enforcer::start(fake.clone(), Stop::default()).expect("the thread starts")
    }

    #[test]
    fn what_was_shown_is_done_and_nothing_before_it_is_confirmed() {
        let fake = FakePolicies::with_cgroups([(7, WEB)]);
        let enforcer = enforcer(&fake);
        let plan = planned(&enforcer, add()).expect("there is a plan");
        assert!(fake.rules().is_empty(), "a plan changes nothing");
        let want = format!("no-data for {WEB} to 192.0.2.1/32 port 443 (tfo-cli top)");
        assert_eq!(changed(&enforcer, add(), plan), Ok(format!("added {want}")));
        assert_eq!(fake.rules(), [want]);
        let taken = planned(&enforcer, add()).expect_err("the place is taken");
        assert!(
            taken.contains("rule 1 is there already") && taken.contains("; expire or"),
            "{taken}"
        );
        let plan = planned(&enforcer, request(Operation::Remove)).expect("there is a plan");
        assert!(changed(&enforcer, request(Operation::Remove), plan).is_ok());
        assert!(fake.rules().is_empty());
    }

    #[test]
    fn a_policy_that_changed_since_the_plan_was_shown_is_left_alone() {
        let fake = FakePolicies::with_cgroups([(7, WEB)]);
        let enforcer = enforcer(&fake);
        let plan = planned(&enforcer, add()).expect("there is a plan");
        assert!(changed(&enforcer, add(), plan).is_ok());
        let shown = planned(&enforcer, request(Operation::Remove)).expect("there is a plan");
        fake.kept().rules[0].spec.note = "ticket 4711".to_owned();
        let refused =
            changed(&enforcer, request(Operation::Remove), shown).expect_err("it is another rule now");
        assert!(refused.starts_with("nothing was done"), "{refused}");
        assert_eq!(fake.rules().len(), 1);
    }

    #[test]
    fn errors_come_back_in_words_with_what_to_do() {
        let fake = FakePolicies::with_cgroups([(1, "/")]);
        let enforcer = enforcer(&fake);
        let gone = planned(&enforcer, add()).expect_err("the cgroup is gone");
        assert!(gone.starts_with("cgroup 7: it is gone; a service"), "{gone}");
        fake.kept().cgroups.insert(7, WEB.to_owned());
        fake.kept().is_busy = true;
        assert_eq!(planned(&enforcer, add()), Err("lock: busy".to_owned()));
        fake.kept().is_busy = false;
        let none = planned(&enforcer, request(Operation::Remove)).expect_err("there is no rule");
        assert!(none.contains("no rule decides"), "{none}");
        fake.kept().fails_at = Some(0);
        let plan = planned(&enforcer, add()).expect("there is a plan");
        assert_eq!(changed(&enforcer, add(), plan), Err("made to fail".to_owned()));
        assert!(fake.rules().is_empty());
    }

    #[test]
    fn stripping_is_asked_for_where_the_service_is() {
        let fake = FakePolicies::with_cgroups([(7, WEB)]);
        let enforcer = enforcer(&fake);
        let strip = request(Operation::Add {
            action: PolicyAction::Strip,
            all_ports: true,
            ttl: None,
        });
        let plan = planned(&enforcer, strip).expect("there is a plan");
        assert!(changed(&enforcer, strip, plan).is_ok());
        // A service without a process has no namespace of its own to find.
        assert_eq!(fake.kept().interfaces, [Interfaces::default()]);
        fake.kept().processes.insert(7, 4711);
        let remove = planned(&enforcer, request(Operation::Remove)).expect("there is a plan");
        assert!(changed(&enforcer, request(Operation::Remove), remove).is_ok());
        let plan = planned(&enforcer, strip).expect("there is a plan");
        assert!(changed(&enforcer, strip, plan).is_ok());
        let asked: Vec<Option<String>> = fake.kept().interfaces.iter().map(|at| at.netns.clone()).collect();
        assert_eq!(asked, [None, None, Some("4711".to_owned())]);
    }
}
