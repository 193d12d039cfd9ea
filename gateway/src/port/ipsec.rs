//! ipsec.conf and ipsec.secrets, of strongSwan and of Libreswan.
//!
//! ```text
//!   left, leftid, leftsubnet     ─► we         right, rightid, rightsubnet ─► the peer     (--mirror: the other way)
//!   ike, esp, phase2alg          ─► [policy.NAME]                              auto=start|route|add ─► start
//!   conn a, conn b to one peer   ─► one connection with the networks of both
//! ```

use super::foreign::{Foreign, Offer, Pair, Proof, Side, Store};
use super::note::Note;
use super::secrets::{self, Key, find};
use super::stanza::{self, Conn, Line};
use super::swanctl::{NO, NOT_TUNNEL, ikev1, own_names, seconds, words};
use super::text::syntax;
use super::{Files, Input, Parsed};
use crate::config::Diagnostic;

pub(super) fn parse(inputs: &[Input], files: &mut dyn Files) -> Result<Parsed, Box<Diagnostic>> {
    let (of_keys, of_conns): (Vec<&Input>, Vec<&Input>) =
        inputs.iter().partition(|input| stanza::is_secrets(input));
    let owned = |inputs: Vec<&Input>| inputs.into_iter().cloned().collect::<Vec<_>>();
    let (keys, mut notes) = secrets::parse(&owned(of_keys), files)?;
    let (conns, more) = stanza::parse(&owned(of_conns), files)?;
    notes.extend(more);
    let mut connections = Vec::new();
    for conn in &conns {
        // A base of others, which nobody loads by itself.
        let loaded = conn.lines.get("auto").is_some_and(|line| line.value != "ignore");
        if !loaded && (conn.is_base || conn.lines.contains_key("auto")) {
            continue;
        }
        connections.push(connection(conn, &keys)?);
    }
    Ok(Parsed { connections, notes })
}

fn connection(conn: &Conn, keys: &[Key]) -> Result<Foreign, Box<Diagnostic>> {
    let get = |key: &str| conn.lines.get(key);
    let word = |key: &str| get(key).map_or("", |line| line.value.as_str());
    let mut one =
        Foreign { name: conn.name.clone(), place: Some(conn.place.clone()), ..Foreign::default() };
    one.sides = [side(conn, "left"), side(conn, "right")];
    one.start = match word("auto") {
        "start" | "up" => "always",
        "route" | "ondemand" => "on-demand",
        _ => "respond-only",
    };
    if one.start == "respond-only" {
        let what = "it waits for the peer (auto=add)";
        one.note(Note::new(Some(&conn.place), what).fix("write `start = \"always\"` to call it"));
    }
    version(conn, &mut one);
    auth(conn, &mut one);
    one.ike = offers(get("ike").or_else(|| get("phase1alg")));
    one.esp = offers(get("esp").or_else(|| get("phase2alg")));
    let no_pfs = NO.contains(&word("pfs"));
    if let (Some(pfs), false) = (get("pfsgroup").or_else(|| get("pfs")), no_pfs) {
        let group = get("pfsgroup").map(|line| line.value.clone());
        let has_group = |offer: &Offer| {
            ["modp", "ecp", "curve", "x25519", "dh"].iter().any(|g| offer.words.contains(g))
        };
        match group {
            Some(group) if !one.esp.iter().any(has_group) => {
                for offer in &mut one.esp {
                    offer.words = format!("{}-{group}", offer.words.trim_end_matches('!'));
                }
            }
            None if pfs.value == "yes" && !one.esp.is_empty() && !one.esp.iter().any(has_group) => {
                let what = "`pfs=yes` without a group: Libreswan takes that of `ike`";
                one.note(
                    Note::new(Some(&pfs.place), what).fix("add the group to `esp` in the policy"),
                );
            }
            _ => {}
        }
    }
    one.ike_lifetime = time(get("ikelifetime"))?;
    one.esp_lifetime =
        time(get("salifetime").or_else(|| get("lifetime")).or_else(|| get("keylife")))?;
    one.esp_lifebytes =
        get("lifebytes").and_then(|line| line.value.parse().ok()).filter(|octets| *octets > 0);
    one.dpd.interval = time(get("dpddelay"))?;
    one.dpd.timeout = time(get("dpdtimeout"))?;
    one.dpd.action = match word("dpdaction") {
        "hold" => "trap",
        "clear" => "clear",
        _ => "",
    };
    if NO.contains(&word("mobike")) {
        one.extra.push(("mobike", "false".into()));
    }
    if NO.contains(&word("fragmentation")) {
        one.extra.push(("fragmentation", "false".into()));
    }
    if let Some(mtu) = word("mtu").parse::<u16>().ok().filter(|mtu| *mtu >= 576) {
        one.extra.push(("mtu", mtu.to_string()));
    }
    one.pairs = pairs(conn);
    unknown(conn, &mut one);
    let (ours, theirs) = (own_names(&one.sides[0]), own_names(&one.sides[1]));
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    one.psk = find(keys, &ours, &theirs).map(|key| key.secret.clone());
    Ok(one)
}

fn side(conn: &Conn, which: &str) -> Side {
    let get = |key: &str| conn.lines.get(&format!("{which}{key}")).map(|line| line.value.clone());
    let addresses = get("").map(|text| words(&text)).unwrap_or_default();
    let nobody = ["%any", "%defaultroute", "%any6", "%group", "%opportunistic", "0.0.0.0", "::"];
    let addresses = addresses.into_iter().filter(|one| !nobody.contains(&one.as_str())).collect();
    let id = get("id").unwrap_or_default();
    Side { addresses, id, proof: None }
}

