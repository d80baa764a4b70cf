//! What the verifier does with every program of both objects on this kernel: instructions it processed, by which
//! it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`, a million). Nothing is attached or pinned, and nothing stays.
//!
//! Kernels from 5.16 say so in `bpf_prog_info.verified_insns`, older ones only in the verifier's log.

use aya::{
    Btf, Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError, ProgramInfo},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tfo_common::{
    direct::Direct,
    flags::Config,
    layout::Layout,
    limits,
    maps::{self, GLOBAL_CONFIG},
};

use super::{Error, direct::Arrays, layout, object, programs, rights, sys};

/// A program, and what it cost to verify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramCost {
    /// The object it is in: `tfo-ebpf` or `tfo-policy`.
    pub object: &'static str,
    /// Its name.
    pub program: String,
    /// Instructions after the kernel's own rewriting (`xlated`); 0 where the program was refused.
    pub instructions: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Instructions the verifier processed; `None` where not even its log says.
    pub verified_insns: Option<u32>,
    /// Why the kernel refused the program.
    pub refused: Option<String>,
}

impl ProgramCost {
    /// Whether it was loaded within [`limits::VERIFIED_INSNS`].
    pub fn is_fine(&self) -> bool {
        self.refused.is_none()
            && self
                .verified_insns
                .is_some_and(|count| count <= limits::VERIFIED_INSNS)
    }
}

/// Loads every program. Of the observer's, which the verifier sees with different constants by what is asked for,
/// the most expensive variant counts.
pub fn programs() -> Result<Vec<ProgramCost>, Error> {
    let (observer, policy) = (object::bytes()?, object::policy_bytes()?);
    rights::check()?;
    let (layout, _) = layout::resolve()?;
    let btf = Btf::from_sys_fs().map_err(|error| Error::NoBtf {
        why: error.to_string(),
    })?;
    let mut costs: Vec<ProgramCost> = Vec::new();
    for config in configurations() {
        for cost in load(
            (object::OBSERVER, observer),
            &maps::DIRECT,
            &layout,
            Some(&config),
            &btf,
        )? {
            match costs.iter_mut().find(|known| known.program == cost.program) {
                Some(known) if is_worse(&cost, known) => *known = cost,
                Some(_) => {}
                None => costs.push(cost),
            }
        }
    }
    costs.extend(load(
        (object::ENFORCEMENT, policy),
        &tfo_common::policy::DIRECT,
        &layout,
        None,
        &btf,
    )?);
    Ok(costs)
}

fn is_worse(cost: &ProgramCost, known: &ProgramCost) -> bool {
    let rank = |cost: &ProgramCost| (cost.refused.is_some(), cost.verified_insns);
    rank(cost) > rank(known)
}

/// What decides which branches the verifier removes: plain connections shown or not, the whole host or a cgroup.
fn configurations() -> impl Iterator<Item = Config> {
    [(0, 0), (0, 2), (1, 0), (1, 2)].map(configuration).into_iter()
}

fn configuration((emit_plain, level): (u8, u32)) -> Config {
    Config {
        emit_plain,
        typed_task: u8::from(rights::has_typed_task()),
        // Each of them once.
        arrived_alone: u8::from(level == 0),
        pad: 0,
        server_v4_mask: u32::MAX,
        server_v6_mask: [u32::MAX; 4],
        wake_bytes: limits::RING_WAKE_BYTES,
        scope_id: level.into(),
        scope_level: level,
        ttfb_sample: limits::TTFB_SAMPLE,
        tick_us: sys::tick_us(),
        long_lived_ms: limits::LONG_LIVED_MS,
    }
}

