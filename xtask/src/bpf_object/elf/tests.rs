//! A file made by hand, which is read, changed and read again.

use super::super::code::{EXIT, JUMP, examples::slot};
use super::*;

/// A file with two programs of one section, a relocation, four lines, and something for debuggers.
fn file() -> Vec<u8> {
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    let code: Vec<u8> = [
        // one: if r1 != 0 goto 2; (1) r0 = 1; (2) exit
        slot(0x55, 1, 1, 0),
        slot(0xb7, 0, 0, 1),
        slot(EXIT, 0, 0, 0),
        // two: r2 = map; exit
        slot(0x18, 2, 0, 0),
        slot(0, 0, 0, 0),
        slot(EXIT, 0, 0, 0),
    ]
    .concat();
    let symbol = |name: u32, info: u8, value: u64, size: u64| -> Vec<u8> {
        let head = [&name.to_ne_bytes()[..], &[info, 0], &3_u16.to_ne_bytes()[..]].concat();
        [head, value.to_ne_bytes().to_vec(), size.to_ne_bytes().to_vec()].concat()
    };
    let symbols = [
        symbol(0, 0, 0, 0),
        symbol(1, 2, 0, 24),
        symbol(5, 2, 24, 24),
        symbol(9, 1, 0, 8),
    ]
    .concat();
    let relocations: Vec<u8> = [24_u64, 3 << 32 | 1]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    // Header of 24 bytes; strings at 0: "\0sockops".
    let types = [words(&[0x1_eb9f, 24, 0, 0, 0, 9]), b"\0sockops\0".to_vec()].concat();
    let functions = words(&[8, 1, 2, 0, 7, 24, 8]);
    let line = |slot: u32, line: u32| [slot * 8, 0, 0, line << 10 | 5];
    let lines = [line(0, 10), line(1, 11), line(2, 12), line(3, 20)].concat();
    let lines = [words(&[16, 1, 4]), words(&lines)].concat();
    let (a, b) = (
        u32::try_from(functions.len()).unwrap(),
        u32::try_from(lines.len()).unwrap(),
    );
    let extra = [words(&[0x1_eb9f, 24, 0, a, a, b]), functions, lines].concat();
    let names =
        b"\0.strtab\0.symtab\0sockops\0.relsockops\0.BTF\0.BTF.ext\0.debug_line\0.shstrtab\0".to_vec();
    let sections: [(&str, u32, u64, u32, Vec<u8>); 9] = [
        ("", 0, 0, 0, Vec::new()),
        (".strtab", 3, 0, 0, b"\0one\0two\0map\0".to_vec()),
        (".symtab", 2, 0, 0, symbols),
        ("sockops", PROGBITS, EXECUTABLE, 0, code),
        (".relsockops", REL, 0, 3, relocations),
        (".BTF", PROGBITS, 0, 0, types),
        (".BTF.ext", PROGBITS, 0, 0, extra),
        (".debug_line", PROGBITS, 0, 0, vec![1; 100]),
        (".shstrtab", 3, 0, 0, names.clone()),
    ];
    let (mut file, mut table) = (vec![0; 64], Vec::new());
    for (name, kind, flags, info, content) in sections {
        let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
        let name = names
            .windows(wanted.len())
            .position(|window| window == wanted)
            .unwrap_or(0)
            + usize::from(!name.is_empty());
        table.extend(words(&[u32::try_from(name).unwrap(), kind]));
        for word in [flags, 0, file.len() as u64, content.len() as u64] {
            table.extend(word.to_ne_bytes());
        }
        table.extend(words(&[0, info]));
        table.extend([0; 16]);
        file.extend(content);
    }
    let start = (file.len() as u64).to_ne_bytes();
    file[40..48].copy_from_slice(&start);
    file[60..62].copy_from_slice(&9_u16.to_ne_bytes());
    file[62..64].copy_from_slice(&8_u16.to_ne_bytes());
    file.extend(table);
    file
}

fn names(object: &Object) -> Vec<&str> {
    object
        .programs()
        .iter()
        .map(|program| program.name.as_str())
        .collect()
}

fn unmoved(code: Vec<Slot>) -> Placed {
    Placed {
        from: (0..code.len()).map(Some).collect(),
        code,
        loads: Vec::new(),
    }
}

#[test]
fn programs_are_found_with_their_lines() {
    let object = Object::parse(file()).unwrap();
    assert_eq!(names(&object), ["one", "two"]);
    let lines: Vec<_> = object
        .programs()
        .iter()
        .map(|program| object.lines(program).unwrap())
        .collect();
    let line = |line| Some((line, 5));
    assert_eq!(lines, [[line(10), line(11), line(12)], [line(20); 3]]);
    assert_eq!(object.symbol("map").unwrap(), 3);
    assert!(object.symbol("nap").is_err());
}

#[test]
fn everything_follows_what_moves() {
    let object = Object::parse(file()).unwrap();
    let (one, two) = (&object.programs()[0], &object.programs()[1]);
    let code = object.code(one).unwrap();
    let blocks = super::super::code::blocks(&code).unwrap();
    let moved = super::super::place::together(&code, &blocks, &[Some(0), None, Some(0)]).unwrap();
    let two = unmoved(object.code(two).unwrap());
    let object = Object::parse(object.with(&[moved, two], "map").unwrap()).unwrap();

    let want = [
        slot(0x55, 1, 1, 0),
        slot(JUMP, 0, 1, 0),
        slot(EXIT, 0, 0, 0),
        slot(0xb7, 0, 0, 1),
        slot(JUMP, 0, -3, 0),
    ];
    let [one, two] = object.programs() else {
        panic!("{:?}", names(&object))
    };
    assert_eq!(object.code(one).unwrap(), want);
    let line = |line| Some((line, 5));
    assert_eq!(
        object.lines(one).unwrap(),
        [line(10), line(10), line(12), line(11), line(11)]
    );
    assert_eq!(object.lines(two).unwrap(), [line(20); 3]);
    assert_eq!(
        object
            .relocations(two.section)
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        [&5]
    );
    let kept: Vec<_> = object
        .sections
        .iter()
        .filter(|section| section.length > 0)
        .map(|section| section.name.as_str())
        .collect();
    assert_eq!(
        kept,
        [
            ".strtab",
            ".symtab",
            "sockops",
            ".relsockops",
            ".BTF",
            ".BTF.ext",
            ".shstrtab"
        ]
    );
}

#[test]
fn a_new_first_instruction_has_the_line_of_the_old_one_and_new_loads_have_relocations() {
    let object = Object::parse(file()).unwrap();
    let [one, two] = object.programs() else {
        panic!("{:?}", names(&object))
    };
    let one = unmoved(object.code(one).unwrap());
    let code = object.code(two).unwrap();
    let blocks = super::super::code::blocks(&code).unwrap();
    let (two, _) = super::super::count::counted(&code, &blocks, 0).unwrap();
    let content = object.with(&[one, two], "map").unwrap();
    let object = Object::parse(content).unwrap();
    let two = &object.programs()[1];
    assert_eq!(object.lines(two).unwrap()[0], Some((20, 5)));
    let mut relocated: Vec<usize> = object.relocations(two.section).unwrap().into_keys().collect();
    relocated.sort_unstable();
    // The counter, and behind its five instructions what was there.
    assert_eq!(relocated, [3, 8]);
}

#[test]
fn what_is_cut_off_is_an_error_and_no_panic() {
    let whole = file();
    // What is at the end of the last header nobody reads.
    for length in 0..whole.len() - 16 {
        let result = Object::parse(whole[..length].to_vec());
        assert!(result.is_err(), "{length}");
    }
}
