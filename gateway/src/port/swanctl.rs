//! swanctl.conf: connections with their children, and the keys of `secrets`.
//!
//! ```text
//!   connections.home.remote_addrs              ─► peer                local.id, remote.id ─► local_id, peer_id
//!   connections.home.proposals, rekey_time     ─► [policy.home]
//!   connections.home.children.NAME.*_ts        ─► local_subnets, remote_subnets; several children: `selectors`
//!   connections.home.children.NAME.start_action ─► start
//!   secrets.ike*.secret                        ─► a file with the key, by the identities
//! ```

use std::time::Duration;

use super::foreign::{Foreign, Offer, Pair, Proof, Side, Store};
use super::note::Note;
use super::secrets::{Key, decode, find};
use super::settings::{self, Section, Setting};
use super::text::syntax;
use super::{Files, Input, Parsed};
use crate::config::{Diagnostic, Place};

pub(super) fn parse(inputs: &[Input], files: &mut dyn Files) -> Result<Parsed, Box<Diagnostic>> {
    let (root, mut notes) = settings::parse(inputs, files)?;
    let (keys, more) = keys(&root)?;
    notes.extend(more);
    let mut connections = Vec::new();
    for section in root.section("connections").map_or(&[][..], |all| &all.sections) {
        connections.push(connection(section, &keys)?);
    }
    for other in &root.sections {
        // What is neither may be there for others to refer to.
        if ["pools", "authorities", "charon", "charon-systemd"].contains(&other.name.as_str()) {
            let what =
                format!("`{}` is left out: it is not about tunnels between sites", other.name);
            notes.push(Note::new(Some(&other.place), what));
        }
    }
    Ok(Parsed { connections, notes })
}

fn keys(root: &Section) -> Result<(Vec<Key>, Vec<Note>), Box<Diagnostic>> {
    let (mut keys, mut notes) = (Vec::new(), Vec::new());
    for section in root.section("secrets").map_or(&[][..], |all| &all.sections) {
        if !section.name.starts_with("ike") {
            let what = format!("`secrets.{}` is not imported", section.name);
            notes.push(
                Note::new(Some(&section.place), what).fix("copy it by hand if a tunnel needs it"),
            );
            continue;
        }
        let Some(secret) = section.get("secret") else { continue };
        let ids = section.settings.iter().filter(|one| {
            one.key == "id" || one.key.starts_with("id-") || one.key.starts_with("id_")
        });
        let ids = ids.map(|one| one.value.clone()).collect();
        let secret =
            decode(&secret.value).map_err(|why| syntax(&secret.place, why, "in this key"))?;
        keys.push(Key { ids, secret });
    }
    Ok((keys, notes))
}

fn connection(section: &Section, keys: &[Key]) -> Result<Foreign, Box<Diagnostic>> {
    let mut one = Foreign {
        name: section.name.clone(),
        place: Some(section.place.clone()),
        start: "respond-only",
        ..Foreign::default()
    };
    one.sides = [side(section, "local"), side(section, "remote")];
    if let Some(version) = section.get("version") {
        match version.value.as_str() {
            "1" => one.note(ikev1(Some(&version.place))),
            "0" => one.note(Note::new(Some(&version.place), "IKEv1 is left out; IKEv2 is spoken")),
            _ => {}
        }
    }
    auth(section, &mut one);
    one.ike = offers(section.get("proposals"));
    one.ike_lifetime = time(section, "rekey_time")?.or(time(section, "reauth_time")?);
    if let Some(reauth) = time(section, "reauth_time")? {
        one.extra.push(("auth_lifetime", format!("\"{}s\"", reauth.as_secs().max(300))));
    }
    one.dpd.interval = time(section, "dpd_delay")?;
    one.dpd.timeout = time(section, "dpd_timeout")?;
    simple(section, &mut one);
    let children = section.section("children").map_or(&[][..], |all| &all.sections);
    for (at, child) in children.iter().enumerate() {
        self::child(child, at == 0, &mut one)?;
    }
    if one.start == "respond-only" && !children.is_empty() {
        let what = "it waits for the peer (start_action = none)";
        one.note(
            Note::new(Some(&section.place), what).fix("write `start = \"always\"` to call it"),
        );
    }
    unknown(section, OF_CONNECTION, &mut one);
    let ours = own_names(&one.sides[0]);
    let theirs = own_names(&one.sides[1]);
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    one.psk = find(keys, &ours, &theirs).map(|key| key.secret.clone());
    Ok(one)
}

/// What is done about IKEv1.
pub(super) fn ikev1(place: Option<&Place>) -> Note {
    Note::new(place, "it was IKEv1, which is not spoken here; this is IKEv2")
        .fix("switch the peer to IKEv2 (the same key will do)")
        .grave()
}