fn load(
    (object, bytes): (&'static str, &[u8]),
    arrays: &[Direct],
    layout: &Layout,
    config: Option<&Config>,
    btf: &Btf,
) -> Result<Vec<ProgramCost>, Error> {
    let mut loader = EbpfLoader::new();
    // Only statistics and the verdict: the whole log of a refused program takes a minute.
    loader.btf(Some(btf)).verifier_log_level(VerifierLogLevel::STATS);
    if let Some(config) = config {
        loader.override_global(GLOBAL_CONFIG, programs::bytes_of(config), true);
    }
    let arrays = Arrays::make(arrays)?;
    let mut ebpf = loader
        .load(object::Prepared::new(bytes, layout, &arrays.made()).bytes())
        .map_err(|error| Error::Load {
            why: programs::chain(&error),
        })?;
    let mut costs: Vec<_> = measure_all(&mut ebpf, object, btf);
    costs.sort_by(|left, right| left.program.cmp(&right.program));
    Ok(costs)
}

fn measure_all(ebpf: &mut Ebpf, object: &'static str, btf: &Btf) -> Vec<ProgramCost> {
    ebpf.programs_mut()
        .filter(|(name, _)| programs::is_for_this_machine(name))
        .map(|(name, program)| measure(object, name, program, btf))
        .collect()
}

fn measure(object: &'static str, name: &str, program: &mut Program, btf: &Btf) -> ProgramCost {
    let loaded = hand_over(name, program, btf).and_then(|()| program.info());
    let (info, verified_insns, refused) = match &loaded {
        Ok(info) => {
            let told = info.verified_instruction_count();
            (Some(info), told.or_else(|| from_log(name, program, btf)), None)
        }
        Err(error) => (None, processed(error), Some(programs::why(error))),
    };
    let instructions = info.and_then(ProgramInfo::size_translated).unwrap_or(0) / INSTRUCTION_BYTES;
    ProgramCost {
        object,
        program: name.to_owned(),
        instructions,
        jited_bytes: info.map_or(0, ProgramInfo::size_jitted),
        verified_insns,
        refused,
    }
}

/// Size of `struct bpf_insn`.
const INSTRUCTION_BYTES: u32 = 8;

/// Loads a program of any of the kinds we have.
fn hand_over(name: &str, program: &mut Program, btf: &Btf) -> Result<(), ProgramError> {
    match program {
        Program::SockOps(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::BtfTracePoint(program) => match programs::tracepoint_of(name) {
            Some(tracepoint) => program.load(tracepoint, btf),
            None => Err(ProgramError::UnexpectedProgramType),
        },
        Program::Iter(program) => program.load("tcp", btf),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SockOps(program) => program.unload(),
        Program::CgroupSkb(program) => program.unload(),
        Program::SchedClassifier(program) => program.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The figure of a program that is loaded, on a kernel that writes it only into the log. The loader shows the log
/// only when it fails, and so it has to: a process that may not have another descriptor gets the program verified,
/// and refused after that (`bpf_prog_new_fd`).
fn from_log(name: &str, program: &mut Program, btf: &Btf) -> Option<u32> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    unload(program).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).ok()?;
    let error = hand_over(name, program, btf).err();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).ok()?;
    processed(&error?)
}

/// `processed 335294 insns (limit 1000000) ...`, the statistics at the end of every log.
fn processed(error: &ProgramError) -> Option<u32> {
    let ProgramError::LoadError { verifier_log, .. } = error else {
        return None;
    };
    statistics(&verifier_log.to_string())
}

fn statistics(log: &str) -> Option<u32> {
    let line = log
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("processed "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_statistics_line_counts() {
        let log = "0: R1=ctx\nprocessed by hand\nBPF program is too large. Processed 1000001 insn\n\
            processed 1000001 insns (limit 1000000) max_states_per_insn 36 total_states 41\n";
        assert_eq!(statistics(log), Some(1_000_001));
        assert_eq!(statistics("processed by hand\n"), None);
        assert_eq!(statistics(""), None);
    }

    #[test]
    fn the_bound_is_inclusive_and_a_refusal_or_no_figure_is_never_fine() {
        let cost = |verified_insns, refused: Option<&str>| ProgramCost {
            object: object::OBSERVER,
            program: "tfo_x".to_owned(),
            instructions: 1,
            jited_bytes: 1,
            verified_insns,
            refused: refused.map(str::to_owned),
        };
        assert!(cost(Some(limits::VERIFIED_INSNS), None).is_fine());
        assert!(!cost(Some(limits::VERIFIED_INSNS + 1), None).is_fine());
        assert!(!cost(None, None).is_fine());
        assert!(!cost(Some(1), Some("E2BIG")).is_fine());
        let (cheap, dear, refused) = (cost(Some(1), None), cost(Some(2), None), cost(None, Some("no")));
        assert!(is_worse(&dear, &cheap) && is_worse(&refused, &dear) && !is_worse(&cheap, &cheap));
    }

    #[test]
    fn every_variant_differs() {
        let all: Vec<_> = configurations().collect();
        for (number, config) in all.iter().enumerate() {
            assert!(!all[..number].contains(config), "{config:?}");
        }
    }
}
