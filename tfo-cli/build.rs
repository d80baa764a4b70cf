//! Puts the compiled eBPF objects where `kernel::object` embeds them, or empty stubs when they were not built,
//! so that `cargo check`, clippy and unit tests need no eBPF toolchain.

use std::{env, fs, path::PathBuf};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["tfo-ebpf", "tfo-policy"] {
        let object = root.join("../target/bpf").join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        let bytes = fs::read(&object).unwrap_or_default();
        fs::write(out.join(format!("{name}.o")), bytes).expect("writes the object into OUT_DIR");
    }
}
