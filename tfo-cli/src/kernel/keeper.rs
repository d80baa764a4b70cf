//! The one thread that keeps rights after attaching: it enters network namespaces, opens cgroups by their number, and asks
//! for what the kernel tells administrators only. Everybody else asks it, and has given up theirs ([`super::rights`]).

use std::{
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use super::{cgroup_names::Names, host, rights};

/// What the thread remembers from one question to the next.
pub struct State {
    /// Settings and counters of namespaces.
    pub host: host::Reader,
    /// What cgroups are called.
    pub names: Names,
}

type Question = Box<dyn FnOnce(&mut State) + Send>;

/// Asks the thread. It ends with its last asker.
#[derive(Debug)]
pub struct Keeper {
    questions: Option<Sender<Question>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. It has the rights of the caller, as far as it may need them.
    pub fn start(names: Names) -> std::io::Result<Self> {
        let (questions, asked) = channel::<Question>();
        let thread = thread::Builder::new().name("keeper".into()).spawn(move || {
            // The caller's are whole as before where this fails: nothing is lost but caution.
            let _ = rights::keep_only(&rights::KEEPER);
            let mut state = State {
                host: host::Reader::default(),
                names,
            };
            while let Ok(question) = asked.recv() {
                question(&mut state);
            }
        })?;
        Ok(Self {
            questions: Some(questions),
            thread: Some(thread),
        })
    }

    /// Has the thread do something; `None` when it has panicked.
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut State) -> T + Send + 'static) -> Option<T> {
        let (answers, answer) = channel();
        let question: Question = Box::new(move |state| {
            // Who asked waits for the answer; only a panic there takes it away.
            let _ = answers.send(work(state));
        });
        self.questions.as_ref()?.send(question).ok()?;
        answer.recv().ok()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::Lookup;

    #[test]
    fn questions_are_answered_in_order_and_a_panic_is_no_answer() {
        let keeper = Keeper::start(Names::new("/nonexistent".into())).expect("a thread");
        assert_eq!(keeper.ask(|state| state.names.path(7)), Some(Lookup::Gone));
        assert_eq!(keeper.ask(|_| 1).zip(keeper.ask(|_| 2)), Some((1, 2)));
        assert_eq!(keeper.ask(|_| -> u8 { panic!("as it must in this test") }), None);
        assert_eq!(keeper.ask(|_| 3), None);
    }
}
