//! The settings of strongSwan: sections in braces, `key = value`, references, `include`.
//!
//! ```text
//!   connections {                       Section "connections"
//!     home : defaults {                   Section "home", which has all of `defaults` that it does not say itself
//!       remote_addrs = 192.0.2.1 # why      Setting
//!       include conf.d/*.conf               the same as if it stood here
//!     }
//!   }
//! ```
//!
//! A section that is opened twice is one; of a key that is said twice the last counts, and `key =` takes it away.

use std::sync::Arc;

use super::text::{place, source, syntax};
use super::{Files, Input, Note};
use crate::config::{Diagnostic, Place, Source};

/// A section.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) settings: Vec<Setting>,
    pub(super) sections: Vec<Section>,
    references: Vec<String>,
}

/// `key = value`
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

impl Section {
    fn new(name: &str, place: Place) -> Self {
        let (settings, sections, references) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), place, settings, sections, references }
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|one| one.name == name)
    }

    /// What a key says, if it says something.
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|one| one.key == key).filter(|one| !one.value.is_empty())
    }

    fn set(&mut self, setting: Setting) {
        self.settings.retain(|one| one.key != setting.key);
        self.settings.push(setting);
    }

    fn open(&mut self, name: &str, place: &Place) -> &mut Section {
        let known = self.sections.iter().position(|one| one.name == name);
        let at = known.unwrap_or_else(|| {
            self.sections.push(Section::new(name, place.clone()));
            self.sections.len() - 1
        });
        self.sections.get_mut(at).expect("invariant: found or made just now")
    }

    /// What it does not say itself, from another one.
    fn inherit(&mut self, base: &Section) {
        for setting in &base.settings {
            if self.settings.iter().all(|one| one.key != setting.key) {
                self.settings.push(setting.clone());
            }
        }
        for section in &base.sections {
            self.open(&section.name, &section.place).inherit(section);
        }
    }
}

/// Everything that the files say, as one section without a name, and what was not followed.
pub(super) fn parse(
    inputs: &[Input],
    files: &mut dyn Files,
) -> Result<(Section, Vec<Note>), Box<Diagnostic>> {
    let nothing = Input { name: "no file".into(), text: String::new() };
    let first = source(inputs.first().unwrap_or(&nothing));
    let mut root = Section::new("", place(&first, "", 0..0));
    let mut notes = Vec::new();
    for input in inputs {
        read_file(input, files, &mut root, &mut notes, 0)?;
    }
    let whole = root.clone();
    let mut budget = SECTIONS_MAX;
    follow_all(&mut root, &whole, 0, &mut budget);
    Ok((root, notes))
}

fn read_file(
    input: &Input,
    files: &mut dyn Files,
    into: &mut Section,
    notes: &mut Vec<Note>,
    depth: usize,
) -> Result<(), Box<Diagnostic>> {
    let source = source(input);
    let mut reader = Reader { input, source, at: 0, files, notes, depth };
    reader.body(into, 0)
}

/// Included files within included files, and sections within sections.
const DEPTH_MAX: usize = 16;
/// Settings and sections within one section: looking one up takes time.
const ENTRIES_MAX: usize = 5000;
/// References can multiply what they refer to.
const SECTIONS_MAX: usize = 20_000;

