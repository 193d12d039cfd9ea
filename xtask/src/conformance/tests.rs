//! A small checkout and a small RFC, and each way in which the table can be wrong about them.

use super::*;

const RFC: &str = "\
1.  Introduction

   SHOULD NOT, RECOMMENDED and MAY mean what RFC 2119 says.

   Nothing here is demanded.  Neither MUSTARD nor FAILED_CP_REQUIRED is a keyword.

2.1.  Repetition

   The responder MUST answer.  It MUST

Author, et al.              Standards Track                   [Page 1]

RFC 1                            Test                          May 2000

   NOT ask, and it SHOULD be quick.

2.2.  Certificates

   They MUST be good and are RECOMMENDED, others NOT RECOMMENDED.

Appendix A.  History
";

const TABLE: &str = "\
| id | level | demand | code | test | state |
|---|---|---|---|---|---|
| 1-2.1-01 | MUST, MUST NOT | answers | `src/a.rs::Window::admit` | `src/a.rs::tests::answers` | done |
| 1-2.1-02 | SHOULD | quick | `src/a.rs` | by construction | done |
| 1-2.1-03 | MAY | asks twice | - | - | not implemented: nobody needs it |

| 1 §2.2 | MUST, RECOMMENDED, NOT RECOMMENDED | certificates | there are none |
| 1 §1 | SHOULD NOT, RECOMMENDED | words | a definition |
";

const SOURCE: &str = "\
impl Window {
    pub(super) fn admit(&self) {}
}
mod tests {
    /// Words about it.
    #[test]
    #[should_panic]
    fn answers() {}

    fn helper() {}
}
";

/// A checkout with one source file and one namespace test.
fn checkout() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["src", "gateway/tests/netns"] {
        std::fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    std::fs::write(root.path().join("src/a.rs"), SOURCE).unwrap();
    let netns = "list.every_pair(\"rekey/by-left\", gcm, rekey);";
    std::fs::write(root.path().join("gateway/tests/netns/rekey.rs"), netns).unwrap();
    root
}

fn problems_of(table: &str, last: bool) -> Vec<String> {
    let root = checkout();
    let read = |number| (number == 1).then(|| rfc::keywords(RFC));
    let findings = check(table, root.path(), read, last);
    findings.problems.iter().map(ToString::to_string).collect()
}

/// The good table with one thing replaced has exactly this problem.
#[track_caller]
fn assert_problem(old: &str, new: &str, problem: &str) {
    assert!(TABLE.contains(old), "{old}");
    assert_eq!(problems_of(&TABLE.replace(old, new), false), [problem]);
}

#[test]
fn a_table_that_is_right_has_no_problem_and_is_counted() {
    let root = checkout();
    let findings = check(TABLE, root.path(), |_| Some(rfc::keywords(RFC)), true);
    assert_eq!(findings.problems, []);
    let expected =
        Tally { done: 2, untested: 1, missing: 1, not_applicable: 5, ..Tally::default() };
    assert_eq!(findings.total, expected);
}

#[test]
fn keywords_are_counted_by_section_and_over_the_edge_of_a_page() {
    let found = rfc::keywords(RFC);
    let levels = |list: &[(&str, usize)]| {
        list.iter().map(|(level, count)| ((*level).to_owned(), *count)).collect()
    };
    let words: rfc::Levels = levels(&[("SHOULD NOT", 1), ("RECOMMENDED", 1)]);
    let first: rfc::Levels = levels(&[("MUST", 1), ("MUST NOT", 1), ("SHOULD", 1)]);
    let second: rfc::Levels = levels(&[("MUST", 1), ("NOT RECOMMENDED", 1), ("RECOMMENDED", 1)]);
    assert_eq!(
        found,
        Keywords::from([(vec![1], words), (vec![2, 1], first), (vec![2, 2], second)])
    );
}

