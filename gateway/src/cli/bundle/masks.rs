//! `--anonymize`: all that is somebody's becomes something else, the same in each file.
//!
//! ```text
//!   every text ─► where addresses stand, where words stand ─► of those that overlap the first, of those the longest ─► replaced
//! ```

use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

use super::Entry;
use super::addresses::{Addresses, Thing, find};
use super::contents::Collected;
use super::names::Names;

/// What becomes of what.
pub(super) struct Masks {
    words: AhoCorasick,
    replacements: Vec<String>,
    addresses: Addresses,
}

impl Masks {
    /// For all that was collected.
    ///
    /// # Errors
    /// A sentence; then there must be no bundle.
    pub(super) fn of(collected: &Collected) -> Result<Self, String> {
        let mut names = Names::default();
        let files = collected.files.iter();
        for (path, text) in files {
            if let Ok(whole) = toml::from_str::<Value>(text) {
                names.configured(&whole);
            }
            let is_usual = path.as_os_str() == super::DEFAULT_CONFIG;
            if let Some(path) = path.to_str().filter(|_| !is_usual) {
                names.text(path);
            }
        }
        collected.running.iter().for_each(|whole| names.configured(whole));
        if let Some(snapshot) = &collected.snapshot {
            let value = serde_json::to_value(snapshot).map_err(|error| error.to_string())?;
            names.told(&value, "");
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        names.name("host", &host);
        let mut things = BTreeSet::new();
        for entry in &collected.entries {
            let (Ok(text) | Err(text)) = &entry.text;
            things.extend(find(text).into_iter().map(|(_, thing)| thing));
            names.scan(text);
        }
        Self::new(&names, &things)
    }

    fn new(names: &Names, things: &BTreeSet<Thing>) -> Result<Self, String> {
        let (patterns, replacements): (Vec<String>, Vec<String>) =
            names.replacements().into_iter().unzip();
        let words = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(patterns)
            .map_err(|error| format!("there are too many names to look for: {error}"))?;
        Ok(Self { words, replacements, addresses: Addresses::of(things)? })
    }

    /// Replaces what is somebody's in all of them. What cannot be done safely is left out.
    ///
    /// # Errors
    /// A sentence; then there must be no bundle.
    pub(super) fn put_on(mut self, entries: &mut [Entry]) -> Result<(), String> {
        let mut is_toml = true;
        for entry in entries.iter_mut().filter(|entry| entry.path.starts_with("config/file-")) {
            if let Ok(text) = &entry.text {
                entry.text = without_comments(text);
                is_toml &= entry.text.is_ok();
            }
        }
        for entry in entries {
            if entry.path == "config/check.json" && !is_toml {
                entry.text = Err("it quotes a file that is no TOML".to_owned());
            }
            entry.text = match &entry.text {
                Ok(text) => Ok(self.masked(text)?),
                Err(text) => Err(self.masked(text)?),
            };
        }
        Ok(())
    }

    fn masked(&mut self, text: &str) -> Result<String, String> {
        let mut all: Vec<(Range<usize>, String)> = Vec::new();
        for (place, thing) in find(text) {
            all.push((place, self.addresses.instead(&thing)?));
        }
        for found in self.words.find_overlapping_iter(text) {
            let place = found.range();
            if is_whole(text, &place) {
                let instead = self.replacements.get(found.pattern().as_usize());
                all.push((place, instead.cloned().unwrap_or_default()));
            }
        }
        all.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for (place, instead) in all {
            if place.start >= done {
                masked.push_str(text.get(done..place.start).unwrap_or_default());
                masked.push_str(&instead);
                done = place.end;
            }
        }
        masked.push_str(text.get(done..).unwrap_or_default());
        Ok(masked)
    }
}

/// Not a part of a longer word.
fn is_whole(text: &str, place: &Range<usize>) -> bool {
    let before = text.get(..place.start).and_then(|before| before.chars().next_back());
    let after = text.get(place.end..).and_then(|after| after.chars().next());
    !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
}

/// Comments may say anything.
fn without_comments(text: &str) -> Result<String, String> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|_| "it is no TOML, so that its comments cannot be left out".to_owned())?;
    toml::to_string_pretty(&table).map_err(|error| error.to_string())
}