/// Reads one file.
struct Reader<'r> {
    input: &'r Input,
    source: Arc<Source>,
    at: usize,
    files: &'r mut dyn Files,
    notes: &'r mut Vec<Note>,
    depth: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.input.text.get(self.at..).unwrap_or("")
    }

    fn place(&self, from: usize) -> Place {
        place(&self.source, &self.input.text, from..self.at)
    }

    fn fail<T>(&self, from: usize, message: &str, label: &str) -> Result<T, Box<Diagnostic>> {
        Err(syntax(&place(&self.source, &self.input.text, from..from + 1), message, label))
    }

    /// White space and comments; line ends too, if `lines`.
    fn skip(&mut self, lines: bool) {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                '\n' if !lines => break,
                c if c.is_whitespace() => self.at += c.len_utf8(),
                _ => break,
            }
        }
    }

    /// The content of a section, up to its brace or, on the outside, the end of the file.
    fn body(&mut self, into: &mut Section, level: usize) -> Result<(), Box<Diagnostic>> {
        loop {
            self.skip(true);
            let start = self.at;
            match self.rest().chars().next() {
                None if level == 0 => return Ok(()),
                None => {
                    let (line, column) = into.place.line_column();
                    let message = format!("section `{}` of line {line} has no end", into.name);
                    let label =
                        format!("`}}` is missing (it begins in line {line}, column {column})");
                    let last = self.input.text.trim_end().len();
                    return self.fail(last.saturating_sub(1), &message, &label);
                }
                Some('}') if level > 0 => {
                    self.at += 1;
                    return Ok(());
                }
                Some('}') => {
                    return self.fail(start, "`}` without a section", "nothing is open here");
                }
                Some('{' | '=' | ':' | ',') => {
                    return self.fail(
                        start,
                        "a name is missing",
                        "a name has to stand before this",
                    );
                }
                Some(_) => self.statement(into, level)?,
            }
        }
    }

    fn statement(&mut self, into: &mut Section, level: usize) -> Result<(), Box<Diagnostic>> {
        let start = self.at;
        let name = self.name()?;
        let named = self.place(start);
        if name == "include" && self.rest().starts_with([' ', '\t', '"']) {
            return self.include(into);
        }
        self.skip(true);
        match self.rest().chars().next() {
            Some('=') => self.setting(name, into),
            Some('+') if self.rest().starts_with("+=") => {
                self.at += 1;
                let before = into.get(&name).map(|one| one.value.clone());
                self.setting(name, into)?;
                if let (Some(before), Some(last)) = (before, into.settings.last_mut()) {
                    last.value = format!("{before},{}", last.value);
                }
                Ok(())
            }
            Some('{' | ':') if level >= DEPTH_MAX => {
                self.fail(start, "too many sections within each other", "no strongSwan has so many")
            }
            Some('{') => self.open(&name, &named, Vec::new(), into, level),
            Some(':') => {
                self.at += 1;
                let mut references = Vec::new();
                loop {
                    self.skip(true);
                    references.push(self.name()?);
                    self.skip(true);
                    if !self.rest().starts_with(',') {
                        break;
                    }
                    self.at += 1;
                }
                if !self.rest().starts_with('{') {
                    return self.fail(self.at, "a section is missing", "`{` has to stand here");
                }
                self.open(&name, &named, references, into, level)
            }
            _ => self.fail(
                start,
                &format!("`{name}` is neither a setting nor a section"),
                "`=` or `{` has to follow",
            ),
        }
    }

    fn open(
        &mut self,
        name: &str,
        named: &Place,
        references: Vec<String>,
        into: &mut Section,
        level: usize,
    ) -> Result<(), Box<Diagnostic>> {
        if into.sections.len() >= ENTRIES_MAX {
            return Err(syntax(named, "too many sections in one", "no strongSwan has so many"));
        }
        self.at += 1;
        let section = into.open(name, named);
        section.place = named.clone();
        section.references.extend(references);
        self.body(section, level + 1)
    }

    /// A word, in quotes or not.
    fn name(&mut self) -> Result<String, Box<Diagnostic>> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let rest = self.rest();
        let end = rest
            .find(|c: char| c.is_whitespace() || "{}#=:,\"".contains(c) || c == '+')
            .unwrap_or(rest.len());
        if end == 0 {
            return self.fail(self.at, "a name is missing", "a name has to stand here");
        }
        let name = rest.get(..end).unwrap_or("").to_owned();
        self.at += end;
        Ok(name)
    }

    fn quoted(&mut self) -> Result<String, Box<Diagnostic>> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        let mut escaped = false;
        for c in self.input.text.get(self.at..).unwrap_or("").chars() {
            self.at += c.len_utf8();
            match c {
                _ if escaped => {
                    escaped = false;
                    match c {
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        't' => text.push('\t'),
                        // The line goes on.
                        '\n' => {}
                        other => text.push(other),
                    }
                }
                '\\' => escaped = true,
                '"' => return Ok(text),
                other => text.push(other),
            }
        }
        self.fail(start, "a quote is not closed", "it begins here")
    }

    /// `= value` to the end of the line, a comment or the brace that closes the section.
    fn setting(&mut self, key: String, into: &mut Section) -> Result<(), Box<Diagnostic>> {
        self.at += 1;
        while self.rest().starts_with([' ', '\t']) {
            self.at += 1;
        }
        let start = self.at;
        let mut value = String::new();
        let mut end = start;
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\n' | '\r' | '#' | '}' => break,
                '"' => {
                    let part = self.quoted()?;
                    value.push_str(&part);
                    end = self.at;
                }
                '\\' => {
                    // What follows is meant as it stands; at the end of the line it goes on.
                    self.at += 1;
                    if let Some(next) = self.rest().chars().next() {
                        self.at += next.len_utf8();
                        if next != '\n' {
                            value.push(next);
                            end = self.at;
                        }
                    }
                }
                c => {
                    value.push(c);
                    self.at += c.len_utf8();
                    if !c.is_whitespace() {
                        end = self.at;
                    }
                }
            }
        }
        let place = place(&self.source, &self.input.text, start..end);
        if into.settings.len() >= ENTRIES_MAX {
            return Err(syntax(
                &place,
                "too many settings in one section",
                "no strongSwan has so many",
            ));
        }
        let value = if value.ends_with([' ', '\t']) { value.trim_end().to_owned() } else { value };
        into.set(Setting { key, value, place });
        Ok(())
    }

    fn include(&mut self, into: &mut Section) -> Result<(), Box<Diagnostic>> {
        self.skip(false);
        let start = self.at;
        let pattern = if self.rest().starts_with('"') {
            self.quoted()?
        } else {
            let rest = self.rest();
            let end = rest.find(|c: char| c.is_whitespace() || "{}\"".contains(c));
            let pattern = rest.get(..end.unwrap_or(rest.len())).unwrap_or("").to_owned();
            self.at += pattern.len();
            pattern
        };
        let place = self.place(start);
        if self.depth >= DEPTH_MAX {
            return Err(syntax(&place, "files include each other in a circle", "once more here"));
        }
        match self.files.included(&pattern, &self.input.name) {
            Ok(inputs) => {
                for input in inputs {
                    read_file(&input, self.files, into, self.notes, self.depth + 1)?;
                }
            }
            Err(why) => {
                let what = format!("`{pattern}` is not included: {why}");
                self.notes.push(Note::new(Some(&place), what).fix("give that file to import, too"));
            }
        }
        Ok(())
    }
}

