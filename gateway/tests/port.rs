//! `s2s-gw import`, `export`, `init`, `completions`, `man`: the program itself, on files as their programs have them.
//!
//! ```text
//!   tests/port/SAMPLE ─► import ─► s2s-gw.toml ─► check            every sample passes
//!   s2s-gw.toml ─► export strongswan, ipsec ─► import [--mirror] ─► the same connection, or the mirrored one
//! ```

#![expect(clippy::unwrap_used, reason = "a test ends with the first thing that is wrong")]

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway::config::{Config, Surroundings};
use gateway::port::{self, Input, Kind, NoFiles, Options};

const PROGRAM: &str = env!("CARGO_BIN_EXE_s2s-gw");
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/port");

/// Runs the program in a directory.
fn run(dir: &Path, args: &[&str]) -> (Output, String, String) {
    let output = Command::new(PROGRAM).args(args).current_dir(dir).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// Imports samples into a directory of their own; the exit code, the configuration, and what was said.
fn import(dir: &Path, kind: &str, files: &[&str], more: &[&str]) -> (i32, String, String) {
    let files: Vec<String> = files.iter().map(|file| format!("{SAMPLES}/{file}")).collect();
    let mut args = vec!["import", kind, "-o", "out.toml"];
    args.extend(files.iter().map(String::as_str));
    args.extend(more);
    let (output, stdout, stderr) = run(dir, &args);
    assert!(stdout.is_empty(), "{stdout}");
    let toml = std::fs::read_to_string(dir.join("out.toml")).unwrap_or_default();
    (output.status.code().unwrap(), toml, stderr)
}

/// The table of a file.
fn table(path: &Path) -> toml::Table {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn every_sample_becomes_a_configuration_that_passes() {
    for (kind, files, connections, code) in [
        ("swanctl", &["swanctl.conf"][..], 3, 1),
        ("ipsec", &["ipsec.conf", "ipsec.secrets"], 2, 1),
        ("ipsec", &["libreswan.conf", "libreswan.secrets"], 1, 0),
        ("vpnaas", &["vpnaas.json"], 1, 0),
        ("vpnaas", &["vpnaas-api.json"], 1, 1),
        ("cloudstack", &["cloudstack.json"], 2, 1),
        ("aws", &["aws.xml"], 2, 1),
        ("aws", &["aws.json"], 2, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (said, toml, stderr) = import(dir.path(), kind, files, &[]);
        assert_eq!(said, code, "{files:?}: {stderr}");
        let (checked, stdout, problems) = run(dir.path(), &["check", "out.toml"]);
        assert!(checked.status.success(), "{files:?}: {problems}\n{toml}");
        assert!(stdout.contains(&format!(", {connections} connection")), "{files:?}: {stdout}");
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            let is_key = file.path().extension().is_some_and(|ending| ending == "psk");
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if is_key { 0o600 } else { 0o644 }, "{}", file.path().display());
        }
        for secret in
            ["more than 32 characters", "Ax4E5w0mKq9yPzB7n1tVc3RfGh8JkLdS", "tequila", "MDEyMzQ1"]
        {
            assert!(!toml.contains(secret) && !stderr.contains(secret), "{files:?}: {secret}");
        }
    }
}

#[test]
fn what_a_sample_says_is_what_the_configuration_says() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), "swanctl", &["swanctl.conf"], &[]);
    let table = table(&dir.path().join("out.toml"));
    let berlin = table["connection"]["berlin-office"].as_table().unwrap();
    let texts = |key: &str| {
        berlin[key].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(texts("peer"), ["198.51.100.20", "ber-b.example.com"]);
    assert_eq!(texts("local_subnets"), ["10.1.0.0/16", "10.9.0.0/24"]);
    assert_eq!(berlin["peer_id"].as_str(), Some("berlin.example.com"));
    let policy = table["policy"]["berlin-office"].as_table().unwrap();
    assert_eq!(policy["ike_lifetime"].as_str(), Some("6h"));
    assert_eq!(policy["esp_lifetime"].as_str(), Some("50m"));
    assert_eq!(policy["dpd"]["interval"].as_str(), Some("15s"));
    let key = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(key("berlin-office.psk"), "a key that has more than 32 characters\n");
    assert_eq!(key("road.psk"), "0sAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    assert_eq!(table["connection"]["road"]["start"].as_str(), Some("respond-only"));
}

#[test]
fn weak_algorithms_are_kept_only_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, toml, _) = import(dir.path(), "vpnaas", &["vpnaas-api.json"], &[]);
    assert!(!toml.contains("allow_legacy = true") && toml.contains("too weak"), "{toml}");
    let (_, toml, _) =
        import(dir.path(), "vpnaas", &["vpnaas-api.json"], &["--allow-legacy", "--force"]);
    assert!(
        toml.contains("ike = [\"aes128-sha1-modp1536\"]") && toml.contains("allow_legacy = true"),
        "{toml}"
    );
    let (checked, _, problems) = run(dir.path(), &["check", "out.toml"]);
    assert!(checked.status.success(), "{problems}");
    // What is nobody's business any more stays out.
    let (_, toml, _) =
        import(dir.path(), "cloudstack", &["cloudstack.json"], &["--allow-legacy", "--force"]);
    assert!(!toml.contains("md5-") && !toml.contains("-md5\""), "{toml}");
    let (_, toml, _) = import(
        dir.path(),
        "aws",
        &["aws.xml"],
        &["--allow-legacy", "--force", "--remote", "10.20.0.0/16"],
    );
    assert!(
        toml.contains("policy = \"aws\"") && toml.contains("routes = [\"10.20.0.0/16\"]"),
        "{toml}"
    );
    assert!(!toml.contains("[policy."), "the strong ones of AWS, not those of the file: {toml}");
}

