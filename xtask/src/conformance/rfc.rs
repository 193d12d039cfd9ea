//! The keywords of RFC 2119 in the text of an RFC, section by section.
//!
//! ```text
//!   2.1.  Use of Retransmission Timers         a section: digits at the very left
//!      ... the responder MUST                  the text is indented; "MUST" and "NOT" may stand on two lines
//!      NOT ...                                 even with the foot and head of a page between them
//! ```

use std::collections::BTreeMap;

/// How often each keyword is there.
pub(super) type Levels = BTreeMap<String, usize>;
/// By section.
pub(super) type Keywords = BTreeMap<Vec<u32>, Levels>;

const NEGATABLE: [&str; 3] = ["MUST", "SHALL", "SHOULD"];
const OTHERS: [&str; 3] = ["REQUIRED", "RECOMMENDED", "NOT RECOMMENDED"];

/// Whether a level is one that is counted.
pub(super) fn is_counted(level: &str) -> bool {
    NEGATABLE.contains(&level.strip_suffix(" NOT").unwrap_or(level)) || OTHERS.contains(&level)
}

/// The keywords of a whole RFC as plain text.
pub(super) fn keywords(text: &str) -> Keywords {
    let mut found = Keywords::new();
    let mut section = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut flush = |section: &[u32], words: &mut Vec<&str>| {
        count(words, found.entry(section.to_vec()).or_default());
        words.clear();
    };
    for line in text.lines().filter(|line| !is_page_edge(line)) {
        if let Some(next) = heading(line) {
            flush(&section, &mut words);
            section = next;
        } else {
            words.extend(
                line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .filter(|w| !w.is_empty()),
            );
        }
    }
    flush(&section, &mut words);
    found.retain(|_, levels| !levels.is_empty());
    found
}

fn count(words: &[&str], levels: &mut Levels) {
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    for index in 0..words.len() {
        let level = match (word(index), word(index + 1)) {
            (keyword, "NOT") if NEGATABLE.contains(&keyword) => format!("{keyword} NOT"),
            // Not where the NOT is that of a SHOULD NOT before it, as in the list of the keywords.
            ("NOT", "RECOMMENDED") if index == 0 || !NEGATABLE.contains(&word(index - 1)) => {
                "NOT RECOMMENDED".into()
            }
            ("RECOMMENDED", _) if is_negated(words, index) => continue,
            (keyword, _) if is_counted(keyword) => keyword.to_owned(),
            _ => continue,
        };
        *levels.entry(level).or_default() += 1;
    }
}

/// Whether RECOMMENDED at `index` was counted with the NOT before it.
fn is_negated(words: &[&str], index: usize) -> bool {
    let before = |back: usize| index.checked_sub(back).and_then(|at| words.get(at).copied());
    before(1) == Some("NOT") && !before(2).is_some_and(|word| NEGATABLE.contains(&word))
}

/// `2.25.1.  Collisions while ...`, at the left edge. An appendix ends the numbered sections: it becomes section 0.
fn heading(line: &str) -> Option<Vec<u32>> {
    if line.starts_with("Appendix ") {
        return Some(vec![0]);
    }
    let (number, title) = line.split_once(".  ")?;
    let path = number.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
    (!title.is_empty()).then_some(path)
}

/// `RFC 7296   IKEv2bis   October 2014` and `Kaufman, et al.   Standards Track   [Page 3]`.
fn is_page_edge(line: &str) -> bool {
    let head = line.starts_with("RFC ") && line.ends_with(|c: char| c.is_ascii_digit());
    head || (line.ends_with(']') && line.contains("[Page "))
}

/// Where the table accounts for more or less than the text has, section by section.
pub(super) fn differences(table: &Keywords, text: &Keywords) -> Vec<(Vec<u32>, String)> {
    let mut sections: Vec<&Vec<u32>> = table.keys().chain(text.keys()).collect();
    sections.sort();
    sections.dedup();
    let nothing = Levels::new();
    let mut differences = Vec::new();
    for section in sections {
        let mine = table.get(section).unwrap_or(&nothing);
        let theirs = text.get(section).unwrap_or(&nothing);
        let mut levels: Vec<&String> = mine.keys().chain(theirs.keys()).collect();
        levels.sort();
        levels.dedup();
        for level in levels {
            let of = |levels: &Levels| levels.get(level).copied().unwrap_or(0);
            let (here, there) = (of(mine), of(theirs));
            if here != there {
                let what = format!("{level} is there {there} times, and {here} are accounted for");
                differences.push((section.clone(), what));
            }
        }
    }
    differences
}
