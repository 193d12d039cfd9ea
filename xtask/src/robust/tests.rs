//! A small page and a small checkout: what is cited, how it is run, and what is made of the answers.

use std::collections::BTreeMap;
use std::path::Path;

use super::go::{How, Measured, Outcome, result};
use super::page::Cited;
use super::plan::{Named, runs};
use super::*;

const TEXT: &str = "\
| id | what is sent or broken | bar | tests | not tested here |
|---|---|---|---|---|
| T01 | a flood | 16 MiB | `netns:guard/flood`; long: `xtask:bench flood`, `bench:esp/benches/c.rs` | - |
| T02 | cookies | none | `esp/src/tests/a.rs::x`, `esp/src/ecn.rs::*` | spoofed ones |
| T03 | damage | 0 | `esp/tests/pair/deep/b.rs::z`; long: `N=5 M=6 esp/src/tests/a.rs::x` | - |
| T04 | the moon | - | - | out of reach |
";

fn checkout() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("esp/Cargo.toml", "[package]\nname = \"our-esp\"\n");
    write("esp/src/lib.rs", "");
    write("esp/src/tests/a.rs", "#[test]\nfn x() {}\n");
    write("esp/src/ecn.rs", "mod tests {\n    #[test]\n    fn y() {}\n}\n");
    write("esp/tests/pair/deep/b.rs", "#[test]\nfn z() {}\n");
    write("esp/benches/c.rs", "");
    write("gateway/tests/netns/guard/flood.rs", "list.add(\"guard/flood\", true);\n");
    root
}

/// Without the rows that the small page does not have.
fn problems(text: &str) -> Vec<String> {
    let root = checkout();
    let problems = page::parse(text).problems(root.path());
    problems.into_iter().filter(|problem| !problem.starts_with("1: no row")).collect()
}

#[test]
fn a_page_that_is_right_has_no_problem_but_the_rows_that_it_lacks() {
    assert_eq!(problems(TEXT), [""; 0]);
    let all = page::parse(TEXT).problems(checkout().path());
    assert_eq!(all.len(), 50, "T05 to T55 but T13");
    assert_eq!(
        page::parse(TEXT).summary(),
        "4 faults and attacks, 3 with tests, 2 without a gap, 7 tests"
    );
}

#[test]
fn each_mistake_is_told_with_its_line() {
    for (old, new, problem) in [
        ("a.rs::x`, ", "a.rs::w`, ", "4: no `fn w` in esp/src/tests/a.rs"),
        ("ecn.rs::*", "lib.rs::*", "4: no test in esp/src/lib.rs"),
        ("netns:guard/flood", "netns:gua/*", "3: no test \"gua/ in gateway/tests/netns"),
        ("netns:guard/flood", "netns:guard/f", "3: no test \"guard/f\" in gateway/tests/netns"),
        ("bench flood", "bench food", "3: cargo xtask bench food is no chore"),
        ("| T04", "| T03", "6: T03 is there twice or not one of T01 to T55"),
        ("| T04", "| T13", "6: T13 is there twice or not one of T01 to T55"),
        ("out of reach", "-", "6: T04 has neither a test nor a word why not"),
        ("| a flood ", "", "3: a row has 5 cells, not 4"),
    ] {
        assert!(TEXT.contains(old), "{old}");
        assert_eq!(problems(&TEXT.replace(old, new)), [problem]);
    }
}

fn planned(long: bool) -> Vec<plan::Run> {
    let page = page::parse(TEXT);
    let rows: Vec<_> = page.rows.iter().collect();
    runs(&rows, long, checkout().path()).unwrap()
}

#[test]
fn tests_of_one_package_and_environment_are_one_run() {
    let lines = |runs: Vec<plan::Run>| {
        let line = |run: &plan::Run| {
            let env = run.env.iter().map(|(name, value)| format!("{name}={value}"));
            env.chain(run.args.iter().cloned()).collect::<Vec<_>>().join(" ")
        };
        runs.iter().map(line).collect::<Vec<_>>()
    };
    let esp = "test -p our-esp --no-fail-fast --lib --test pair -- --exact deep::b::z ecn::tests::y tests::a::x";
    let netns = "S2S_NETNS=1 S2S_TESTS=guard/flood test -p gateway --test netns";
    assert_eq!(lines(planned(false)), [esp, netns]);
    let more = "N=5 M=6 test -p our-esp --no-fail-fast --lib -- --exact tests::a::x";
    let bench = "run --quiet -p xtask -- bench flood";
    let criterion = "bench -p our-esp --bench c";
    assert_eq!(lines(planned(true)), [esp, more, netns, criterion, bench]);
}