/// Why a connection cannot be had.
pub(super) const NOT_TUNNEL: &str =
    "it is not ESP in tunnel mode: set the peer to that, and delete the `#`";

/// What a key may be filed under.
pub(super) fn own_names(side: &Side) -> Vec<String> {
    let mut names = side.addresses.clone();
    if !side.id.is_empty() {
        names.insert(0, side.id.clone());
    }
    names
}

fn side(section: &Section, which: &str) -> Side {
    let addresses = section.get(&format!("{which}_addrs"));
    let addresses = addresses.map(|one| words(&one.value)).unwrap_or_default();
    let addresses = addresses.into_iter().filter(|address| address != "%any").collect();
    // There may be several rounds: `local`, `local-1`, `local2`.
    let round = section.sections.iter().find(|one| one.name.starts_with(which));
    let id = round.and_then(|round| round.get("id")).map(|id| id.value.clone()).unwrap_or_default();
    Side { addresses, id, proof: None }
}

fn auth(section: &Section, one: &mut Foreign) {
    for (at, which) in ["local", "remote"].into_iter().enumerate() {
        let rounds: Vec<&Section> =
            section.sections.iter().filter(|round| round.name.starts_with(which)).collect();
        if rounds.len() > 1 {
            one.impossible.get_or_insert("it asks for several authentications in a row".into());
        }
        let round = rounds.first();
        let said = round.and_then(|round| round.get("auth"));
        let word = said.map_or("pubkey", |said| said.value.as_str());
        if word.starts_with("eap") || word.starts_with("xauth") {
            let why = format!("`auth = {word}` is for people: use a key or certificates");
            one.impossible.get_or_insert(why);
        } else if word != "psk" {
            let store = Store::Swanctl;
            let files = |key: &str, path: fn(Store, &str) -> String| -> Vec<String> {
                let setting = round.and_then(|round| round.get(key));
                let names = setting.map(|one| words(&one.value)).unwrap_or_default();
                names.iter().map(|name| path(store, name)).collect()
            };
            if let Some(side) = one.sides.get_mut(at) {
                side.proof = Some(Proof {
                    store,
                    certificates: files("certs", Store::certificate),
                    authorities: files("cacerts", Store::authority),
                    keys: files("pubkeys", Store::public_key),
                });
            }
        }
    }
    let without_id = one.sides[1].id.is_empty() && one.sides[1].proof.is_none();
    if without_id && !one.sides[1].addresses.is_empty() {
        let what = "`remote.id` is not said: the address of the peer is expected as its identity";
        one.note(
            Note::new(Some(&section.place), what).fix("write `peer_id` if it sends another one"),
        );
    }
}

/// Settings that have a key of ours each.
fn simple(section: &Section, one: &mut Foreign) {
    let is = |key: &str, word: &[&str]| {
        section.get(key).is_some_and(|one| word.contains(&one.value.as_str()))
    };
    if is("mobike", NO) {
        one.extra.push(("mobike", "false".into()));
    }
    if is("fragmentation", NO) {
        one.extra.push(("fragmentation", "false".into()));
    }
    if let Some(port) = section.get("remote_port").filter(|port| port.value != "500") {
        match port.value.parse::<u16>() {
            Ok(number) if number > 0 => {
                for address in &mut one.sides[1].addresses {
                    let v6 = address.contains(':');
                    *address = if v6 {
                        format!("[{address}]:{number}")
                    } else {
                        format!("{address}:{number}")
                    };
                }
            }
            _ => one.note(Note::new(Some(&port.place), "`remote_port` is not a port").grave()),
        }
    }
    if let Some(ppk) = section.get("ppk_id") {
        let what = "its post-quantum key (`ppk_id`) is not imported";
        one.note(
            Note::new(Some(&ppk.place), what)
                .fix("write `ppk = { file = \"..\", id = \"..\" }`")
                .grave(),
        );
    }
}

pub(super) const NO: &[&str] = &["no", "false", "0", "disabled", "off"];