fn version(conn: &Conn, one: &mut Foreign) {
    let word = |key: &str| conn.lines.get(key).map_or("", |line| line.value.as_str());
    let is_v1 = word("keyexchange") == "ikev1"
        || ["no", "never"].contains(&word("ikev2"))
        || word("keyexchange") != "ikev2" && word("aggressive") == "yes"
        || word("aggrmode") == "yes";
    if is_v1 {
        one.note(ikev1(Some(&conn.place)));
    }
    if word("type") == "transport" || conn.lines.contains_key("ah") || word("phase2") == "ah" {
        one.impossible.get_or_insert(NOT_TUNNEL.into());
    }
    if ["passthrough", "drop", "reject", "pass"].contains(&word("type")) {
        one.impossible.get_or_insert("it is no tunnel, but an exception from others".into());
    }
}

/// `authby`, `leftauth`, `rightauth`; without any of them it is certificates.
fn auth(conn: &Conn, one: &mut Foreign) {
    let word = |key: &str| conn.lines.get(key).map_or("", |line| line.value.as_str());
    for (at, which) in ["left", "right"].into_iter().enumerate() {
        let own = word(&format!("{which}auth"));
        let said = if own.is_empty() { word("authby") } else { own };
        if said.starts_with("eap") || said.starts_with("xauth") || !word("xauth").is_empty() {
            one.impossible.get_or_insert(
                "it has logins for people (EAP, XAUTH): use a key or certificates".into(),
            );
        } else if !["psk", "secret"].contains(&said) {
            let store = Store::Ipsec;
            // `%cert` and names of authorities are no files, and keys may stand there themselves.
            let files = |key: &str| {
                let file = word(&format!("{which}{key}"));
                let no_file = ["", "%same"].contains(&file)
                    || file.starts_with("0s")
                    || file.starts_with('%')
                    || file.contains('=');
                (!no_file).then(|| file.to_owned())
            };
            if let Some(side) = one.sides.get_mut(at) {
                side.proof = Some(Proof {
                    store,
                    certificates: files("cert").iter().map(|one| store.certificate(one)).collect(),
                    authorities: files("ca").iter().map(|one| store.authority(one)).collect(),
                    keys: files("sigkey").iter().map(|one| store.public_key(one)).collect(),
                });
            }
        }
    }
}

/// `leftsubnet=a,b`, `leftsubnets={a b}`; without any it is the gateway itself.
fn pairs(conn: &Conn) -> Vec<Pair> {
    let list = |which: &str| {
        let line = conn
            .lines
            .get(&format!("{which}subnets"))
            .or_else(|| conn.lines.get(&format!("{which}subnet")));
        let Some(line) = line else { return vec!["dynamic".to_owned()] };
        words(line.value.trim().trim_start_matches('{').trim_end_matches('}'))
    };
    vec![Pair { networks: [list("left"), list("right")], place: Some(conn.place.clone()) }]
}

fn offers(line: Option<&Line>) -> Vec<Offer> {
    let Some(line) = line else { return Vec::new() };
    let all = words(line.value.trim_end_matches('!'));
    all.into_iter().map(|words| Offer { words, place: Some(line.place.clone()) }).collect()
}

fn time(line: Option<&Line>) -> Result<Option<std::time::Duration>, Box<Diagnostic>> {
    let Some(line) = line else { return Ok(None) };
    let bad = || syntax(&line.place, "not a time", "a number with s, m, h or d has to stand here");
    let time = seconds(&line.value).ok_or_else(bad)?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

/// What is understood, or says nothing about what goes on between the two.
const KNOWN: &[&str] = &[
    "left",
    "right",
    "leftid",
    "rightid",
    "leftsubnet",
    "rightsubnet",
    "leftsubnets",
    "rightsubnets",
    "auto",
    "authby",
    "leftauth",
    "rightauth",
    "ike",
    "esp",
    "phase2alg",
    "phase1alg",
    "pfs",
    "pfsgroup",
    "phase2",
    "ikelifetime",
    "salifetime",
    "lifetime",
    "keylife",
    "lifebytes",
    "dpddelay",
    "dpdtimeout",
    "dpdaction",
    "mobike",
    "fragmentation",
    "mtu",
    "keyexchange",
    "ikev2",
    "aggressive",
    "aggrmode",
    "type",
    "ah",
    "connalias",
    "keyingtries",
    "rekey",
    "reauth",
    "margintime",
    "rekeymargin",
    "rekeyfuzz",
    "compress",
    "closeaction",
    "forceencaps",
    "encapsulation",
    "leftcert",
    "rightcert",
    "leftca",
    "rightca",
    "leftsigkey",
    "rightsigkey",
    "leftrsasigkey",
    "rightrsasigkey",
    "leftsendcert",
    "rightsendcert",
    "installpolicy",
    "replaywindow",
    "leftnexthop",
    "rightnexthop",
    "xauth",
];

fn unknown(conn: &Conn, one: &mut Foreign) {
    for (key, line) in &conn.lines {
        if !KNOWN.contains(&key.as_str()) {
            let what = format!("`{key}` is left out");
            one.note(
                Note::new(Some(&line.place), what)
                    .fix("see docs/configuration.md for what there is"),
            );
        }
    }
}