/// A connection with certificates is complete but for its files: they are named as its program finds them.
#[test]
fn certificates_are_named_where_their_program_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let (made, _, stderr) = run(
        dir.path(),
        &["pki", "pki", "--site", "fra1.example.com", "--site", "berlin.example.com"],
    );
    assert!(made.status.success(), "{stderr}");
    let (code, toml, stderr) = import(dir.path(), "swanctl", &["certificates.conf"], &[]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("delete the `#`"), "{stderr}");
    for line in [
        "# cert = \"/etc/swanctl/x509/fra1.example.com.pem\"",
        "# key = \"/etc/swanctl/private/fra1.example.com.pem\"",
        "# ca = \"/etc/swanctl/x509ca/ca.pem\"",
        "# peer_cert = \"/etc/swanctl/x509/berlin.example.com.pem\"",
        "# peer_key = \"/etc/swanctl/pubkey/paris.pub\"",
    ] {
        assert!(toml.lines().any(|it| it == line), "{line}\n{toml}");
    }
    // The files copied, the `#` deleted.
    let of_berlin = toml.lines().skip_while(|line| *line != "# [connection.by-authority]");
    let table: Vec<&str> = of_berlin
        .take_while(|line| !line.is_empty())
        .filter_map(|it| it.strip_prefix("# "))
        .collect();
    let table = table
        .join("\n")
        .replace("/etc/swanctl/x509/", "pki/")
        .replace("/etc/swanctl/x509ca/", "pki/")
        .replace("/etc/swanctl/private/fra1.example.com.pem", "pki/fra1.example.com.key");
    std::fs::write(dir.path().join("mine.toml"), table + "\n").unwrap();
    let (checked, stdout, stderr) = run(dir.path(), &["check", "mine.toml"]);
    assert!(checked.status.success() && stdout.contains("1 connection"), "{stdout}{stderr}");
}

