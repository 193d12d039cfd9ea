//! `bundle`: what is in it, what is not, and when there is none.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::fake::FakeDaemon;
use super::{Place, program, run, stderr, stdout, text};

/// The files of a bundle, by their paths.
fn unpacked(bundle: &Path) -> BTreeMap<String, String> {
    let archive = flate2::read::GzDecoder::new(fs::File::open(bundle).expect("a bundle"));
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).expect("UTF-8");
        (path.strip_prefix("s2s-gw-bundle/").expect("one directory").to_owned(), text)
    });
    entries.collect()
}

#[test]
fn a_bundle_has_everything_but_secrets_and_names_only_if_wanted() {
    let daemon = FakeDaemon::start();
    let socket = daemon.place.path("fake.sock");
    let config = daemon.place.config();
    let more = "description = \"Mill Road\" # ask Anna\n[http]\nlisten = [\"127.0.0.1:9780\"]\nadmin_token = { inline = \"token-of-the-admin-0123456789\" }\n";
    // Loopback addresses are nobody's: they stay.
    let whole =
        fs::read_to_string(&config).expect("reads").replace("127.0.0.2", "198.51.100.7") + more;
    fs::write(&config, whole).expect("writes");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("chmod");
    for options in [&[][..], &["--anonymize"]] {
        let file = daemon.place.path(&format!("case-{}.tar.gz", options.len()));
        let fixed = ["bundle", "-c", text(&config), "--control", text(&socket), "-o", text(&file)];
        let output = run(&[&fixed, options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stderr(&output), "", "no progress without a terminal");
        let rights = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(rights & 0o777, 0o600);
        let files = unpacked(&file);
        for path in [
            "README.txt",
            "version.json",
            "status.json",
            "status.txt",
            "config/file-1.toml",
            "config/running.json",
            "config/check.json",
            "show/sas.json",
            "metrics.txt",
            "doctor.json",
            "host/sysctl.txt",
            "host/memory.txt",
        ] {
            assert!(files.contains_key(path), "{path}: {:?}", files["README.txt"]);
        }
        // This daemon tells no events: that is said.
        assert!(files["README.txt"].contains("log.txt") && !files.contains_key("log.txt"));
        assert!(files["README.txt"].contains("missing, not here"), "{}", files["README.txt"]);
        for (path, text) in &files {
            for secret in ["a key of more than sixteen octets", "token-of-the-admin-0123456789"] {
                assert!(!text.contains(secret), "{path} has a secret: {text}");
            }
            for name in
                ["berlin", "paris", "fra1", "Mill Road", "Anna", "198.51.100", "10.1.0", "10.2.0"]
            {
                let is_there = text.contains(name);
                assert!(options.is_empty() || !is_there, "{path} has {name}: {text}");
            }
        }
        let names =
            files["status.json"].contains("paris") && files["config/file-1.toml"].contains("Anna");
        assert_eq!(names, options.is_empty());
        let again = run(&[&fixed, options].concat());
        assert_eq!(again.status.code(), Some(1));
        assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
        let forced = run(&[&fixed, options, &["--force"]].concat());
        assert_eq!(forced.status.code(), Some(0), "{}", stderr(&forced));
    }
}

#[test]
fn a_bundle_without_a_daemon_says_what_is_missing() {
    let place = Place::new();
    let (config, socket, file) = (place.config(), place.path("no.sock"), place.path("x.tar.gz"));
    let output =
        run(&["bundle", "-c", text(&config), "--control", text(&socket), "-o", text(&file)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("could not be had, README.txt in it says why"), "{output:?}");
    let files = unpacked(&file);
    let readme = &files["README.txt"];
    let status = readme.lines().find(|line| line.starts_with("status.json")).expect("a line");
    assert!(status.contains("missing, s2s-gw is not running"), "{readme}");
    assert!(!files.contains_key("status.json") && files.contains_key("config/file-1.toml"));
    assert!(files["doctor.json"].contains("\"daemon\""), "{}", files["doctor.json"]);
}

/// A disk that takes no more, by the limit of a file's size: one sentence, and nothing is left.
#[test]
fn a_bundle_is_there_as_a_whole_or_not_at_all() {
    let place = Place::new();
    let (config, socket) = (place.config(), place.path("no.sock"));
    fs::create_dir(place.path("out")).expect("a directory");
    let file = place.path("out/x.tar.gz");
    let line = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} bundle -c {} --control {} -o {}",
        text(program()),
        text(&config),
        text(&socket),
        text(&file)
    );
    let output = Command::new("sh").args(["-c", &line]).output().expect("sh runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: cannot write ") && said.contains("nothing was kept"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(fs::read_dir(place.path("out")).expect("reads").count(), 0, "nothing is left");
    let output = run(&["bundle", "-o", text(&place.path("out"))]);
    assert!(stderr(&output).contains("is a directory"), "{}", stderr(&output));
    let output = run(&["bundle", "-o", text(&place.path("none/x.tar.gz"))]);
    assert_eq!(output.status.code(), Some(1));
}
