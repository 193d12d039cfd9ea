//! One program for all targets: `FUZZ_TARGET` names the one to run. `cargo xtask fuzz` builds it with coverage and starts it.
//!
//! ```text
//!   FUZZ_TARGET=message libfuzzer CORPUS..      runs it, as any libFuzzer program does
//!   FUZZ_TARGET=message FUZZ_SEEDS=DIR ..       writes its seeds into DIR and ends
//! ```
#![no_main]

use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;

static BODY: OnceLock<fn(&[u8])> = OnceLock::new();

/// Runs once, before the first input.
fn choose() {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = fuzz::targets().find(|target| target.name == wanted) else {
        let names: Vec<_> = fuzz::targets().map(|target| target.name).collect();
        eprintln!("FUZZ_TARGET={wanted} is no target; they are: {}", names.join(", "));
        exit(2);
    };
    if let Some(dir) = std::env::var_os("FUZZ_SEEDS") {
        match fuzz::seeds::export(target.name, Path::new(&dir)) {
            Ok(count) => println!("{count}"),
            Err(error) => {
                eprintln!("the seeds of {wanted} cannot be written to {dir:?}: {error}");
                exit(2);
            }
        }
        exit(0);
    }
    let _first = BODY.set(target.body);
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(body) = BODY.get() {
        body(data);
    }
});
