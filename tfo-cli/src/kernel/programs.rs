//! Loading and attaching each program, and what it means when an optional one is refused.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{BtfTracePoint, CgroupAttachMode, Iter, Program, ProgramError, SockOps},
};
use tfo_common::{
    flags::Config,
    layout::Layout,
    limits,
    maps::{self, GLOBAL_CONFIG, Part},
    records,
};

use super::{
    Error,
    cgroup::Cgroup,
    direct::Arrays,
    neighbours::{self, Hook},
    object, rights, sys,
};
use crate::model::source::Degradation;

/// Optional tracepoints: program, tracepoint, name of the degradation without it, and what is missed then.
const OPTIONAL: [(&str, &str, &str, &str); 3] = [
    (
        maps::PROG_RETRANSMIT_SYNACK,
        "tcp_retransmit_synack",
        "synack-retrans",
        "SYN-ACK retransmissions of accepted server connections are not counted",
    ),
    (
        maps::PROG_SK_ERROR,
        ERRORS,
        "socket-error",
        "connections that end in an error before a SYN was sent again are shown when they are closed",
    ),
    // Behind it: not needed where that is attached.
    (
        maps::PROG_RECEIVE_RESET,
        "tcp_receive_reset",
        "reset",
        "connections answered with a RST are shown as failed",
    ),
];
/// The tracepoint that tells errors, before they are taken off the socket: a RST, too. Called for connections that end in an
/// error; `tcp_receive_reset` would be called for the same and for all others that a RST ends.
const ERRORS: &str = "inet_sk_error_report";
/// The tracepoint nothing works without: it removes the state of sockets that end.
const DESTROY: (&str, &str) = (maps::PROG_DESTROY_SOCK, "tcp_destroy_sock");

/// Creates the maps and prepares the programs. The arrays have to stay until those are loaded.
pub fn load(layout: &Layout, config: Config, destinations: u32, btf: &Btf) -> Result<(Ebpf, Arrays), Error> {
    let requests = sys::lru_entries(limits::REQUESTS)?;
    let arrivals = sys::lru_entries(limits::LISTENERS)?;
    let cpus = sys::possible_cpus()?;
    // Whoever asks for small tables wants to see them overflow.
    let arrived = if arrivals < limits::LISTENERS {
        1
    } else {
        1 + limits::ARRIVED * cpus.min(limits::ARRIVED_CPUS)
    };
    let arrays = Arrays::make(&maps::DIRECT)?;
    let ebpf = EbpfLoader::new()
        .btf(Some(btf))
        .override_global(GLOBAL_CONFIG, bytes_of(&config), true)
        .map_max_entries(maps::DESTS, destinations)
        .map_max_entries(maps::REQUESTS, requests)
        .map_max_entries(maps::ARRIVALS, arrivals)
        .map_max_entries(maps::ARRIVED, arrived)
        .map_max_entries(maps::RECORDS, records::blocks(cpus))
        .load(object::Prepared::new(object::bytes()?, layout, &arrays.made()).bytes())
        .map_err(|error| Error::Load { why: chain(&error) })?;
    Ok((ebpf, arrays))
}

/// The memory of a plain structure without padding.
pub(super) fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: every structure of `tfo_common` is `repr(C)` with explicit padding: all bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// What became of programs the verifier was asked about, by name.
pub type Verified = HashMap<&'static str, Result<(), ProgramError>>;

/// Threads that load programs at most: the longest verification takes as long as all others but a few.
const LOADERS: usize = 4;

/// Loads every program, several at a time: they know nothing of each other, and the verifier of a privileged caller
/// takes no lock. Those that need longest come first.
pub fn verify(ebpf: &mut Ebpf, btf: &Btf) -> Verified {
    let mut waiting: Vec<(&'static str, &mut Program)> = ebpf
        .programs_mut()
        .filter_map(|(name, program)| Some((known(name)?, program)))
        .collect();
    // Taken from the end.
    waiting.sort_by_key(|(name, _)| SLOW.iter().rev().position(|slow| slow == name));
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        let mut done = Vec::new();
        while let Some((name, program)) = next() {
            done.push((name, load_one(name, program, btf)));
        }
        done
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(LOADERS);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        // One that panicked leaves its programs unloaded, which whoever needs them says.
        done.extend(
            others
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .flatten(),
        );
        done.into_iter().collect()
    })
}

