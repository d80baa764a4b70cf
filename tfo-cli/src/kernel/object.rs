//! The compiled eBPF programs, inside this binary.

use super::Error;

/// Name of the object that observes.
pub const OBSERVER: &str = "tfo-ebpf";
/// Name of the object that enforces.
pub const ENFORCEMENT: &str = "tfo-policy";

/// The object file; empty in a binary built without the eBPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-ebpf.o"));

/// The enforcement programs, likewise.
static POLICY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tfo-policy.o"));

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
    use tfo_common::{maps, policy};

    use super::*;

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
        let programs = [
            maps::PROG_SOCK_OPS,
            maps::PROG_RECEIVE_RESET,
            maps::PROG_RETRANSMIT_SYNACK,
            maps::PROG_DESTROY_SOCK,
            maps::PROG_PRIME,
            maps::PROG_LIST,
            maps::PROG_RELEASE,
        ];
        let globals = [maps::GLOBAL_LAYOUT, maps::GLOBAL_CONFIG];
        let parts = maps::Part::ALL.map(maps::Part::program);
        let programs = programs.into_iter().chain(parts);
        assert_eq!(
            missing(observer, maps::ALL.into_iter().chain(programs).chain(globals)),
            [""; 0]
        );
        let programs = [policy::PROG_EGRESS, policy::PROG_SOCK_OPS, policy::PROG_STRIP];
        assert_eq!(
            missing(enforcement, policy::MAPS.into_iter().chain(programs)),
            [""; 0]
        );
        assert_eq!(missing(observer, ["TFO_NO_SUCH_MAP"]), ["TFO_NO_SUCH_MAP"]);
    }

    #[test]
    fn the_kernel_keeps_every_name_whole() {
        // BPF_OBJ_NAME_LEN is 16, the terminating zero included.
        for name in maps::ALL.into_iter().chain(policy::MAPS) {
            assert!(name.len() <= 15, "{name}");
        }
    }
}
