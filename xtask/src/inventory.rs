//! `cargo xtask unsafe`: docs/unsafe.md, the list of all `unsafe` code with the proof that stands at each place.
//!
//! ```text
//!   *.rs of every crate ─► blocks, functions, impls ─► their `// SAFETY:` or `# Safety` ─► the page
//!                                                                                          equal to what is there? or written
//! ```
//!
//! The page is made from the sources, so that its proofs are those that the compiler's reader sees; what is checked is that
//! nobody adds `unsafe` without adding it to the page, where a reviewer finds it.

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::step::{Counts, workspace};

const PAGE: &str = "docs/unsafe.md";

/// What to do with the page.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write it anew.
    #[arg(long)]
    write: bool,
}

/// A place with `unsafe`.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The function that it is in, or is.
    function: String,
    /// Empty if there is none.
    proof: String,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match check(&workspace(), options.write) {
        Ok((problems, note)) => {
            for problem in &problems {
                println!("{problem}");
            }
            println!("{note}");
            if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<(Counts, String)> {
    let (problems, note) = check(&workspace(), false)?;
    for problem in &problems {
        println!("  {problem}");
    }
    let failed = u32::try_from(problems.len())?;
    Ok((Counts { passed: u32::from(failed == 0), failed, ..Counts::default() }, note))
}

/// The problems of a checkout, and a sentence about it.
fn check(root: &Path, write: bool) -> Result<(Vec<String>, String)> {
    let mut all: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    let mut problems = Vec::new();
    for file in sources(root)? {
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(root)?.display().to_string();
        let places = places(&text);
        let bare = places.iter().filter(|place| place.proof.is_empty());
        problems.extend(bare.map(|place| format!("{name}: no proof in `{}`", place.function)));
        if !places.is_empty() {
            all.insert(name, places);
        }
    }
    let (page, path) = (page(&all), root.join(PAGE));
    if write {
        std::fs::write(&path, &page).with_context(|| path.display().to_string())?;
    } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&page) {
        problems.push(format!("{PAGE} is not what the sources say: cargo xtask unsafe --write"));
    }
    let count: usize = all.values().map(Vec::len).sum();
    Ok((problems, format!("{count} places with unsafe in {} files", all.len())))
}

/// Every source file of every crate, in order.
pub(crate) fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        // Crates, not what cargo and git keep.
        if path.join("Cargo.toml").exists() {
            sources_in(&path, &mut files)?;
        }
    }
    files.sort();
    Ok(files)
}

fn sources_in(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                sources_in(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn places(text: &str) -> Vec<Place> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut function = String::new();
    // The head of the `unsafe impl` that we are in, whose functions have the contract of its trait.
    let mut implementation = None;
    let mut places = Vec::new();
    for (number, (line, whole)) in lines.iter().zip(text.lines()).enumerate() {
        if line.starts_with("//") {
            continue;
        }
        let own = name_of(line);
        if let Some(name) = own {
            name.clone_into(&mut function);
        }
        let head = line.strip_prefix(KEYWORD).filter(|rest| rest.starts_with(" impl"));
        if let Some(head) = head {
            let head = head.trim_matches([' ', '{', '}']);
            head.clone_into(&mut function);
            implementation = Some(head);
        }
        for _ in 0..uses(line) {
            let proof = match implementation {
                Some(head) if own.is_some() => {
                    format!("what the trait demands of its caller ({head})")
                }
                _ => proof(lines.get(..number).unwrap_or_default()),
            };
            places.push(Place { function: function.clone(), proof });
        }
        if whole.starts_with('}') || line.ends_with("{}") {
            implementation = None;
        }
    }
    places
}

/// How many blocks, functions, implementations and extern blocks begin on a line of code.
fn uses(line: &str) -> usize {
    const BEGINS: [&str; 5] = ["{", "fn ", "impl", "extern", "trait"];
    let before = |text: &str| {
        text.chars().next_back().is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '"'))
    };
    line.match_indices(KEYWORD)
        .filter(|(at, _)| {
            let (head, tail) = line.split_at(*at);
            let tail = tail.strip_prefix(KEYWORD).unwrap_or_default();
            before(head)
                && BEGINS
                    .iter()
                    .any(|begin| tail.strip_prefix(' ').is_some_and(|t| t.starts_with(begin)))
        })
        .count()
}

const KEYWORD: &str = "unsafe";

