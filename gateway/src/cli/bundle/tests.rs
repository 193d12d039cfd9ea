//! Masks on texts as bundles have them.

use serde_json::json;

use super::Entry;
use super::addresses::find;
use super::contents::{Collected, derive};
use super::masks::Masks;
use crate::status::Snapshot;
use crate::status::tests::sample;

/// A bundle of the sample, with a configuration, a log and a stranger.
fn collected() -> Collected {
    let snapshot = sample();
    let config = "# Mr. Miller's gateway\n[gateway]\nname = \"fra1\"\n[connection.berlin]\ndescription = \"Berlin office\"\n\
                  peer = \"198.51.100.20\"\nlocal_subnets = [\"10.1.0.0/16\"]\nremote_subnets = [\"10.2.0.0/16\"]\n\
                  [connection.paris]\npeer = \"paris.example.com\"\n";
    let log = "2026-11-20T08:01:21.000Z INFO ike event=up conn=berlin remote=198.51.100.20:4500 id=BERLIN.example.com\n\
               2026-11-20T08:01:22.000Z WARN ike event=refused from=192.0.2.66:500 claimed=evil.example.org via=10.2.7.7\n";
    let status = serde_json::to_string_pretty(&snapshot).expect("serializes");
    let entries = vec![
        Entry::new("status.json", "", Ok(status)),
        Entry::new("config/file-1.toml", "", Ok(config.to_owned())),
        Entry::new("log.txt", "", Ok(log.to_owned())),
        Entry::new("doctor.json", "", Err("paris.example.com has no address".to_owned())),
    ];
    Collected {
        entries,
        secrets: Vec::new(),
        files: vec![("/etc/s2s-gw/s2s-gw.toml".into(), config.to_owned())],
        snapshot: Some(snapshot),
        running: Some(json!({ "connection": { "berlin": {}, "paris": {} } })),
    }
}

fn masked() -> Vec<Entry> {
    let mut collected = collected();
    let masks = Masks::of(&collected).expect("masks");
    masks.put_on(&mut collected.entries).expect("random");
    derive(&mut collected.entries);
    collected.entries
}

fn text_of<'e>(entries: &'e [Entry], path: &str) -> &'e str {
    let entry = entries.iter().find(|entry| entry.path == path).expect(path);
    let (Ok(text) | Err(text)) = &entry.text;
    text
}

#[test]
fn nothing_of_anybody_is_left_in_any_file() {
    let entries = masked();
    for Entry { path, text, .. } in &entries {
        let (Ok(text) | Err(text)) = text;
        let small = text.to_lowercase();
        for word in
            ["berlin", "paris", "fra1", "example", "evil", "miller", "office", "sites", "abababab"]
        {
            assert!(!small.contains(word), "{path} has {word}: {text}");
        }
        let before: Vec<_> =
            collected().entries.iter().filter_map(|one| one.text.clone().ok()).collect();
        let before = find(&before.join("\n"));
        for (place, thing) in find(text) {
            let kept = ["0.0.0.0", "127.0.0.1"].contains(&text.get(place).unwrap_or_default());
            assert!(kept || !before.iter().any(|(_, one)| *one == thing), "{path}: {thing:?}");
        }
    }
    assert!(text_of(&entries, "status.txt").contains("conn-1"), "made of what is masked");
}

#[test]
fn the_same_is_the_same_in_all_files_and_the_status_is_still_one() {
    let entries = masked();
    let snapshot: Snapshot =
        serde_json::from_str(text_of(&entries, "status.json")).expect("still a snapshot");
    let [berlin, paris] = snapshot.connections.as_slice() else { panic!("two") };
    let log = text_of(&entries, "log.txt");
    assert!(log.contains(&format!("event=up conn={}", berlin.name)), "{log}");
    let active = berlin.peer.active.as_deref().expect("an address");
    assert!(log.contains(&format!("remote={active} ")), "{log}");
    assert!(log.contains(&format!("id={}\n", berlin.ike.as_ref().expect("up").remote_id)), "{log}");
    assert!(text_of(&entries, "doctor.json").starts_with(&paris.peer.configured[0]));
    assert!(!text_of(&entries, "config/file-1.toml").contains('#'), "comments are left out");
    // 10.2.7.7 lies in 10.2.0.0/16 still.
    let network: ipnet::IpNet = berlin.children[0].remote[0].parse().expect("a network");
    let via = log.rsplit("via=").next().expect("there").trim().parse().expect("an address");
    assert!(network.contains(&std::net::IpAddr::V4(via)), "{network} {via}");
}

#[test]
fn two_bundles_have_not_the_same_addresses() {
    let all: Vec<String> = (0..4).map(|_| text_of(&masked(), "log.txt").to_owned()).collect();
    assert!(all.iter().any(|one| one != &all[0]), "{all:?}");
}

#[test]
fn a_file_that_is_no_toml_is_left_out() {
    let mut collected = collected();
    collected.entries[1].text = Ok("[gateway\nname = \"fra1\" # of Miller".to_owned());
    let masks = Masks::of(&collected).expect("masks");
    masks.put_on(&mut collected.entries).expect("random");
    let said = collected.entries[1].text.clone().expect_err("left out");
    assert!(said.starts_with("it is no TOML"), "{said}");
}