/// Programs whose verification takes longest, the longest first.
const SLOW: [&str; 4] = [
    Part::Rare.program(),
    Part::ServerEstablished.program(),
    maps::PROG_DESTROY_SOCK,
    maps::PROG_SK_ERROR,
];

/// The name of one of our programs as `tfo_common` has it; `None` for those that are not for this machine.
fn known(name: &str) -> Option<&'static str> {
    let parts = Part::ALL.map(Part::program);
    let mut all = maps::PROGRAMS.into_iter().chain(parts);
    all.find(|known| *known == name && is_for_this_machine(name))
}

/// Whether the verifier here is asked about this program.
pub fn is_for_this_machine(name: &str) -> bool {
    name != Part::Finish.program() || rights::has_exchange()
}

/// The program that does the work of a part here: where there are no blocks, verdicts go by rings from the beginning.
fn program_of(part: Part) -> &'static str {
    if is_for_this_machine(part.program()) {
        part.program()
    } else {
        Part::FinishByRing.program()
    }
}

fn load_one(name: &str, program: &mut Program, btf: &Btf) -> Result<(), ProgramError> {
    match program {
        Program::SockOps(program) => program.load(),
        Program::Iter(program) => program.load("tcp", btf),
        Program::BtfTracePoint(program) => program.load(tracepoint_of(name).unwrap_or_default(), btf),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Whether a program was loaded; why not, where it was not.
fn check(verified: &Verified, name: &'static str) -> Result<(), Error> {
    match verified.get(name) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(refused("load", name, error)),
        None => Err(refused("load", name, &ProgramError::NotLoaded)),
    }
}

/// Attaches the `sock_ops` program, after its parts are where it jumps to. Cgroup links are always
/// "multi"; aya's other modes are refused by the kernel (EINVAL). The kernel empties an array of programs with its
/// last descriptor, so `parts` has to stay open.
pub fn attach_sock_ops(
    ebpf: &mut Ebpf,
    verified: &Verified,
    parts: &mut ProgramArray<MapData>,
    cgroup: &Cgroup,
) -> Result<(), Error> {
    for part in Part::ALL {
        let name = program_of(part);
        check(verified, name)?;
        let program: &mut SockOps = find(ebpf, name)?;
        let fd = program.fd().map_err(|error| refused("load", name, &error))?;
        parts.set(part as u32, fd, 0).map_err(|error| Error::Load {
            why: format!("put {name} into map {}: {error}", maps::PARTS),
        })?;
    }
    check(verified, maps::PROG_SOCK_OPS)?;
    let program: &mut SockOps = find(ebpf, maps::PROG_SOCK_OPS)?;
    program
        .attach(cgroup, CgroupAttachMode::Single)
        .map_err(|error| not_attached(maps::PROG_SOCK_OPS, &error, cgroup, Hook::SockOps))?;
    Ok(())
}

/// The program that a policy may keep for us, loaded; why not, where it was refused.
pub fn give_back<'a>(ebpf: &'a mut Ebpf, verified: &Verified) -> Result<&'a mut SockOps, Error> {
    check(verified, maps::PROG_GIVE_BACK)?;
    find(ebpf, maps::PROG_GIVE_BACK)
}

/// Attaches the tracepoints; returns the names of those attached.
pub fn attach_tracepoints(
    ebpf: &mut Ebpf,
    verified: &Verified,
    degradations: &mut Vec<Degradation>,
) -> Result<Vec<&'static str>, Error> {
    let (program, tracepoint) = DESTROY;
    attach_tracepoint(ebpf, verified, program)?;
    let mut attached = vec![tracepoint];
    for (name, tracepoint, degradation, without) in OPTIONAL {
        if name == maps::PROG_RECEIVE_RESET && attached.contains(&ERRORS) {
            continue;
        }
        match attach_tracepoint(ebpf, verified, name) {
            Ok(()) => attached.push(tracepoint),
            Err(error) => degradations.push(Degradation {
                name: degradation,
                why: format!("{without} ({error})"),
            }),
        }
    }
    Ok(attached)
}

