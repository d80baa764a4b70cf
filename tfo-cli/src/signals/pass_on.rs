//! Signals for whoever runs a command for somebody: they are passed on to it, and we outlive them to say what it did.
//!
//! They are blocked and read from a descriptor instead of handled, because who sent them matters: what a terminal sends
//! goes to every process in the foreground, so the command has it already, and twice would be once too often.

use std::io;

use nix::{
    libc,
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigSet, SigmaskHow, Signal, raise},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// What is passed on: all that people and service managers send. Stopping and continuing is not touched: a shell stops us
/// and the command together.
const PASSED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Signals on their way to the command.
#[derive(Debug)]
pub struct PassedOn {
    descriptor: SignalFd,
    before: SigSet,
}

/// One that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// Which.
    pub signal: Signal,
    /// The kernel sent it, as it does for a key of the terminal: to everybody in the foreground.
    pub from_terminal: bool,
}

impl PassedOn {
    /// Holds them back from now on, in this thread and in those it starts: to be called before there are any.
    pub fn begin() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in PASSED {
            mask.add(signal);
        }
        let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            descriptor: SignalFd::with_flags(&mask, flags)?,
            before,
        })
    }

    /// The mask that the command begins with: ours before.
    pub fn mask_before(&self) -> SigSet {
        self.before
    }

    /// The next one, if one came.
    pub fn next(&self) -> Option<Came> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
        Some(Came {
            signal,
            from_terminal: info.ssi_code > 0,
        })
    }
}

/// Ends this process as the command ended: by the same signal, so that shells see what they would have seen. Returns where
/// that does not end it; then an exit code has to say it.
pub fn end_by(signal: Signal) {
    // The command has written its core file; ours would replace it. Where the limit cannot be set it does.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = raise(signal);
    let mut mask = SigSet::empty();
    mask.add(signal);
    // A blocked one comes now.
    let _ = mask.thread_unblock();
}

/// Exit code that shells show for a signal.
pub fn exit_code(signal: libc::c_int) -> u8 {
    u8::try_from(128_i32.saturating_add(signal)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_signal_is_read_and_does_not_end_us() {
        // Masks belong to threads: this one is ours alone.
        let thread = thread::spawn(|| {
            let passed = PassedOn::begin().expect("a descriptor");
            assert_eq!(passed.next(), None);
            raise(Signal::SIGUSR1).expect("it is sent");
            let came = passed.next().expect("it came");
            assert_eq!((came.signal, came.from_terminal), (Signal::SIGUSR1, false));
            assert!(!passed.mask_before().contains(Signal::SIGUSR1));
        });
        thread.join().expect("it ends");
    }

    #[test]
    fn codes_are_those_of_shells() {
        assert_eq!([2, 9, 15, 64].map(exit_code), [130, 137, 143, 192]);
        assert_eq!(exit_code(500), 255);
    }
}
