//! What people write who come from somewhere else, or for the first time, and the words that they read then.
//!
//! ```text
//!   text ─► said(..) ─► [(code and place, everything that it says)]
//!   fix: (umask 077; s2s-gw genpsk > '/a b/c.psk')  ─► sh ─► loads
//! ```

use std::process::Command;

use super::fixture::{Fixture, MARK, diagnostics, head, words};

/// Code and place of everything that is reported, each with all of its words.
fn said(text: &str) -> Vec<(String, String)> {
    let found = diagnostics(Fixture::new().load(text));
    found.iter().map(|one| (head(one), words(one))).collect()
}

/// The same for one line in a good connection, which has to be the only thing that is reported.
fn said_of(line: &str) -> (String, String) {
    let key = line.split(' ').next().unwrap();
    let rest = [
        "peer = \"198.51.100.20\"",
        "psk = { file = \"good.psk\" }",
        "local_subnets = [\"10.1.0.0/16\"]",
        "remote_subnets = [\"10.2.0.0/16\"]",
    ];
    let rest = rest.into_iter().filter(|other| !other.starts_with(&format!("{key} ")));
    let rest: Vec<_> = rest.collect();
    only(&format!("[connection.berlin]\n{line}\n{}\n", rest.join("\n")))
}

fn only(text: &str) -> (String, String) {
    let mut all = said(text);
    assert_eq!(all.len(), 1, "{text}: {all:#?}");
    all.remove(0)
}

/// Looks for all phrases.
fn has(said: &(String, String), head: &str, phrases: &[&str]) {
    assert_eq!(said.0, head, "{}", said.1);
    for phrase in phrases {
        assert!(said.1.contains(phrase), "no `{phrase}` in\n{}", said.1);
    }
}

/// Loads what lies in a directory whose name needs quotes, does in another directory what the fix says, and loads again.
fn mend(file: &str, mode: Option<u32>, command: impl Fn(&str) -> String, text: &str) {
    let fixture = Fixture::new();
    let good = MARK.repeat(5);
    fixture.write("our 'first' site/s2s-gw.toml", text, 0o600);
    if let Some(mode) = mode {
        fixture.write(&format!("our 'first' site/{file}"), &good, mode);
    }
    let main = fixture.path("our 'first' site/s2s-gw.toml");
    let found = diagnostics(fixture.load_path(&main));
    let fix = found.first().and_then(|one| one.fix.clone()).unwrap();
    let command =
        command(&fix).replace("s2s-gw genpsk", "echo 0123456789abcdef0123456789abcdef0123");
    let sh = Command::new("sh")
        .args(["-c", &command])
        .current_dir(fixture.path("root"))
        .output()
        .unwrap();
    assert!(sh.status.success(), "{command}: {sh:?}");
    let left = diagnostics(fixture.load_path(&main));
    assert!(left.is_empty(), "after {command}: {left:#?}");
}

#[test]
fn what_mends_a_key_file_can_be_typed_in_any_directory() {
    let connection = |psk: &str| {
        format!(
            "[connection.berlin]\npeer = '198.51.100.20'\npsk = {{ file = '{psk}' }}\n\
             local_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n"
        )
    };
    let in_parentheses = |fix: &str| {
        let (start, end) = (fix.find('(').unwrap(), fix.rfind(')').unwrap());
        fix[start..=end].to_owned()
    };
    mend("new.psk", None, in_parentheses, &connection("new.psk"));
    mend("open.psk", Some(0o644), str::to_owned, &connection("open.psk"));
    mend("token", None, in_parentheses, "[http]\nread_token = { file = 'token' }\n");
    mend("token", Some(0o640), str::to_owned, "[http]\nread_token = { file = 'token' }\n");
}

#[test]
fn a_path_from_home_has_to_be_written_out() {
    let said = said_of("psk = { file = \"~/berlin.psk\" }");
    has(&said, "E0142 2:16", &["`~` is not expanded", "whole path"]);
    assert!(!said.1.contains("genpsk"), "{}", said.1);
    let said = said_of("psk = { credential = \"none\" }");
    has(&said, "E0142 2:22", &["LoadCredential=none:"]);
}

#[test]
fn words_of_wireguard_lead_to_ours_wherever_they_stand() {
    for (line, phrase) in [
        ("PublicKey = \"x\"", "that is `peer_key`"),
        ("PrivateKey = \"x\"", "that is `key`"),
        ("Endpoint = \"x\"", "that is `peer`"),
        ("AllowedIPs = \"10.2.0.0/16\"", "that is `remote_subnets`"),
        ("Address = \"10.9.0.1/24\"", "needs no address"),
        ("ListenPort = 51820", "`ike_port`"),
        ("DNS = \"10.1.0.1\"", "name servers"),
        ("Table = \"off\"", "`routes`"),
    ] {
        for table in ["connection.berlin", "gateway"] {
            let all = said(&format!("[{table}]\n{line}\n"));
            let found = all.iter().find(|(head, _)| head == "E0101 2:1").unwrap();
            has(found, "E0101 2:1", &["a key of another program", phrase]);
        }
    }
    let all = said("[Interface]\nListenPort = 51820\n[Peer]\nEndpoint = \"198.51.100.20:51820\"\n");
    assert_eq!(all.len(), 2, "{all:#?}");
    has(&all[0], "E0101 1:2", &["WireGuard", "[gateway]", "docs/peers/wireguard.md"]);
    has(&all[1], "E0101 3:2", &["WireGuard", "[connection.NAME]", "docs/peers/wireguard.md"]);
}