#[test]
fn damaged_files_are_refused_with_a_caret_and_nothing_is_written() {
    let damaged = [
        ("swanctl", "connections {\n  a {\n    secret = \"hunter2hunter2\n", ":3:"),
        ("ipsec", "conn a\n  left\n", ":2:"),
        ("vpnaas", "{\"psk\": \"hunter2hunter2\",", ":1:"),
        ("cloudstack", "{\"vpnconnection\": [}", ":1:"),
        ("aws", "<vpn_connection>\n<pre_shared_key>hunter2hunter2</x>\n</vpn_connection>", ":2:"),
    ];
    for (kind, text, place) in damaged {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in"), text).unwrap();
        let (output, stdout, stderr) = run(dir.path(), &["import", kind, "in", "-o", "out.toml"]);
        assert_eq!(output.status.code(), Some(2), "{kind}: {stderr}");
        assert!(
            stderr.contains("error[E0701]") && stderr.contains(place) && stderr.contains('^'),
            "{stderr}"
        );
        assert!(!stderr.contains("hunter2") && stdout.is_empty(), "{stderr}");
        assert!(!dir.path().join("out.toml").exists());
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in"), "{\"subnets\": []}").unwrap();
    let (output, _, stderr) = run(dir.path(), &["import", "vpnaas", "in"]);
    assert!(output.status.code() == Some(2) && stderr.contains("E0702"), "{stderr}");
}

#[test]
fn nothing_is_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vpn-1.psk"), "mine\n").unwrap();
    let (code, toml, stderr) = import(dir.path(), "vpnaas", &["vpnaas.json"], &[]);
    assert!(code == 1 && toml.is_empty() && stderr.contains("is there already"), "{stderr}");
    assert_eq!(std::fs::read_to_string(dir.path().join("vpn-1.psk")).unwrap(), "mine\n");
}

/// A configuration with everything that exporters have to say, and its key.
fn configured(dir: &Path) -> PathBuf {
    let text = "[gateway]\nname = \"fra1\"\nlisten = [\"203.0.113.10\"]\n\n[policy.strong]\nike = [\"aes256gcm16-prfsha384-ecp384\", \"aes256-sha256-modp2048\"]\n\
                esp = [\"aes256gcm16-ecp384\"]\nike_lifetime = \"6h\"\nesp_lifetime = \"50m\"\ndpd = { interval = \"10s\", timeout = \"40s\" }\n\n\
                [connection.berlin]\npeer = \"198.51.100.20\"\npeer_id = \"berlin.example.com\"\nlocal_id = \"fra1.example.com\"\npsk = { file = \"berlin.psk\" }\n\
                policy = \"strong\"\nlocal_subnets = [\"10.1.0.0/16\", \"10.9.0.0/24\"]\nremote_subnets = [\"10.2.0.0/16\"]\n";
    std::fs::write(dir.join("s2s-gw.toml"), text).unwrap();
    let key = dir.join("berlin.psk");
    std::fs::write(&key, "a key that has more than 32 characters\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    dir.join("s2s-gw.toml")
}

#[test]
fn what_is_exported_comes_back() {
    for (kind, name) in [("strongswan", "swanctl"), ("ipsec", "ipsec")] {
        let dir = tempfile::tempdir().unwrap();
        configured(dir.path());
        let args = ["export", kind, "berlin", "-c", "s2s-gw.toml", "--with-psk", "-o", "other"];
        let (output, _, stderr) = run(dir.path(), &args);
        assert!(output.status.success(), "{stderr}");
        if kind == "ipsec" {
            let text = std::fs::read_to_string(dir.path().join("other")).unwrap();
            let (conf, secrets) = text.split_once("# ---- /etc/ipsec.secrets").unwrap();
            let secrets = secrets.split_once('\n').unwrap().1;
            std::fs::write(dir.path().join("other"), conf).unwrap();
            std::fs::write(dir.path().join("other.secrets"), secrets).unwrap();
        }
        for (mirror, local, remote, ours) in [
            (false, "10.2.0.0/16", "10.1.0.0/16", "berlin"),
            (true, "10.1.0.0/16", "10.2.0.0/16", "fra1"),
        ] {
            let out = format!("{mirror}/back.toml");
            std::fs::create_dir(dir.path().join(mirror.to_string())).unwrap();
            let mut args = vec!["import", name, "other", "-o", &out];
            if mirror {
                args.push("--mirror");
            }
            let (output, _, stderr) = run(dir.path(), &args);
            assert!(output.status.success(), "{kind} {mirror}: {stderr}");
            let back = table(&dir.path().join(&out));
            let one = back["connection"]["fra1"].as_table().unwrap();
            assert_eq!(one["local_subnets"][0].as_str(), Some(local), "{kind}");
            assert_eq!(one["remote_subnets"][0].as_str(), Some(remote), "{kind}");
            assert_eq!(one["local_id"].as_str(), Some(format!("{ours}.example.com").as_str()));
            let peer = if mirror { "198.51.100.20" } else { "203.0.113.10" };
            assert_eq!(one["peer"].as_str(), Some(peer));
            let policy = back["policy"]["fra1"].as_table().unwrap();
            assert_eq!(policy["ike"].as_array().unwrap().len(), 2);
            assert_eq!(policy["esp"][0].as_str(), Some("aes256gcm16-ecp384"));
            assert_eq!(policy["ike_lifetime"].as_str(), Some("6h"));
            assert_eq!(policy["esp_lifetime"].as_str(), Some("50m"));
            let key =
                std::fs::read_to_string(dir.path().join(format!("{mirror}/fra1.psk"))).unwrap();
            assert_eq!(key, "a key that has more than 32 characters\n", "{kind}");
        }
    }
}

#[test]
fn exports_have_the_key_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    configured(dir.path());
    let encoded = "YSBrZXkgdGhhdCBoYXMgbW9yZSB0aGFuIDMyIGNoYXJhY3RlcnM=";
    for kind in ["strongswan", "ipsec", "vpnaas", "aws", "sheet", "routes", "s2s-gw"] {
        let (output, stdout, stderr) =
            run(dir.path(), &["export", kind, "berlin", "-c", "s2s-gw.toml"]);
        assert!(output.status.success(), "{kind}: {stderr}");
        assert!(!stdout.contains(encoded) && !stdout.contains("more than 32"), "{kind}: {stdout}");
        let names = if kind == "routes" { "ip route add 10.2.0.0/16" } else { "10.1.0.0/16" };
        assert!(stdout.contains(names), "{kind}: {stdout}");
        if !["routes", "s2s-gw"].contains(&kind) {
            assert!(stdout.contains("203.0.113.10"), "{kind}: {stdout}");
        }
    }
    for kind in ["strongswan", "ipsec"] {
        let args = ["export", kind, "berlin", "-c", "s2s-gw.toml", "--with-psk"];
        assert!(run(dir.path(), &args).1.contains(encoded), "{kind}");
    }
    // This one takes the text as it is.
    let stdout =
        run(dir.path(), &["export", "vpnaas", "berlin", "-c", "s2s-gw.toml", "--with-psk"]).1;
    assert!(stdout.contains("PSK='a key that has more than 32 characters'\n"), "{stdout}");
    let (output, _, stderr) = run(dir.path(), &["export", "sheet", "paris", "-c", "s2s-gw.toml"]);
    assert!(output.status.code() == Some(4) && stderr.contains("berlin"), "{stderr}");
}

