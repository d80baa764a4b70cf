//! Plans and makes the changes of the policy that the dashboard asks for: in a thread of its own, because another
//! command may hold the lock for a while, and by the same code as `tfo-cli policy`.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

use crate::{
    commands::policy,
    exit::{self, Failure},
    kernel::{
        self,
        policy::{Access, Store},
    },
    output::{clean, complain},
    policy::{Change, Interfaces, Plan, Request, Where, request::Wish},
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
    pub fn start(bpffs: PathBuf, stop: Stop) -> anyhow::Result<Self> {
        let (jobs, wanted) = channel();
        let (done, answers) = channel();
        let thread = thread::Builder::new()
            .name("policy".into())
            .spawn(move || {
                let _held = stop.on_panic();
                for job in wanted {
                    if done.send(answer(&bpffs, &job)).is_err() {
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

fn answer(bpffs: &Path, job: &Job) -> Answer {
    match job {
        Job::Plan(request) => Answer::Planned(plan(bpffs, request).map(|(_, plan)| plan).map_err(words)),
        Job::Change(request, shown) => Answer::Changed(change(bpffs, request, shown).map_err(words)),
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
fn plan(bpffs: &Path, request: &Request) -> Result<(Store, Plan), Failure> {
    let store = policy::open(bpffs, Access::Look)?;
    let id = request.target.cgroup_id;
    let path = store.cgroups().path(id).ok_or_else(|| {
        Failure::new(exit::FAILED, format!("cgroup {id}: it is gone"))
            .hint("a service that was restarted has a new cgroup, and a row of its own")
    })?;
    let rules = store.rules().map_err(|error| policy::failure(&error))?;
    let plan = request
        .plan(Where { path, id }, &rules, kernel::now().monotonic_ns)
        .map_err(|refused| Failure::new(exit::FAILED, &refused).hint(refused.hint()))?;
    Ok((store, plan))
}

/// Makes the change that was shown, and no other.
fn change(bpffs: &Path, request: &Request, shown: &Plan) -> Result<String, Failure> {
    let (mut store, plan) = plan(bpffs, request)?;
    if !plan.is_same(shown) {
        let why = "nothing was done: the policy has changed since the plan was shown";
        return Err(Failure::new(exit::FAILED, why).hint("ask again to see what would change now"));
    }
    // The option is stripped where the service is, which need not be where the dashboard is.
    let strips = matches!(request.wish, Wish::Add { action, .. } if action.strips_option());
    let process = store
        .cgroups()
        .process(request.target.cgroup_id)
        .filter(|_| strips);
    let interfaces = Interfaces {
        netns: process.map(|id| id.to_string()),
        devices: Vec::new(),
    };
    policy::change(&mut store, &plan.changes, &interfaces)?;
    let done: Vec<String> = plan.changes.iter().map(Change::done).collect();
    Ok(clean(&done.join("; ")))
}