#[test]
fn a_file_of_another_program_is_known_by_its_lines() {
    let ipsec = "config setup\n    charondebug=\"all\"\n\nconn berlin\n    left=%any\n    right=198.51.100.20\n";
    has(
        &only(ipsec),
        "E0100 1:8",
        &["ipsec.conf", "s2s-gw import ipsec /etc/ipsec.conf -o s2s-gw.toml"],
    );
    has(
        &only("conn berlin\n  right=198.51.100.20\n  auto=start\n"),
        "E0100 1:6",
        &["import ipsec"],
    );
    let swanctl = "connections {\n  berlin {\n    remote_addrs = 198.51.100.20\n  }\n}\nsecrets {\n  ike-1 {\n    secret = hunter2\n  }\n}\n";
    let phrase = "s2s-gw import swanctl /etc/swanctl/swanctl.conf -o s2s-gw.toml";
    has(&only(swanctl), "E0100 1:13", &["swanctl.conf", phrase]);
    let wireguard = "[Interface]\nPrivateKey = hunter2hunter2=\nListenPort = 51820\n\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.2.0.0/16\n";
    let all = said(wireguard);
    assert_eq!(all.len(), 1, "{all:#?}");
    has(&all[0], "E0100 2:28", &["WireGuard", "docs/peers/wireguard.md", "s2s-gw init"]);
    // One that was given by its own name is what to import.
    let fixture = Fixture::new();
    fixture.write("my ipsec.conf", ipsec, 0o600);
    let found = diagnostics(fixture.load_path(&fixture.path("my ipsec.conf")));
    let file = format!("import ipsec '{}' -o", fixture.path("my ipsec.conf").display());
    assert!(words(&found[0]).contains(&file), "{}", words(&found[0]));
    // A file of ours with two mistakes has both reported.
    assert_eq!(said("a = = 1\nb = = 2\n[connection.x]\ndpd = { interval = \"x\" }\n").len(), 4);
}

#[test]
fn networks_of_other_notations_are_turned_into_ours() {
    for (text, code, phrases) in [
        ("10.2.0.0/255.255.0.0", "E0122", &["write 10.2.0.0/16"][..]),
        ("10.2.0.0/0.0.255.255", "E0122", &["write 10.2.0.0/16"]),
        ("10.2.0.5/255.255.255.0", "E0122", &["write 10.2.0.0/24", "10.2.0.5/32"]),
        ("10.2.0.0/255.0.255.0", "E0122", &["is no netmask", "0 to 32"]),
        ("10.2.0.0/160", "E0122", &["0 to 32", "did you mean /16?"]),
        (
            "10.2.0.0/16,10.3.0.0/16",
            "E0121",
            &["one network in each text", "[\"10.2.0.0/16\", \"10.3.0.0/16\"]"],
        ),
        ("10.2.0.0/16 10.3.0.0/16", "E0121", &["[\"10.2.0.0/16\", \"10.3.0.0/16\"]"]),
        ("10.2.0.0/16; 10.3.0.1", "E0121", &["[\"10.2.0.0/16\", \"10.3.0.1\"]"]),
        (" 10.2.0.0/16", "E0121", &["white space", "write \"10.2.0.0/16\""]),
        ("10.2.0.0/16,", "E0121", &["write \"10.2.0.0/16\""]),
    ] {
        let said = said_of(&format!("remote_subnets = [\"{text}\"]"));
        has(&said, &format!("{code} 2:19"), phrases);
        assert!(!said.1.contains("..="), "{}", said.1);
    }
    let said = said_of("routes = [\"10.2.0.0/16 via 198.51.100.1\"]");
    has(&said, "E0121 2:11", &["next hop", "write \"10.2.0.0/16\""]);
    let said = said_of("routes = [\"10.2.0.0/16 dev s2s0 metric 50\"]");
    has(&said, "E0121 2:11", &["write \"10.2.0.0/16\""]);
    has(&said_of("remote_subnets = [\"2001:db8::/129\"]"), "E0122 2:19", &["0 to 128"]);
}