/// Commands for AWS: options that the EC2 API has, two tunnels, a route for each of our networks, a key only if asked for.
#[test]
fn aws_gets_commands_with_the_options_of_both_tunnels() {
    let dir = tempfile::tempdir().unwrap();
    let config = configured(dir.path());
    let export = |more: &[&str]| {
        let args = [&["export", "aws", "berlin", "-c", "s2s-gw.toml"], more].concat();
        run(dir.path(), &args)
    };
    let (_, stdout, stderr) = export(&[]);
    assert!(
        stdout.contains("create-customer-gateway --type ipsec.1 --ip-address 203.0.113.10 "),
        "{stdout}"
    );
    for network in ["10.1.0.0/16", "10.9.0.0/24"] {
        assert!(stdout.contains(&format!("--destination-cidr-block {network}\n")), "{stdout}");
    }
    assert!(
        !stdout.contains("--destination-cidr-block 10.2"),
        "theirs is no route of theirs: {stdout}"
    );
    assert!(stderr.contains("VGW") && stderr.contains("import aws vpn.json"), "{stderr}");
    let options = |stdout: &str| -> serde_json::Value {
        let json = stdout.split_once("--options '").unwrap().1.split_once('\'').unwrap().0;
        serde_json::from_str(json).unwrap()
    };
    let tunnels = options(&stdout)["TunnelOptions"].as_array().unwrap().clone();
    assert_eq!(tunnels.len(), 2);
    for tunnel in &tunnels {
        assert_eq!(tunnel["IKEVersions"][0]["Value"], "ikev2");
        assert_eq!(tunnel["Phase1LifetimeSeconds"], 21_600);
        assert_eq!(tunnel["Phase2LifetimeSeconds"], 3_000);
        assert_eq!(tunnel["DPDTimeoutSeconds"], 40);
        assert_eq!(
            tunnel["Phase1EncryptionAlgorithms"],
            serde_json::json!([{ "Value": "AES256-GCM-16" }, { "Value": "AES256" }])
        );
        assert_eq!(
            tunnel["Phase1IntegrityAlgorithms"],
            serde_json::json!([{ "Value": "SHA2-384" }, { "Value": "SHA2-256" }])
        );
        assert_eq!(
            tunnel["Phase1DHGroupNumbers"],
            serde_json::json!([{ "Value": 20 }, { "Value": 14 }])
        );
        assert_eq!(tunnel["Phase2DHGroupNumbers"], serde_json::json!([{ "Value": 20 }]));
        assert_eq!(tunnel["StartupAction"], "add");
        assert!(tunnel.get("PreSharedKey").is_none(), "AWS makes it");
    }
    // Blanks are not for AWS.
    let (output, _, stderr) = export(&["--with-psk"]);
    assert!(output.status.code() == Some(1) && stderr.contains("8 to 64 letters"), "{stderr}");
    std::fs::write(dir.path().join("berlin.psk"), "one_that.AWS.takes_1234567890abcdef\n").unwrap();
    let stdout = export(&["--with-psk"]).1;
    assert_eq!(
        options(&stdout)["TunnelOptions"][1]["PreSharedKey"],
        "one_that.AWS.takes_1234567890abcdef"
    );
    // A lifetime that AWS has not is brought into its range, and said.
    let text = std::fs::read_to_string(&config).unwrap().replace("\"50m\"", "\"2h\"");
    std::fs::write(&config, text).unwrap();
    let (_, stdout, stderr) = export(&[]);
    assert_eq!(options(&stdout)["TunnelOptions"][0]["Phase2LifetimeSeconds"], 3_600);
    assert!(stderr.contains("900 to 3600 seconds for the lifetime of ESP"), "{stderr}");
}