#[test]
fn result_lines_are_those_of_both_harnesses() {
    assert_eq!(result("test a::b ... ok"), Some(("a::b", How::Passed)));
    assert_eq!(result("test guard/flood   ... FAILED"), Some(("guard/flood", How::Failed)));
    assert_eq!(result("test a ... ignored, no root"), Some(("a", How::Skipped)));
    assert_eq!(result("test result: ok. 5 passed"), None);
    let below = Named::Below("guard/flood".into());
    let names = ["guard/flood", "guard/flood/ours-to-swan", "guard/floods", "guard"];
    assert_eq!(names.map(|name| below.is(name)), [true, true, false, false]);
    let all = Named::Below("guard/".into());
    assert_eq!(names.map(|name| all.is(name)), [true, true, true, false]);
}

fn outcome(how: &[(&str, How)]) -> Outcome {
    let tests = how
        .iter()
        .map(|(name, how)| (Cited { name: (*name).into(), env: Vec::new(), long: false }, *how));
    let measured = |id: &str, value: &str| Measured {
        id: id.into(),
        what: "growth".into(),
        value: value.into(),
        bar: "<= 16".into(),
    };
    let measured = vec![measured("T01", "3"), measured("T01", "4"), measured("T01", "3")];
    Outcome { tests: tests.collect::<BTreeMap<_, _>>(), measured }
}

const GOOD: [(&str, How); 4] = [
    ("netns:guard/flood", How::Passed),
    ("esp/src/tests/a.rs::x", How::Passed),
    ("esp/src/ecn.rs::*", How::Passed),
    ("esp/tests/pair/deep/b.rs::z", How::Passed),
];

fn report(how: &[(&str, How)]) -> Report {
    let page = page::parse(TEXT);
    Report::new(&page.rows.iter().collect::<Vec<_>>(), false, &outcome(how))
}

#[test]
fn the_table_has_a_line_for_each_and_fails_where_a_test_failed_or_did_not_run() {
    let good = report(&GOOD);
    assert!(good.held);
    let table = good.table(false);
    let first: Vec<&str> = table.lines().filter(|line| line.starts_with('T')).collect();
    assert_eq!(first[0], "T01  ok       growth                     3, 4  (bar: <= 16)");
    assert_eq!(first[1], "T02  ok       2 tests passed                   (bar: none)");
    assert_eq!(first[3], "T04  -        not tested here: out of reach");
    assert!(table.ends_with(
        "\n3 held, 0 failed, 0 skipped, 0 only with --long, 1 not tested here (docs/robustness.md says why)\n"
    ));
    assert!(!table.contains('\x1b') && good.table(true).contains("\x1b[32mok"));

    let missing = report(&GOOD[..3]);
    assert!(!missing.held);
    assert!(
        missing.table(false).contains("T03  FAILED   esp/tests/pair/deep/b.rs::z: did not run")
    );
    let mut bad = GOOD;
    bad[1].1 = How::Failed;
    assert!(!report(&bad).held);
    bad[1].1 = How::Skipped;
    assert!(report(&bad).held && report(&bad).table(false).contains("T02  skipped"));
}

#[test]
fn the_json_has_what_the_table_has() {
    let json = serde_json::to_value(report(&GOOD)).unwrap();
    assert_eq!((&json["held"], &json["rows"][0]["result"]), (&true.into(), &"ok".into()));
    assert_eq!(json["rows"][0]["measured"][0]["value"], "3, 4");
    assert_eq!(json["rows"][1]["tests"][1]["result"], "passed");
    assert_eq!(json["rows"][3]["not_tested"], "out of reach");
}

#[test]
fn ids_are_chosen_in_any_case_and_an_unknown_one_is_told() {
    let page = page::parse(TEXT);
    let ids =
        |ids: &[&str]| chosen(&page.rows, &ids.iter().map(|id| (*id).into()).collect::<Vec<_>>());
    let found: Vec<_> = ids(&["t03", "T01"]).unwrap().iter().map(|row| row.id.clone()).collect();
    assert_eq!(found, ["T01", "T03"]);
    assert_eq!(ids(&[]).unwrap().len(), 4);
    assert!(ids(&["T99"]).unwrap_err().to_string().starts_with("no T99 in docs/robustness.md"));
    assert!(Path::new(PAGE).is_relative());
}