#[test]
fn words_of_other_programs_for_algorithms_lead_to_ours() {
    let of = |ike: &str| {
        let text = format!("[policy.strong]\nike = \"{ike}\"\n");
        only(
            &(text
                + "[connection.berlin]\npeer = '198.51.100.20'\npolicy = 'strong'\npsk = { file = 'good.psk' }\nlocal_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n"),
        )
    };
    for (word, ours) in [
        ("dh14", "modp2048"),
        ("group14", "modp2048"),
        ("GROUP19", "ecp256"),
        ("modp14", "modp2048"),
        ("dh_group_20", "ecp384"),
        ("dhgroup31", "curve25519"),
    ] {
        let said = of(&format!("aes256-sha256-{word}"));
        has(&said, "E0131 2:22", &[&format!("that is `{ours}` here")]);
        assert!(!said.1.contains("algorithms: "), "{}", said.1);
    }
    has(&of("aes_gcm256-prfsha256-ecp256"), "E0131 2:8", &["that is `aes256gcm16` here"]);
    has(&of("aes256-hmac_sha2_256-ecp256"), "E0131 2:15", &["that is `sha256` here"]);
    let strict = of("aes256-sha256-modp2048!");
    has(&strict, "E0131 2:22", &["delete `!`", "only what is listed is offered anyway"]);
    let both = of("aes256-sha256-dh14!");
    has(&both, "E0131 2:22", &["that is `modp2048` here", "delete `!`"]);
    // Groups that there are not.
    has(&of("aes256-sha256-dh99"), "E0131 2:22", &["algorithms: "]);
}

#[test]
fn a_value_of_the_wrong_type_is_told_everything_that_the_key_takes() {
    let mtu = &["\"auto\"", "a number of octets without quotes, 576 to 65535"][..];
    let mss = &["\"auto\", \"off\"", "a number of octets without quotes, 536 to 65495"][..];
    let routes = &["\"auto\", \"none\"", "a list of networks"][..];
    let failback = &["\"auto\", \"manual\"", "a duration such as \"10m\""][..];
    for (line, head, phrases) in [
        ("mtu = \"x\"", "E0114 2:7", mtu),
        ("mtu = true", "E0106 2:7", mtu),
        ("mss_clamp = true", "E0106 2:13", mss),
        ("mss_clamp = \"on\"", "E0114 2:13", mss),
        ("routes = \"none \"", "E0114 2:10", routes),
        ("routes = \"10.2.0.0/16\"", "E0114 2:10", routes),
        ("routes = 5", "E0106 2:10", routes),
        ("failover = { failback = true }", "E0106 2:25", failback),
        ("failover = { failback = \"on\" }", "E0114 2:25", failback),
        (
            "encap = true",
            "E0106 2:9",
            &["`encap` wants \"force\" or \"auto\"", "write \"force\" or \"auto\""],
        ),
        ("start = true", "E0106 2:9", &["one of \"always\", \"on-demand\""]),
        ("remote_subnets = 7", "E0106 2:18", &["text in quotes or a list of texts"]),
    ] {
        has(&said_of(line), head, phrases);
    }
    has(
        &only("[gateway]\nsandbox = false\n"),
        "E0106 2:11",
        &["write \"on\" or \"off\"", "this is `true` or `false`"],
    );
}

#[test]
fn the_identity_of_everybody_is_none() {
    for any in ["%any", "*", "%any6"] {
        let said = said_of(&format!("peer_id = \"{any}\""));
        has(&said, "E0136 2:11", &["one identity", "the one that it sends", "s2s-gw status"]);
        assert!(!said.1.contains("keyid:"), "{}", said.1);
        let said = said_of(&format!("local_id = \"{any}\""));
        has(&said, "E0136 2:12", &["one identity", "the one that the peer expects"]);
    }
    has(&said_of("peer_id = \"two words\""), "E0136 2:11", &["the subject of a certificate"]);
    assert_eq!(said_of_none("peer_id = \"*.example.com\""), 0);
    assert_eq!(said_of_none("peer_id = \"C=DE, O=Example, CN=berlin\""), 0);
}

/// How much is reported of one line in a good connection.
fn said_of_none(line: &str) -> usize {
    said(&format!(
        "[connection.berlin]\n{line}\npeer = '198.51.100.20'\npsk = {{ file = 'good.psk' }}\n\
         local_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n"
    ))
    .len()
}

#[test]
fn who_has_no_file_yet_is_told_how_to_make_one() {
    let fixture = Fixture::new();
    let of = |name: &str| {
        let found = diagnostics(fixture.load_path(&fixture.path(name)));
        (head(&found[0]), words(&found[0]))
    };
    has(&of("none.toml"), "E0102 -", &["no such file", "`s2s-gw init`", "with -c"]);
    // What is there and cannot be read is not to be made anew.
    let directory = of("root");
    has(&directory, "E0102 -", &["is a directory"]);
    assert!(!directory.1.contains("s2s-gw init"), "{}", directory.1);
}
