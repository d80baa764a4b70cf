//! Hand-made BTF, the running kernel's own (where readable), and malformed input.
#![expect(clippy::cast_possible_truncation, reason = "hand-made sections are tiny")]

use proptest::prelude::*;

use super::*;

/// Builds a section from encoded types and a string table.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        at
    }

    fn add(&mut self, name: &str, kind: u32, flag: bool, vlen: u32, size: u32, body: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, u32::from(flag) << 31 | kind << 24 | vlen, size]
            .iter()
            .chain(body)
        {
            self.types.extend(word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    /// A struct of (name, type, offset word).
    fn structure(
        &mut self,
        name: &str,
        kind: u32,
        bit_fields: bool,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let mut body = Vec::new();
        for (member, type_id, offset) in members {
            let member = self.name(member);
            body.extend([member, *type_id, *offset]);
        }
        self.add(name, kind, bit_fields, members.len() as u32, size, &body)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        let words = [
            24,
            0,
            self.types.len() as u32,
            self.types.len() as u32,
            self.strings.len() as u32,
        ];
        for word in words {
            out.extend(word.to_ne_bytes());
        }
        out.extend(&self.types);
        out.extend(&self.strings);
        out
    }
}

/// `struct outer { u32 a; union { struct inner { u64 x; u8 y; } deep; u32 shared; }; u8 low:1, mid:2, high:5; }`
fn sample() -> Vec<u8> {
    let mut builder = Builder::new();
    let int = builder.add("u32", kind::INT, false, 0, 4, &[32]);
    let long = builder.add("u64", kind::INT, false, 0, 8, &[64]);
    let byte = builder.add("u8", kind::INT, false, 0, 1, &[8]);
    let alias = builder.add("alias_t", kind::TYPEDEF, false, 0, long, &[]);
    let inner = builder.structure(
        "inner",
        kind::STRUCT,
        false,
        16,
        &[("x", alias, 0), ("y", byte, 64)],
    );
    let constant = builder.add("", kind::CONST, false, 0, inner, &[]);
    let union = builder.structure(
        "",
        kind::UNION,
        false,
        16,
        &[("deep", constant, 0), ("shared", int, 0)],
    );
    let array = builder.add("", kind::ARRAY, false, 0, 0, &[byte, int, 16]);
    let bit = |width: u32, at: u32| width << 24 | at;
    builder.structure(
        "outer",
        kind::STRUCT,
        true,
        48,
        &[
            ("a", int, bit(0, 0)),
            ("", union, bit(0, 64)),
            ("low", byte, bit(1, 192)),
            ("mid", byte, bit(2, 193)),
            ("high", byte, bit(5, 195)),
            ("split", int, bit(6, 205)),
            ("name", array, bit(0, 256)),
        ],
    );
    builder.bytes()
}

#[test]
fn finds_members_through_anonymous_unions_typedefs_and_bit_fields() {
    let data = sample();
    let btf = Btf::parse(&data).unwrap();
    let at = |byte, bit, width| {
        Some(FieldLoc {
            byte,
            bit,
            width,
            pad: 0,
        })
    };
    let rows = [
        ("a", at(0, 0, 32)),
        ("deep.x", at(8, 0, 64)),
        ("deep.y", at(16, 0, 8)),
        ("shared", at(8, 0, 32)),
        ("low", at(24, 0, 1)),
        ("mid", at(24, 1, 2)),
        ("high", at(24, 3, 5)),
        ("name", at(32, 0, 128)),
        ("split", None),
        ("missing", None),
        ("a.deeper", None),
        ("", None),
    ];
    for (path, want) in rows {
        assert_eq!(btf.member("outer", path), want, "{path}");
    }
    assert_eq!(btf.member("nobody", "a"), None);
    assert!(btf.has_type("alias_t") && !btf.has_type("beta_t"));
}

#[test]
fn enumerators_are_found_in_any_enumeration() {
    let mut builder = Builder::new();
    builder.structure("decoy", kind::STRUCT, false, 4, &[("SECOND", 0, 0)]);
    let names = ["FIRST", "SECOND"].map(|name| builder.name(name));
    builder.add("", kind::ENUM, false, 2, 4, &[names[0], 0, names[1], 19]);
    let data = builder.bytes();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(btf.enumerator("SECOND"), Some(19));
    assert_eq!(btf.enumerator("THIRD"), None);
    assert_eq!(btf.enumerator(""), None);
}

#[test]
fn refuses_what_is_not_btf() {
    assert_eq!(Btf::parse(&[]).unwrap_err(), BtfError::Truncated(0));
    assert_eq!(Btf::parse(&[0; 64]).unwrap_err(), BtfError::Magic(0));
    let mut builder = Builder::new();
    builder.add("odd", 31, false, 0, 0, &[]);
    assert_eq!(Btf::parse(&builder.bytes()).unwrap_err(), BtfError::Kind(31));
}

#[test]
fn sizes_are_those_of_structures() {
    let data = sample();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!((btf.size_of("outer"), btf.size_of("inner")), (Some(48), Some(16)));
    assert_eq!(btf.size_of("nothing"), None);
}

#[test]
fn self_reference_ends() {
    let mut builder = Builder::new();
    builder.add("loop", kind::TYPEDEF, false, 0, 1, &[]);
    builder.structure("knot", kind::STRUCT, false, 8, &[("", 2, 0), ("l", 1, 0)]);
    let data = builder.bytes();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(btf.member("knot", "absent"), None);
    assert_eq!(btf.member("knot", "l").map(|at| at.width), Some(0));
}

#[test]
fn running_kernel_has_what_we_read() {
    let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: /sys/kernel/btf/vmlinux cannot be read here");
        return;
    };
    let btf = Btf::parse(&data).unwrap();
    for spec in tfo_common::layout::Layout::SPECS {
        assert!(
            crate::kernel::layout::find(spec, &btf).is_some(),
            "{}.{}",
            spec.container,
            spec.path
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(btf) = Btf::parse(&data) {
            let _ = btf.member("outer", "deep.x");
        }
    }

    #[test]
    fn any_damage_is_safe(at in 0usize..1000, value in any::<u8>(), cut in 0usize..1000) {
        let mut data = sample();
        let len = data.len();
        data[at % len] = value;
        data.truncate(len - cut % len);
        if let Ok(btf) = Btf::parse(&data) {
            for path in ["a", "deep.x", "shared", "mid", "name", "split"] {
                let _ = btf.member("outer", path);
            }
        }
    }
}

/// Found by the fuzzer, `tfo-fuzz/corpus/btf/structure-in-itself`: eight times itself is 2^48 members 16 levels deep.
#[test]
fn a_structure_that_contains_itself_is_soon_through() {
    let mut builder = Builder::new();
    let itself = [("", 1, 0); 8];
    builder.structure("sock", kind::STRUCT, false, 16, &itself);
    let bytes = builder.bytes();
    let btf = Btf::parse(&bytes).expect("well formed");
    assert_eq!(btf.member("sock", "skc_state"), None);
}