/// Resolves references: `home : defaults` is looked for beside `home`, then by its path from the outside.
fn follow_all(section: &mut Section, whole: &Section, depth: usize, budget: &mut usize) {
    let beside = section.clone();
    for inner in &mut section.sections {
        for name in inner.references.clone() {
            let found = beside
                .section(&name)
                .or_else(|| name.split('.').try_fold(whole, |section, part| section.section(part)));
            let Some(base) = found.filter(|base| base.name != inner.name) else { continue };
            let cost = size(base);
            if cost > *budget {
                continue;
            }
            *budget -= cost;
            inner.inherit(base);
            // One that refers to a third.
            for name in &base.references {
                if let Some(base) = beside.section(name).filter(|base| base.name != inner.name) {
                    inner.inherit(base);
                }
            }
        }
        if depth < DEPTH_MAX {
            follow_all(inner, whole, depth + 1, budget);
        }
    }
}

fn size(section: &Section) -> usize {
    1 + section.settings.len() + section.sections.iter().map(size).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::NoFiles;

    fn read(text: &str) -> Result<Section, String> {
        let input = Input { name: "swanctl.conf".into(), text: text.into() };
        let parsed = parse(&[input], &mut NoFiles);
        parsed.map(|(section, _)| section).map_err(|fault| fault.render(false))
    }

    fn value(section: &Section, path: &str) -> Option<String> {
        let (path, key) = path.rsplit_once('.').unwrap_or(("", path));
        let parts = path.split('.').filter(|part| !part.is_empty());
        let found = parts.into_iter().try_fold(section, |at, part| at.section(part))?;
        found.get(key).map(|one| one.value.clone())
    }

    #[test]
    fn what_strongswan_reads_is_read_the_same() {
        let text = "a { b = 1 # no\n c = \"x # \\\"y\\\"\" d\n e { f = g }\n }\n\
                    a {\n b = 2\n h =\n}\nk : a, m { c = 3\n}\nm {\n n = o\\\n p\n}\n";
        let section = read(text).unwrap();
        assert_eq!(value(&section, "a.b").as_deref(), Some("2"));
        assert_eq!(value(&section, "a.c").as_deref(), Some("x # \"y\" d"));
        assert_eq!(value(&section, "a.e.f").as_deref(), Some("g"));
        assert_eq!(value(&section, "a.h"), None);
        assert_eq!(value(&section, "k.b").as_deref(), Some("2"));
        assert_eq!(value(&section, "k.c").as_deref(), Some("3"));
        assert_eq!(value(&section, "k.e.f").as_deref(), Some("g"));
        assert_eq!(value(&section, "k.n").as_deref(), Some("o p"));
    }

    #[test]
    fn damaged_files_are_refused_with_a_place() {
        for (text, line, word) in [
            ("a {\n b = 1\n", 2, "has no end"),
            ("a {\n}\n}\n", 3, "without a section"),
            ("a {\n b = \"1\n}\n", 2, "not closed"),
            ("a {\n b 1\n}\n", 2, "neither a setting nor a section"),
            ("= 1\n", 1, "name is missing"),
            ("a : b = 2", 1, "section is missing"),
        ] {
            let shown = read(text).unwrap_err();
            assert!(shown.contains(word), "{shown}");
            assert!(shown.contains(&format!("swanctl.conf:{line}:")), "{shown}");
        }
        let deep = "a {".repeat(10_000);
        assert!(read(&deep).unwrap_err().contains("too many"));
    }

    #[test]
    fn an_include_that_is_not_there_is_a_note() {
        let input = Input { name: "s".into(), text: "include conf.d/*.conf\na {}\n".into() };
        let (_, notes) = parse(&[input], &mut NoFiles).unwrap();
        assert!(notes[0].to_string().starts_with("s:1: `conf.d/*.conf` is not included"));
    }
}
