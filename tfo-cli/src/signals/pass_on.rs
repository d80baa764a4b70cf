//! Forwards signals to the command that `run` has started, without ending this process, which still has to report.
//!
//! The signals are blocked and read from a file descriptor, which tells their sender: a signal of the terminal goes to
//! every process in the foreground, so that the command has it already and must not get it twice. So does one that the command
//! itself has sent, to its process group (`kill 0`), which is ours too. One that somebody else sends to the group says no more
//! than one for us alone (`siginfo` of kill(2) has no receiver), and is forwarded.

use std::io;

use nix::{
    libc,
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigSet, SigmaskHow, Signal, raise},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// The signals that are forwarded: those that users and service managers send. Stopping and continuing are left out: a
/// shell stops this process and the command together.
const PASSED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// The signals to forward, blocked in the threads of this process.
#[derive(Debug)]
pub struct PassedOn {
    descriptor: SignalFd,
    before: SigSet,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The signal.
    pub signal: Signal,
    /// Whether the kernel sent it, as for a key of the terminal, to every process in the foreground.
    pub from_terminal: bool,
    /// The process that sent it; 0 where the kernel did, or one of another PID namespace.
    pub sender: u32,
}

impl PassedOn {
    /// Blocks the signals from now on, in this thread and in those that it starts later. To be called before there are
    /// other threads.
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

    /// The signal mask from before, which the command starts with.
    pub fn mask_before(&self) -> SigSet {
        self.before
    }

    /// The next signal that has arrived; `None` when there is none.
    pub fn next(&self) -> Option<Came> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
        Some(Came {
            signal,
            from_terminal: info.ssi_code > 0,
            sender: info.ssi_pid,
        })
    }
}

/// Ends this process by the signal that ended the command, so that a shell sees the same as without `run`. Returns when
/// the signal does not end it; then an exit code has to tell it.
pub fn end_by(signal: Signal) {
    // Without this, the core file of this process would replace that of the command.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = raise(signal);
    let mut mask = SigSet::empty();
    mask.add(signal);
    // A blocked signal is delivered now.
    let _ = mask.thread_unblock();
}

/// The exit code by which shells tell that a signal ended a command.
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
            assert_eq!(came.sender, std::process::id());
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
