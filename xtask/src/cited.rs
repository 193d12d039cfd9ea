//! Whether what a page of docs/ cites is there.
//!
//! ```text
//!   ikev2/src/sa/window.rs                  the file
//!   ikev2/src/sa/window.rs::Window::admit   and in it `impl Window` and `fn admit` (or a const, struct, enum ..)
//!   ikev2/src/sa/window.rs::tests::name     as a test: `fn name` below `#[test]`
//!   ikev2/src/sa/window.rs::*              all tests of the file, of which there is one at least
//!   netns:rekey/ike/by-left, netns:rekey/*   a test of gateway/tests/netns: the name as a literal
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the namespace tests are.
const NETNS: &str = "gateway/tests/netns";

/// A checkout, read once a file.
pub(crate) struct Sources {
    root: PathBuf,
    files: BTreeMap<String, Option<String>>,
}

impl Sources {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: BTreeMap::new() }
    }

    /// A file, or an item in one.
    pub(crate) fn item(&mut self, cited: &str) -> Result<(), String> {
        let (path, names) = split(cited);
        let text = self.text(path)?;
        let Some((name, owners)) = names.split_last() else { return Ok(()) };
        if find(text, name).is_none() {
            return Err(format!("no `{name}` in {path}"));
        }
        match owners.iter().find(|owner| **owner != "tests" && !has_owner(text, owner)) {
            Some(owner) => Err(format!("no `impl {owner}` in {path}")),
            None => Ok(()),
        }
    }

    /// A test.
    pub(crate) fn test(&mut self, cited: &str) -> Result<(), String> {
        if let Some(name) = cited.strip_prefix("netns:") {
            return self.netns(name);
        }
        let (path, names) = split(cited);
        let text = self.text(path)?;
        let Some(name) = names.last() else { return Err(format!("`{cited}` names no test")) };
        if *name == "*" {
            let none = tests_in(text).is_empty();
            return if none { Err(format!("no test in {path}")) } else { Ok(()) };
        }
        let Some(index) = find(text, name) else { return Err(format!("no `fn {name}` in {path}")) };
        let lines: Vec<&str> = text.lines().collect();
        let above = lines.get(..index).unwrap_or_default();
        let attributes = above.iter().rev().map(|line| line.trim());
        let mut attributes = attributes.take_while(|line| line.starts_with(['#', '/']));
        if attributes.any(|line| line == "#[test]") {
            Ok(())
        } else {
            Err(format!("`{name}` in {path} is not a #[test]"))
        }
    }

    fn netns(&self, name: &str) -> Result<(), String> {
        // All with that beginning, or the one of that name.
        let literal = match name.strip_suffix('*') {
            Some(beginning) => format!("\"{beginning}"),
            None => format!("\"{name}\""),
        };
        let found = contains(&self.root.join(NETNS), &literal);
        if found.map_err(|error| format!("{NETNS}: {error}"))? {
            Ok(())
        } else {
            Err(format!("no test {literal} in {NETNS}"))
        }
    }

    fn text(&mut self, path: &str) -> Result<&str, String> {
        let full = self.root.join(path);
        let text =
            self.files.entry(path.to_owned()).or_insert_with(|| std::fs::read_to_string(full).ok());
        text.as_deref().ok_or_else(|| format!("no file {path}"))
    }
}

/// Whether a file below the directory has these words.
fn contains(directory: &Path, words: &str) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            contains(&path, words)?
        } else {
            std::fs::read_to_string(&path).is_ok_and(|text| text.contains(words))
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The tests of a file, each with the module of the file that it is in: `tests::answers`.
pub(crate) fn tests_in(text: &str) -> Vec<String> {
    let (mut module, mut marked, mut tests) = ("", false, Vec::new());
    for line in text.lines() {
        if line == "mod tests {" {
            module = "tests::";
        }
        let line = line.trim();
        if line == "#[test]" {
            marked = true;
        } else if let Some(name) = line.strip_prefix("fn ").filter(|_| marked) {
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            tests
                .push(format!("{module}{}", name.get(..end.unwrap_or(name.len())).unwrap_or(name)));
            marked = false;
        }
    }
    tests
}

/// The path, and the names behind it.
pub(crate) fn split(cited: &str) -> (&str, Vec<&str>) {
    let mut parts = cited.split("::");
    (parts.next().unwrap_or_default(), parts.collect())
}

/// The line, from 0, on which the item of this name begins.
fn find(text: &str, name: &str) -> Option<usize> {
    const KINDS: [&str; 7] = ["fn", "const", "struct", "enum", "static", "trait", "type"];
    text.lines().position(|line| {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let code = !line.trim_start().starts_with("//");
        code && words
            .windows(2)
            .any(|pair| matches!(pair, [kind, this] if KINDS.contains(kind) && *this == name))
    })
}

fn has_owner(text: &str, owner: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let begins =
            ["impl", "mod ", "pub mod ", "trait "].iter().any(|word| line.starts_with(word));
        begins && words.into_iter().any(|word| word == owner)
    })
}

/// What stands between backticks.
pub(crate) fn cited(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