#[test]
fn a_citation_that_leads_nowhere_is_a_problem() {
    let at = |what: &str| format!("docs/conformance.md:3: {what}");
    assert_problem("a.rs::Window", "b.rs::Window", &at("no file src/b.rs"));
    assert_problem("::admit", "::refuse", &at("no `refuse` in src/a.rs"));
    assert_problem("::Window::", "::Door::", &at("no `impl Door` in src/a.rs"));
    assert_problem("::answers", "::silent", &at("no `fn silent` in src/a.rs"));
    assert_problem("::answers", "::helper", &at("`helper` in src/a.rs is not a #[test]"));
    let netns = "no test \"rekey/by-right\" in gateway/tests/netns";
    assert_problem("src/a.rs::tests::answers", "netns:rekey/by-right", &at(netns));
    let good = TABLE.replace("src/a.rs::tests::answers", "netns:rekey/by-left");
    assert_eq!(problems_of(&good, false), [""; 0]);
}

#[test]
fn what_is_not_accounted_for_is_a_problem() {
    assert_problem(
        "MUST, MUST NOT |",
        "2 MUST, MUST NOT |",
        "docs/conformance.md:5: RFC 1 §2.1: MUST is there 1 times, and 2 are accounted for",
    );
    assert_problem(
        "MUST, RECOMMENDED, NOT",
        "MUST, NOT",
        "docs/conformance.md:7: RFC 1 §2.2: RECOMMENDED is there 1 times, and 0 are accounted for",
    );
    let lines: Vec<_> = TABLE.lines().filter(|line| !line.contains("§2.2")).collect();
    assert_eq!(problems_of(&lines.join("\n"), false).len(), 3, "a section that is left out");
}

#[test]
fn a_row_that_says_too_little_is_a_problem() {
    let at = |line: usize, what: &str| format!("docs/conformance.md:{line}: {what}");
    assert_problem(": nobody needs it", "", &at(5, "`1-2.1-03` does not say why"));
    assert_problem("1-2.1-03", "1-2.1-04", &at(5, "`1-2.1-04` follows number 02 of its section"));
    assert_problem("not implemented:", "perhaps:", &at(5, "`perhaps` is not a state"));
    assert_problem("| MAY |", "| CAN |", &at(5, "`CAN` is not a level of RFC 2119"));
    let table = TABLE.replace("by construction", "-");
    assert!(problems_of(&table, false)[0].contains("neither a test nor a word why not"));
    let table = TABLE.replace("`src/a.rs` |", "- |");
    assert!(problems_of(&table, false)[0].contains("is done, but where?"));
    let table = TABLE.replace("| asks twice ", "");
    assert_eq!(problems_of(&table, false), [at(5, "a demand has 6 cells, not 5")]);
}

#[test]
fn what_is_planned_is_refused_in_the_end_only() {
    let table = TABLE.replace("not implemented: nobody needs it", "planned:later");
    assert_eq!(problems_of(&table, false), [""; 0]);
    assert_eq!(problems_of(&table, true), ["docs/conformance.md:5: still planned"]);
}

/// Citations are checked all the same, keywords are not, and the sums are apart.
#[test]
fn a_selection_does_not_account_for_every_keyword() {
    let row = "| 2-4-01 | MUST | answers | `src/a.rs` | `src/a.rs::tests::answers` | done |";
    let table = format!("{TABLE}\n## Others: a selection\n\n{row}\n");
    let root = checkout();
    let read = |_| Some(rfc::keywords(RFC));
    let findings = check(&table, root.path(), read, true);
    assert_eq!(findings.problems, []);
    assert_eq!((findings.total.done, findings.selected.done), (2, 1));
    let lost = table.replace(row, &row.replace("::answers`", "::silent`"));
    let findings = check(&lost, root.path(), read, true);
    assert_eq!(findings.problems.len(), 1, "{:?}", findings.problems);
    let counted = table.replace(": a selection", "");
    assert!(!check(&counted, root.path(), read, true).problems.is_empty(), "§4 is not in the text");
}

#[test]
fn an_rfc_that_is_not_there_is_told() {
    let root = checkout();
    let findings = check(TABLE, root.path(), |_| None, false);
    assert_eq!((&findings.problems, &findings.unread), (&vec![], &vec![1]));
    assert!(findings.unread_note().contains("no rfc1.txt"));
}
