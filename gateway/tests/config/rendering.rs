//! One report as it is printed, and as a program gets it.

use super::fixture::Fixture;

const SEVERAL: &str = include_str!("several.toml");

/// The report without the directory, which is another one every time.
fn rendered(color: bool) -> String {
    let fixture = Fixture::new();
    let report = fixture.load(SEVERAL).unwrap_err();
    let directory = format!("{}/", fixture.path("").display()).replace("//", "/");
    report.render(color).replace(&directory, "")
}

#[test]
fn a_report_reads_like_this() {
    let expected = include_str!("several.txt");
    let found = rendered(false);
    assert_eq!(found, expected, "the report has become\n{found}");
}

#[test]
fn colour_is_all_that_colour_adds() {
    let colored = rendered(true);
    assert!(colored.contains("\u{1b}["));
    let mut plain = String::new();
    let mut pieces = colored.split("\u{1b}[");
    plain.push_str(pieces.next().unwrap());
    for piece in pieces {
        plain.push_str(piece.split_once('m').unwrap().1);
    }
    assert_eq!(plain, rendered(false));
}

#[test]
fn a_program_gets_the_same_as_json() {
    let report = Fixture::new().load(SEVERAL).unwrap_err().to_json();
    assert_eq!(report["schema"], "s2s-gw/check/1");
    assert_eq!(report["ok"], false);
    assert_eq!(report["files"].as_array().unwrap().len(), 1);
    let first = &report["diagnostics"][0];
    assert_eq!(first["code"], "E0131");
    assert_eq!(first["severity"], "error");
    assert_eq!((&first["line"], &first["column"]), (&2.into(), &31.into()));
    assert_eq!((&first["end_line"], &first["end_column"]), (&2.into(), &36.into()));
    assert_eq!(first["help"], "did you mean `ecp384`?");
    let twice = report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["code"] == "E0312")
        .unwrap();
    assert_eq!(twice["related"][0]["line"], 8);
    assert!(twice["file"].as_str().unwrap().ends_with("s2s-gw.toml"));
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let text = "[connection.berlin]\npeer = \"a\\u001b[31mb\"\npolicy = \"\\u001b[31m\"\n\"\\u001b[2J\" = 1\n";
    let report = Fixture::new().load(text).unwrap_err();
    assert!(
        report
            .diagnostics
            .iter()
            .any(|one| one.fix.as_ref().is_some_and(|fix| fix.contains('\u{1b}')))
    );
    assert!(!report.render(false).contains('\u{1b}'), "{:?}", report.render(false));
}

#[test]
fn warnings_of_a_good_file_are_rendered() {
    let fixture = Fixture::new();
    let text = "[connection.berlin]\npeer = '198.51.100.20'\npsk = { file = 'weak.psk' }\n\
                local_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n";
    let config = fixture.load(text).unwrap();
    let rendered = config.render_warnings(false);
    assert!(rendered.starts_with("warning[W0302]: the pre-shared key may be weak\n"), "{rendered}");
    assert!(rendered.ends_with("\n1 warning, no errors\n"), "{rendered}");
    assert_eq!(config.check_json()["diagnostics"][0]["severity"], "warning");
}