#[test]
fn init_makes_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let answers = [
        "--name",
        "berlin",
        "--our-name",
        "fra1",
        "--our-address",
        "203.0.113.10",
        "--peer-address",
        "198.51.100.20",
        "--our-networks",
        "10.1.0.0/16,10.9.0.0/24",
        "--peer-networks",
        "10.2.0.0/16",
    ];
    let init = |more: &[&str]| run(dir.path(), &[&["init"], &answers[..], more].concat());
    let (output, stdout, stderr) = init(&["--pair", "--dir", "a"]);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("a/for-berlin/s2s-gw.toml"), "{stdout}");
    for file in ["a/s2s-gw.toml", "a/for-berlin/s2s-gw.toml"] {
        let (checked, _, problems) = run(dir.path(), &["check", "--strict", file]);
        assert!(checked.status.success(), "{file}: {problems}");
    }
    let ours = table(&dir.path().join("a/s2s-gw.toml"));
    let theirs = table(&dir.path().join("a/for-berlin/s2s-gw.toml"));
    let (ours, theirs) = (&ours["connection"]["berlin"], &theirs["connection"]["fra1"]);
    assert_eq!(ours["local_subnets"], theirs["remote_subnets"]);
    assert_eq!(ours["local_id"], theirs["peer_id"]);
    assert_eq!(theirs["start"].as_str(), Some("respond-only"));
    let key = |file: &str| std::fs::read(dir.path().join(file)).unwrap();
    assert_eq!(key("a/berlin.psk"), key("a/for-berlin/fra1.psk"));
    let (again, _, stderr) = init(&["--dir", "a"]);
    assert!(!again.status.success() && stderr.contains("is there already"), "{stderr}");
    let (output, _, stderr) = init(&["--peer", "strongswan", "--dir", "b"]);
    assert!(output.status.success(), "{stderr}");
    let conf = std::fs::read_to_string(dir.path().join("b/for-berlin/swanctl.conf")).unwrap();
    assert!(conf.contains("secret = 0s") && conf.contains("remote_addrs = 203.0.113.10"), "{conf}");
    let (output, _, stderr) = run(dir.path(), &["init", "--name", "x"]);
    assert!(output.status.code() == Some(2) && stderr.contains("--our-address"), "{stderr}");
}