fn child(child: &Section, first: bool, one: &mut Foreign) -> Result<(), Box<Diagnostic>> {
    let list = |key: &str| {
        child.get(key).map_or_else(|| vec!["dynamic".to_owned()], |one| words(&one.value))
    };
    one.pairs.push(Pair {
        networks: [list("local_ts"), list("remote_ts")],
        place: Some(child.place.clone()),
    });
    if child.get("ah_proposals").is_some()
        || child.get("mode").is_some_and(|mode| mode.value != "tunnel")
    {
        one.impossible.get_or_insert(NOT_TUNNEL.into());
    }
    let start = match child.get("start_action").map_or("none", |one| one.value.as_str()) {
        action if action.contains("start") => "always",
        "trap" | "route" => "on-demand",
        _ => "respond-only",
    };
    let action = match child.get("dpd_action").map_or("", |one| one.value.as_str()) {
        "trap" | "hold" => "trap",
        "clear" | "none" if start == "respond-only" => "clear",
        _ => "",
    };
    let life = time(child, "life_time")?.or(time(child, "rekey_time")?);
    let life = time(child, "rekey_time")?.or(life);
    let octets = octets(child, "rekey_bytes")?.or(octets(child, "life_bytes")?);
    let esp = offers(child.get("esp_proposals"));
    let texts = |offers: &[Offer]| offers.iter().map(|one| one.words.clone()).collect::<Vec<_>>();
    if first {
        one.esp = esp;
        one.esp_lifetime = life;
        one.esp_lifebytes = octets;
        one.start = start;
        one.dpd.action = action;
    } else if texts(&esp) != texts(&one.esp) || life != one.esp_lifetime || start != one.start {
        let what = format!(
            "child `{}` differs from the first one in more than its networks; the first one counts",
            child.name
        );
        one.note(
            Note::new(Some(&child.place), what).fix("see that the peer accepts that for both"),
        );
    }
    if let Some(window) = child.get("replay_window") {
        // Ours is larger where it matters, and it is not negotiated.
        if let Some(packets) = window.value.parse::<u32>().ok().filter(|packets| *packets > 4096) {
            one.extra.push(("replay_window", packets.min(65_536).to_string()));
        }
    }
    for key in
        ["updown", "mark_in", "mark_out", "if_id_in", "if_id_out", "set_mark_in", "interface"]
    {
        if let Some(setting) = child.get(key) {
            let what = format!("`{key}` is left out");
            let fix = "routes and policy are by `routes` and `metric`; hooks do not exist";
            one.note(Note::new(Some(&setting.place), what).fix(fix));
        }
    }
    Ok(())
}

/// Settings that are understood, or that say nothing about what goes on between the two.
const OF_CONNECTION: &[&str] = &[
    "version",
    "local_addrs",
    "remote_addrs",
    "local_port",
    "remote_port",
    "proposals",
    "rekey_time",
    "reauth_time",
    "over_time",
    "rand_time",
    "dpd_delay",
    "dpd_timeout",
    "mobike",
    "fragmentation",
    "ppk_id",
    "ppk_required",
    "keyingtries",
    "unique",
    "encap",
    "send_cert",
    "send_certreq",
    "aggressive",
    "childless",
    "close_action",
];

fn unknown(section: &Section, known: &[&str], one: &mut Foreign) {
    for setting in &section.settings {
        if !known.contains(&setting.key.as_str()) && !setting.value.is_empty() {
            let what = format!("`{}` is left out", setting.key);
            one.note(
                Note::new(Some(&setting.place), what)
                    .fix("see docs/configuration.md for what there is"),
            );
        }
    }
}

/// `default` alone says nothing.
pub(super) fn offers(setting: Option<&Setting>) -> Vec<Offer> {
    let Some(setting) = setting else { return Vec::new() };
    let all = words(&setting.value);
    let own = all.iter().filter(|word| *word != "default");
    own.map(|word| Offer { words: word.clone(), place: Some(setting.place.clone()) }).collect()
}

/// `a, b`
pub(super) fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', '\t', '\n'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `8h`, `480m`, `28800s`, `28800`; `None` for what is not said or says never.
fn time(section: &Section, key: &str) -> Result<Option<Duration>, Box<Diagnostic>> {
    let Some(setting) = section.get(key) else { return Ok(None) };
    let bad =
        || syntax(&setting.place, &format!("`{key}` is not a time"), "a number with s, m, h or d");
    let time = seconds(&setting.value).ok_or_else(bad)?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

/// The same of a text.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_secs)
}

fn octets(section: &Section, key: &str) -> Result<Option<u64>, Box<Diagnostic>> {
    let Some(setting) = section.get(key) else { return Ok(None) };
    let digits = setting.value.find(|c: char| !c.is_ascii_digit()).unwrap_or(setting.value.len());
    let (number, unit) = setting.value.split_at(digits);
    let factor = match unit.trim() {
        "" => Some(1_u64),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        _ => None,
    };
    let value = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    let bad = || syntax(&setting.place, &format!("`{key}` is not a number of octets"), "a number");
    value.map(|value| Some(value).filter(|value| *value > 0)).ok_or_else(bad)
}