/// `name` of `pub(super) unsafe fn name<T>(`
fn name_of(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    head.split_whitespace().all(|word| words.contains(&word)).then_some(())?;
    rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

/// The words behind the last `// SAFETY:` or `# Safety` above, near enough to belong to what follows.
fn proof(above: &[&str]) -> String {
    let mut words = Vec::new();
    let mut code = 0;
    for line in above.iter().rev() {
        let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//")).map(str::trim);
        match comment {
            Some("# Safety") => return words.into_iter().rev().collect::<Vec<_>>().join(" "),
            Some(text) => match text.strip_prefix("SAFETY:") {
                Some(first) => {
                    words.push(first.trim());
                    return words.into_iter().rev().collect::<Vec<_>>().join(" ");
                }
                None => words.push(text),
            },
            // Attributes and the beginning of a statement may stand between.
            None if words.is_empty() && code < NEAR => code += 1,
            None => return String::new(),
        }
    }
    String::new()
}

/// Lines of code that may stand between a proof and what it is about.
const NEAR: usize = 3;

fn page(all: &BTreeMap<String, Vec<Place>>) -> String {
    let count: usize = all.values().map(Vec::len).sum();
    let mut text = format!(
        "# Unsafe code\n\n\
         All of it: {count} places in {} files, each with the proof that stands beside it. Made from the sources by\n\
         `cargo xtask unsafe --write`; `cargo xtask test` fails where the two differ. `ikev2`, `esp` and `testkit` have none\n\
         (`#![forbid(unsafe_code)]`), and the gateway has it for system calls that no safe crate offers in the shape that we need.\n",
        all.len()
    );
    for (file, places) in all {
        write!(text, "\n## {file}: {}\n\n", places.len()).ok();
        for Place { function, proof } in places {
            writeln!(text, "- `{function}`: {proof}").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written so that this file is not one with such places.
    const SOURCE: &str = "\
/// Sends.
///
/// # Safety
/// The caller has\n/// the right.
pub(super) UNSAFE fn put<T>(&mut self) {
    // SAFETY: as above,
    // twice.
    let done =
        UNSAFE { call() };
}
fn other() {
    // UNSAFE { nothing }
    let word = \"UNSAFE {\";
    let UNSAFE_code = 1;
    bare();
    bare();
    UNSAFE { call() }
}
// SAFETY: has no state.
UNSAFE impl Send for X {}
// SAFETY: gives what it got.
UNSAFE impl Alloc for X {
    UNSAFE fn get(&self) {
        // SAFETY: the caller says so.
        UNSAFE { call() }
    }
}
";

    #[test]
    fn each_place_is_found_with_its_proof() {
        let found = places(&SOURCE.replace("UNSAFE", KEYWORD));
        let place =
            |function: &str, proof: &str| Place { function: function.into(), proof: proof.into() };
        let expected = [
            place("put", "The caller has the right."),
            place("put", "as above, twice."),
            place("other", ""),
            place("impl Send for X", "has no state."),
            place("impl Alloc for X", "gives what it got."),
            place("get", "what the trait demands of its caller (impl Alloc for X)"),
            place("get", "the caller says so."),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_page_that_is_behind_or_a_place_without_proof_is_a_problem() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.replace("UNSAFE", KEYWORD)).unwrap();
        };
        write("gateway/Cargo.toml", "");
        write("gateway/src/sys/a.rs", "fn f() {\n    // SAFETY: it is.\n    UNSAFE { g() }\n}\n");
        write("docs/page.md", "");
        write("target/b.rs", "UNSAFE { not_ours() }");
        let behind = format!("{PAGE} is not what the sources say: cargo xtask unsafe --write");
        assert_eq!(check(root.path(), false).unwrap().0, std::slice::from_ref(&behind));
        let note = "1 places with unsafe in 1 files".to_owned();
        assert_eq!(check(root.path(), true).unwrap(), (vec![], note.clone()));
        assert_eq!(check(root.path(), false).unwrap(), (vec![], note));
        let page = std::fs::read_to_string(root.path().join(PAGE)).unwrap();
        assert!(page.ends_with("\n## gateway/src/sys/a.rs: 1\n\n- `f`: it is.\n"), "{page}");
        write("gateway/src/b.rs", "fn h() {\n    UNSAFE { g() }\n}\n");
        let problems = check(root.path(), false).unwrap().0;
        assert_eq!(problems, ["gateway/src/b.rs: no proof in `h`".to_owned(), behind]);
    }
}
