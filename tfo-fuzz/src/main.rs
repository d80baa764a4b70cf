//! Under `cargo xtask fuzz` the fuzzer, with the target that `TFO_FUZZ_TARGET` names; else it runs a target once, on
//! the files that are named: `cargo run -p tfo-fuzz -- recording FILE...` shows what a find does.
#![cfg_attr(feature = "fuzzer", no_main)]

#[cfg(feature = "fuzzer")]
mod fuzzer {
    use std::sync::LazyLock;

    static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
        let name = std::env::var("TFO_FUZZ_TARGET").unwrap_or_default();
        tfo_fuzz::target(&name).expect("TFO_FUZZ_TARGET names no target")
    });

    libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
}

#[cfg(not(feature = "fuzzer"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let target = tfo_fuzz::target(&name).ok_or_else(|| format!("no target `{name}`"))?;
    for file in args {
        target(&std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?);
    }
    Ok(())
}