/// Names of the degradations without one of the optional tracepoints.
pub fn degradations() -> impl Iterator<Item = &'static str> {
    OPTIONAL.iter().map(|(_, _, degradation, _)| *degradation)
}

/// The programs on tracepoints, each with its tracepoint.
fn on_tracepoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    let optional = OPTIONAL.iter().map(|(name, tracepoint, ..)| (*name, *tracepoint));
    optional.chain([DESTROY])
}

/// Every tracepoint that is observed.
pub(super) fn tracepoints() -> impl Iterator<Item = &'static str> {
    on_tracepoints().map(|(_, tracepoint)| tracepoint)
}

/// The tracepoint of a program, by the program's name.
pub(super) fn tracepoint_of(program: &str) -> Option<&'static str> {
    on_tracepoints().find_map(|(name, tracepoint)| (name == program).then_some(tracepoint))
}

fn attach_tracepoint(ebpf: &mut Ebpf, verified: &Verified, name: &'static str) -> Result<(), Error> {
    check(verified, name)?;
    let program: &mut BtfTracePoint = find(ebpf, name)?;
    program
        .attach()
        .map_err(|error| refused("attach", name, &error))?;
    Ok(())
}

/// Loads one `iter/tcp` program and no other, and returns a descriptor of it.
pub fn load_iter(ebpf: &mut Ebpf, name: &'static str, btf: &Btf) -> Result<OwnedFd, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| Error::Load {
        why: format!("the object has no program {name}"),
    })?;
    let verified = Verified::from([(name, load_one(name, program, btf))]);
    iter(ebpf, &verified, name)
}

/// A descriptor of an `iter/tcp` program.
pub fn iter(ebpf: &mut Ebpf, verified: &Verified, name: &'static str) -> Result<OwnedFd, Error> {
    check(verified, name)?;
    let program: &mut Iter = find(ebpf, name)?;
    let fd = program.fd().map_err(|error| refused("load", name, &error))?;
    fd.as_fd().try_clone_to_owned().map_err(|source| Error::Io {
        operation: "duplicate the descriptor of",
        object: name.into(),
        source,
    })
}

/// Detaches everything that is attached. The parts go with the one that jumps to them.
pub fn detach(ebpf: &mut Ebpf) {
    if let Ok(program) = find::<SockOps>(ebpf, maps::PROG_SOCK_OPS) {
        // Not loaded or detached already: then there is nothing to do.
        let _ = program.unload();
    }
    for (name, _) in on_tracepoints() {
        if let Ok(program) = find::<BtfTracePoint>(ebpf, name) {
            let _ = program.unload();
        }
    }
}

pub(super) fn find<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, Error>
where
    &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or_else(|| Error::Load {
            why: format!("the object has no program {name}"),
        })?
        .try_into()
        .map_err(|error: ProgramError| refused("find", name, &error))
}

/// A cgroup that was refused: names who is in the way, where somebody is.
pub(super) fn not_attached(
    program: &'static str,
    error: &ProgramError,
    cgroup: &Cgroup,
    hook: Hook,
) -> Error {
    match neighbours::in_the_way(cgroup, hook) {
        Some(who) => Error::InTheWay { program, who },
        None => refused("attach", program, error),
    }
}

/// An error that names the program.
pub(super) fn refused(operation: &'static str, program: &'static str, error: &ProgramError) -> Error {
    Error::Program {
        operation,
        program,
        why: why(error),
    }
}

/// How lines begin that follow the verifier's verdict.
const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];

/// The kernel's own words are in the sources of aya's error; the verifier's verdict is its last line.
pub(super) fn why(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } if std::env::var_os("TFO_VERIFIER_LOG").is_none() => {
            let log = verifier_log.to_string();
            let verdict = log
                .lines()
                .rev()
                .find(|line| !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word)));
            format!(
                "{io_error}{}",
                verdict
                    .map(|line| format!(" (verifier: {line})"))
                    .unwrap_or_default()
            )
        }
        other => chain(other),
    }
}

/// An error and everything that caused it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
