//! What a test of a fault or an attack measured, beside its bar: a row of the table of `cargo xtask robust`.
//!
//! ```text
//!   test ── measured("T01", "growth of memory", "3.1 MiB", "<= 16 MiB") ──► stderr, and $ROBUST_MEASURED: one JSON line each
//! ```

use std::fmt::Display;
use std::io::Write as _;

/// Says what a test found, before or beside the assertion that holds it to its bar.
///
/// `id` is that of docs/robustness.md, such as `T01`. Where the variable `ROBUST_MEASURED` names a file, a JSON line with
/// the four texts is appended to it.
///
/// # Panics
/// If that file cannot be written.
pub fn measured(id: &str, what: &str, value: impl Display, bar: &str) {
    let value = value.to_string();
    eprintln!("{id} {what}: {value} (bar: {bar})");
    let Some(path) = std::env::var_os("ROBUST_MEASURED") else { return };
    let line = serde_json::json!({ "id": id, "what": what, "value": value, "bar": bar });
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    // One write a line: tests of several processes append side by side.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        panic!("ROBUST_MEASURED={}: {error}", path.display());
    }
}