#[test]
fn shells_are_told_commands_and_connections() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (output, stdout, _) = run(dir.path(), &["completions", shell]);
        assert!(output.status.success() && stdout.contains("COMPLETE"), "{shell}");
    }
    let script = run(dir.path(), &["completions", "bash"]).1;
    std::fs::write(dir.path().join("c"), script).unwrap();
    let checked = Command::new("bash").args(["-n", "c"]).current_dir(dir.path()).status();
    assert!(checked.is_err() || checked.unwrap().success());
    let mut asked = Command::new(PROGRAM);
    asked.args(["--", "s2s-gw", "stat"]).envs([
        ("COMPLETE", "bash"),
        ("_CLAP_COMPLETE_INDEX", "1"),
        ("_CLAP_COMPLETE_COMP_TYPE", "9"),
        ("_CLAP_COMPLETE_SPACE", "false"),
        ("_CLAP_IFS", "\n"),
    ]);
    let output = asked.current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.lines().any(|line| line.trim() == "status"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn manual_pages_are_well_formed() {
    let dir = tempfile::tempdir().unwrap();
    for section in ["8", "5"] {
        let (output, page, stderr) = run(dir.path(), &["man", section]);
        assert!(output.status.success(), "{stderr}");
        std::fs::write(dir.path().join("page"), &page).unwrap();
        let checked = Command::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-Kutf8", "page"])
            .current_dir(dir.path())
            .output();
        // Where there is no groff there is nobody to say so.
        let Ok(checked) = checked else { continue };
        let problems = String::from_utf8_lossy(&checked.stderr).into_owned();
        let problems: Vec<&str> = problems
            .lines()
            .filter(|line| !line.contains("cannot adjust") && !line.contains("can't break"))
            .collect();
        assert!(problems.is_empty(), "{section}: {problems:?}");
        // Bold letters are struck twice, so that words are not found in it.
        assert!(checked.stdout.len() > 10_000, "{section}: {} octets", checked.stdout.len());
    }
}

/// Imports a text; what comes of it has to pass, whatever the text was.
fn passes_if_read(kind: Kind, text: &str, dir: &Path) -> bool {
    let input = Input { name: PathBuf::from("text"), text: text.to_owned() };
    let options = Options { key_directory: dir.display().to_string(), ..Options::default() };
    let Ok(parsed) = port::parse(kind, &[input], &mut NoFiles, &options) else { return false };
    let written = port::write(kind, parsed, &options);
    let store = |name: &str, mode: u32, text: &str| {
        let mut open = std::fs::OpenOptions::new();
        let mut file =
            open.write(true).create(true).truncate(true).mode(mode).open(dir.join(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    for (name, key) in &written.keys {
        store(name, 0o600, key);
    }
    store("s2s-gw.toml", 0o644, &written.toml);
    if written.connections > 0
        && let Err(report) = Config::load_in(&dir.join("s2s-gw.toml"), &Surroundings::default())
    {
        panic!("{}\n{}\nfrom:\n{text}", report.render(false), written.toml);
    }
    true
}

#[test]
fn whatever_can_be_read_becomes_something_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, file) in [
        (Kind::Swanctl, "swanctl.conf"),
        (Kind::Ipsec, "ipsec.conf"),
        (Kind::Ipsec, "libreswan.conf"),
        (Kind::Ipsec, "ipsec.secrets"),
        (Kind::Vpnaas, "vpnaas.json"),
        (Kind::Vpnaas, "vpnaas-api.json"),
        (Kind::Cloudstack, "cloudstack.json"),
        (Kind::Aws, "aws.xml"),
        (Kind::Aws, "aws.json"),
    ] {
        let text = std::fs::read_to_string(format!("{SAMPLES}/{file}")).unwrap();
        assert!(passes_if_read(kind, &text, dir.path()), "{file}");
        // Cut off; a piece taken out; an octet changed.
        for at in (0..text.len()).step_by(31).filter(|at| text.is_char_boundary(*at)) {
            passes_if_read(kind, &text[..at], dir.path());
            let rest = text.get(at + 9..).unwrap_or("");
            for between in ["", "9", "\u{0}", "\"", "=", "/", "a{"] {
                passes_if_read(kind, &format!("{}{between}{rest}", &text[..at]), dir.path());
            }
        }
        // Of another kind.
        for other in [Kind::Swanctl, Kind::Ipsec, Kind::Vpnaas, Kind::Cloudstack, Kind::Aws] {
            passes_if_read(other, &text, dir.path());
        }
    }
}
