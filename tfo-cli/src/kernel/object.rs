//! The compiled eBPF programs, inside this binary.

use tfo_common::{
    direct::{self, Made},
    exchange,
    layout::{self, Layout},
};

use super::{Error, rights};

/// Name of the object that observes.
pub const OBSERVER: &str = "tfo-ebpf";
/// Name of the object that enforces.
pub const ENFORCEMENT: &str = "tfo-policy";

/// The object file; empty in a binary built without the eBPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-ebpf.o"));

/// The enforcement programs, likewise.
static POLICY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-policy.o"));

/// An object with the positions of this kernel's members in it and no instruction that it refuses, aligned as its headers want it.
pub struct Prepared(Vec<u64>, usize);

impl Prepared {
    /// Copies an object and fills in the positions, whether this kernel has an exchange, and the arrays that programs have the
    /// addresses of: these have to stay open until the programs are loaded.
    pub fn new(object: &[u8], layout: &Layout, arrays: &[Made]) -> Self {
        let mut words = vec![0u64; object.len().div_ceil(8)];
        let bytes = bytes_of(&mut words, object.len());
        bytes.copy_from_slice(object);
        layout::fill_in(bytes, &layout.positions());
        exchange::fill_in(bytes, rights::has_exchange());
        direct::fill_in(bytes, arrays);
        Self(words, object.len())
    }

    /// The object file.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: initialised integers, `self.1` bytes of them at most.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
}

/// The first bytes of these words.
fn bytes_of(words: &mut [u64], length: usize) -> &mut [u8] {
    assert!(
        length <= size_of_val(words),
        "the words were counted from the length"
    );
    // SAFETY: initialised integers that any bytes are valid for, and no more than there are.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), length) }
}

/// The object file, or an error that says how to get a binary that has one.
pub fn bytes() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() {
        Err(Error::NoObject)
    } else {
        Ok(OBJECT)
    }
}

/// The object with the enforcement programs.
pub fn policy_bytes() -> Result<&'static [u8], Error> {
    if POLICY.is_empty() {
        Err(Error::NoObject)
    } else {
        Ok(POLICY)
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::{direct::Direct, maps, policy};

    use super::{super::programs, *};

    /// Names that are no symbol of the object.
    fn missing<'a>(object: &[u8], names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let is_there = |name: &str| {
            let symbol = [b"\0", name.as_bytes(), b"\0"].concat();
            object.windows(symbol.len()).any(|window| window == symbol)
        };
        names.into_iter().filter(|name| !is_there(name)).collect()
    }

    #[test]
    fn the_objects_have_what_tfo_common_names() {
        let (Ok(observer), Ok(enforcement)) = (bytes(), policy_bytes()) else {
            eprintln!("skipped: built without the eBPF toolchain (cargo xtask build)");
            return;
        };
        let globals = [maps::GLOBAL_CONFIG];
        let parts = maps::Part::ALL.map(maps::Part::program);
        let programs = maps::PROGRAMS.into_iter().chain(parts);
        let in_object = maps::ALL
            .into_iter()
            .filter(|name| !is_direct(&maps::DIRECT, name));
        assert_eq!(
            missing(observer, in_object.chain(programs).chain(globals)),
            [""; 0]
        );
        let programs = [policy::PROG_EGRESS, policy::PROG_SOCK_OPS, policy::PROG_STRIP];
        let programs = programs
            .into_iter()
            .chain(policy::Tail::ALL.map(policy::Tail::name));
        let in_object = policy::maps().filter(|name| !is_direct(&policy::DIRECT, name));
        assert_eq!(missing(enforcement, in_object.chain(programs)), [""; 0]);
        assert_eq!(missing(observer, ["TFO_NO_SUCH_MAP"]), ["TFO_NO_SUCH_MAP"]);
    }

    /// Whether programs have the address of the map with this name: the object then has nothing of it but placeholders.
    fn is_direct(arrays: &[Direct], name: &str) -> bool {
        arrays.iter().any(|array| array.name == name)
    }

    #[test]
    fn every_array_that_user_space_makes_is_used() {
        let (Ok(observer), Ok(enforcement)) = (bytes(), policy_bytes()) else {
            eprintln!("skipped: built without the eBPF toolchain (cargo xtask build)");
            return;
        };
        let objects: [(_, &[Direct]); 2] = [(observer, &maps::DIRECT), (enforcement, &policy::DIRECT)];
        for (object, arrays) in objects {
            let made = |array: &Direct| Made {
                descriptor: 3,
                entries: array.entries,
            };
            let all: Vec<Made> = arrays.iter().map(made).collect();
            let mut before = 0;
            for (number, array) in arrays.iter().enumerate() {
                let filled = direct::fill_in(&mut object.to_vec(), &all[..=number]);
                assert!(filled > before, "no program has the address of {}", array.name);
                before = filled;
            }
            // None has a number that user space knows nothing of.
            let more = [&all[..], &[made(&arrays[0]); 8]].concat();
            assert_eq!(direct::fill_in(&mut object.to_vec(), &more), before);
        }
    }

    /// Names in an object that begin like this.
    fn names_in(object: &[u8], prefix: &str) -> Vec<String> {
        let texts = object
            .split(|byte| *byte == 0)
            .filter_map(|text| str::from_utf8(text).ok());
        let is_name = |text: &&str| {
            let rest = text.strip_prefix(prefix).unwrap_or_default();
            let is_named_so = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            !rest.is_empty() && rest.bytes().all(is_named_so)
        };
        texts.filter(is_name).map(str::to_owned).collect()
    }

    /// The other way: a program that nobody names is attached by nobody.
    #[test]
    fn every_tracepoint_of_the_object_is_attached() {
        let Ok(observer) = bytes() else {
            eprintln!("skipped: built without the eBPF toolchain (cargo xtask build)");
            return;
        };
        let attached = maps::PROGRAMS.into_iter().filter_map(programs::tracepoint_of);
        let attached: Vec<String> = attached.map(|name| format!("tp_btf/{name}")).collect();
        let sections = names_in(observer, "tp_btf/");
        assert!(sections.len() >= 4, "{sections:?}");
        for section in sections {
            assert!(
                attached.contains(&section),
                "{section} is in the object; maps::PROGRAMS or kernel/programs.rs does not name it"
            );
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        let (Ok(observer), Ok(enforcement)) = (bytes(), policy_bytes()) else {
            eprintln!("skipped: built without the eBPF toolchain (cargo xtask build)");
            return;
        };
        for object in [observer, enforcement] {
            let mut copy = object.to_vec();
            let layout = Layout::NONE.positions();
            assert!(
                layout::fill_in(&mut copy, &layout) > 10,
                "the programs ask for positions"
            );
            let (switches, exchanges) = exchange::fill_in(&mut copy, rights::has_exchange());
            assert_eq!(switches > 0, exchanges > 0, "no exchange without its switch");
            let prepared = Prepared::new(object, &Layout::NONE, &[]);
            assert_eq!(prepared.bytes(), copy);
            assert_eq!(layout::fill_in(&mut copy, &layout), 0);
            assert_eq!(exchange::fill_in(&mut copy, true).0, 0);
        }
    }

    #[test]
    fn the_kernel_keeps_every_name_whole() {
        // BPF_OBJ_NAME_LEN is 16, the terminating zero included.
        for name in maps::ALL.into_iter().chain(policy::maps()) {
            assert!(name.len() <= 15, "{name}");
        }
    }
}
