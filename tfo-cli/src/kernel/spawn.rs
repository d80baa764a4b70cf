//! Starts a command inside a cgroup, as another user where that is wanted, and says which step failed: what is ours
//! before the command is executed, or the execution.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, PipeReader, Read as _, Write as _, pipe},
    os::unix::process::CommandExt as _,
    process::{Child, Command},
};

use nix::{
    sys::signal::{SigSet, SigmaskHow, pthread_sigmask},
    unistd::{Uid, User, getgrouplist},
};

/// What to start, and how.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Program and arguments; at least the first.
    pub command: &'a [OsString],
    /// `cgroup.procs` of the cgroup it goes into.
    pub door: File,
    /// Whose rights it has; the caller's where absent.
    pub user: Option<&'a Identity>,
    /// Signals it begins with blocked: those the caller was started with.
    pub mask: SigSet,
}

/// A user and the groups that user is in.
#[derive(Clone, Debug)]
pub struct Identity {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
    /// `HOME`, `USER`, `LOGNAME` and `SHELL`; none where the user is but a number.
    environment: Vec<(&'static str, OsString)>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Something of ours failed before the command was executed.
    #[error("{step}: {source}")]
    Before {
        /// What was tried.
        step: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The command could not be executed.
    #[error("{0}")]
    Exec(io::Error),
}

/// What the child does before it executes, in this order; the place is told through a pipe.
const STEPS: [&str; 5] = [
    "move into the cgroup",
    "set the groups of the user",
    "become the user's group",
    "become the user",
    "restore the signal mask",
];

impl Identity {
    /// A user by name or number. A number without a name in the user database is taken as it is, with the same number as
    /// group.
    ///
    /// # Errors
    ///
    /// Where there is no such user, or the database cannot be read.
    pub fn of(name: &str) -> io::Result<Self> {
        let number: Option<libc::uid_t> = name.parse().ok();
        let found = match number {
            Some(uid) => User::from_uid(Uid::from_raw(uid))?,
            None => User::from_name(name)?,
        };
        let Some(user) = found else {
            let uid =
                number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such user"))?;
            return Ok(Self {
                uid,
                gid: uid,
                groups: vec![uid],
                environment: Vec::new(),
            });
        };
        let c_name = std::ffi::CString::new(user.name.as_bytes())?;
        let groups = getgrouplist(&c_name, user.gid)?;
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            environment: vec![
                ("HOME", user.dir.into()),
                ("SHELL", user.shell.into()),
                ("USER", user.name.clone().into()),
                ("LOGNAME", user.name.into()),
            ],
        })
    }
}

/// Starts it.
pub fn spawn(wanted: Wanted<'_>) -> Result<Child, SpawnError> {
    let before = |step| move |source| SpawnError::Before { step, source };
    let (program, arguments) = wanted
        .command
        .split_first()
        .ok_or_else(|| SpawnError::Exec(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let (said, mut tell) = pipe().map_err(before("make a pipe"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(user) = wanted.user {
        command.envs(user.environment.iter().map(|(name, value)| (name, value)));
    }
    let (door, mask, user) = (wanted.door, wanted.mask, wanted.user.cloned());
    let prepare = move || {
        prepare(&door, &mask, user.as_ref()).map_err(|(step, error)| {
            // Should this fail, too, the error is taken for that of the execution.
            let _ = tell.write_all(&[step]);
            error
        })
    };
    // SAFETY: between fork and exec only system calls are made (write, setgroups, setgid, setuid, rt_sigmask): no memory
    // is allocated or freed and no lock is taken, whatever the other threads of this process were doing.
    unsafe { command.pre_exec(prepare) };
    let started = command.spawn();
    // The writing end is in the closure.
    drop(command);
    started.map_err(|source| match failed_step(said) {
        Some(step) => SpawnError::Before { step, source },
        None => SpawnError::Exec(source),
    })
}

fn failed_step(mut said: PipeReader) -> Option<&'static str> {
    let mut place = [0];
    said.read_exact(&mut place).ok()?;
    STEPS.get(usize::from(place[0])).copied()
}

/// What the child does first: moves while it has the caller's rights, then gives them up.
fn prepare(mut door: &File, mask: &SigSet, user: Option<&Identity>) -> Result<(), (u8, io::Error)> {
    door.write_all(b"0").map_err(|error| (0, error))?;
    if let Some(user) = user {
        // SAFETY: the list lives as long as the call, and is as long as it is said to be.
        let groups = unsafe { libc::setgroups(user.groups.len(), user.groups.as_ptr()) };
        checked(1, groups)?;
        // SAFETY: no pointers.
        checked(2, unsafe { libc::setgid(user.gid) })?;
        // SAFETY: no pointers.
        checked(3, unsafe { libc::setuid(user.uid) })?;
    }
    // The standard library has emptied it a moment ago.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(mask), None).map_err(|errno| (4, errno.into()))
}

fn checked(step: u8, result: libc::c_int) -> Result<(), (u8, io::Error)> {
    if result == 0 {
        Ok(())
    } else {
        Err((step, io::Error::last_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(command: &[OsString], door: File) -> Wanted<'_> {
        Wanted {
            command,
            door,
            user: None,
            mask: SigSet::empty(),
        }
    }

    fn null() -> File {
        File::options()
            .write(true)
            .open("/dev/null")
            .expect("it is there")
    }

    #[test]
    fn what_fails_before_the_command_is_told_from_the_command() {
        let there = ["true".into()];
        let mut child = spawn(wanted(&there, null())).expect("it starts");
        assert!(child.wait().expect("it ends").success());
        // /dev/full takes nothing.
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("it is there");
        let error = spawn(wanted(&there, full)).expect_err("nobody moves");
        assert!(
            matches!(error, SpawnError::Before { step, .. } if step == STEPS[0]),
            "{error}"
        );
        let absent = ["/no/such/command".into()];
        let error = spawn(wanted(&absent, null())).expect_err("there is none");
        assert!(
            matches!(&error, SpawnError::Exec(why) if why.kind() == io::ErrorKind::NotFound),
            "{error}"
        );
    }

    #[test]
    fn users_have_names_or_numbers() {
        assert_eq!(Identity::of("0").expect("root").uid, 0);
        assert_eq!(Identity::of("root").expect("root").environment[2].1, "root");
        let nameless = Identity::of("3999999999").expect("a number is enough");
        assert_eq!((nameless.uid, nameless.gid), (3_999_999_999, 3_999_999_999));
        assert!(nameless.environment.is_empty());
        assert!(Identity::of("no-such-user").is_err() && Identity::of("").is_err());
    }
}
