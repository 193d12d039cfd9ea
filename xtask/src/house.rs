//! A step of `cargo xtask test`: the rules of the house that no lint knows (CONTRIBUTING.md).
//!
//! ```text
//!   each *.rs    begins with its picture (`//!`), has 600 lines at most
//!   each mod.rs  names in its picture every file beside it, so that a newcomer finds the way without opening them all
//!                (not those of tests, which nobody needs to find one by one)
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::path::Path;

use anyhow::Result;

use crate::inventory::sources;
use crate::step::{Counts, workspace};

pub(crate) fn step() -> Result<(Counts, String)> {
    let root = workspace();
    let (mut files, mut failed) = (0_usize, 0);
    for file in sources(&root)? {
        files += 1;
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(&root)?;
        for problem in problems(name, &text) {
            println!("  {}: {problem}", name.display());
            failed += 1;
        }
    }
    let counts = Counts { passed: u32::from(failed == 0), failed, ..Counts::default() };
    Ok((counts, format!("{files} files")))
}

/// What is against the rules in a file.
fn problems(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let picture: Vec<&str> = text.lines().take_while(|line| !line.starts_with("mod ")).collect();
    let picture: Vec<_> = picture.into_iter().filter_map(|line| line.strip_prefix("//!")).collect();
    if !text.starts_with("//!") {
        problems.push("begins without a line that says what it is (`//!`)".to_owned());
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!("{lines} lines, more than {LINES_MAX}: two ideas?"));
    }
    let of_tests = name.components().any(|part| part.as_os_str() == "tests");
    if name.ends_with("mod.rs") && !of_tests {
        let unnamed = modules(text).filter(|module| !names(&picture, module));
        problems.extend(unnamed.map(|module| format!("`{module}` is not in its picture")));
    }
    problems
}

/// The files that a file declares as parts of it, but for those of tests.
fn modules(text: &str) -> impl Iterator<Item = &str> {
    let before = std::iter::once("").chain(text.lines());
    text.lines().zip(before).filter(|(_, before)| !before.contains("cfg(test)")).filter_map(
        |(line, _)| {
            let declared = line.strip_suffix(';')?.split_once("mod ")?;
            matches!(declared.0, "" | "pub " | "pub(crate) " | "pub(super) ").then_some(declared.1)
        },
    )
}

/// Whether a word stands somewhere by itself.
fn names(picture: &[&str], word: &str) -> bool {
    let apart = |c: char| !(c.is_alphanumeric() || c == '_');
    picture.iter().any(|line| line.split(apart).any(|one| one == word))
}

const LINES_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_against_the_rules_is_told() {
        let path = Path::new("esp/src/replay/mod.rs");
        let good =
            "//! The window.\n//! `ring.rs` has its bits.\n\nmod ring;\n#[cfg(test)]\nmod tests;\n";
        assert!(problems(path, good).is_empty());
        let unnamed = problems(path, &good.replace("ring.rs", "string.rs"));
        assert_eq!(unnamed, ["`ring` is not in its picture"]);
        assert!(
            problems(Path::new("esp/src/tests/mod.rs"), &good.replace("ring.rs", "x")).is_empty()
        );
        assert!(problems(Path::new("esp/src/lib.rs"), &good.replace("ring.rs", "x")).is_empty());
        assert_eq!(problems(path, "use std::fmt;\n").len(), 1, "no picture");
        assert_eq!(problems(path, &"//!\n".repeat(LINES_MAX + 1)).len(), 1, "too long");
    }
}
