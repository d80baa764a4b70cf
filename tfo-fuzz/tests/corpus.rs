//! Everything that fuzzing found worth keeping, above all what once went wrong, through its parser again.

use std::{fs, path::Path};

use tfo_fuzz::TARGETS;

#[test]
fn every_kept_input_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let directory = corpus.join(name);
        let files: Vec<_> = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| entry.expect("it can be listed").path())
            .collect();
        assert!(!files.is_empty(), "{name} has no input to begin with");
        for file in files {
            println!("{}", file.display());
            target(&fs::read(&file).expect("it can be read"));
        }
    }
}

#[test]
fn every_directory_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(corpus).expect("it is there") {
        let name = entry.expect("it can be listed").file_name();
        assert!(tfo_fuzz::target(&name.to_string_lossy()).is_some(), "{name:?}");
    }
}
