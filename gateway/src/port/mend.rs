//! From what another program says to what this one accepts: each value checked, each change noted.
//!
//! ```text
//!   Foreign ─► peers, identities, networks, key ─► Mended: every value fits, or `impossible` says why it cannot be
//!      │
//!      └─ those for the same peer become one (E0141), those for the same networks get different metrics (E0312)
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use ikev2::Identity;
use ipnet::IpNet;

use super::foreign::{Foreign, Pair, Secret};
use super::note::Note;
use super::together::{keys_apart, merge, one_each, separate};
use crate::config::{Place, is_host};

/// A connection that a configuration can have.
#[derive(Debug)]
pub(super) struct Mended {
    pub(super) name: String,
    /// None: any.
    pub(super) peers: Vec<String>,
    pub(super) local_id: Option<Identity>,
    pub(super) peer_id: Option<Identity>,
    pub(super) key: Option<Secret>,
    pub(super) local: Vec<IpNet>,
    pub(super) remote: Vec<IpNet>,
    pub(super) split: bool,
    pub(super) routes: Option<Vec<IpNet>>,
    pub(super) metric: u32,
    /// What was not mended.
    pub(super) foreign: Foreign,
}

/// All of them, fit to stand in one file.
pub(super) fn mend(connections: Vec<Foreign>) -> Vec<Mended> {
    let mut names = BTreeSet::new();
    let all = merge(connections).into_iter().map(|one| mend_one(one, &mut names));
    let mut all: Vec<Mended> = all.collect();
    one_each(&mut all);
    separate(&mut all);
    keys_apart(&mut all);
    all
}

fn mend_one(mut one: Foreign, names: &mut BTreeSet<String>) -> Mended {
    let name = name(&one, names);
    if name != one.name {
        one.note(Note::new(one.place.as_ref(), format!("`{}` is called `{name}` here", one.name)));
    }
    // The address is what the peer knows us by, wherever the new gateway stands.
    if let [ours, _] = &mut one.sides
        && ours.id.is_empty()
        && let Some(address) = ours.addresses.iter().find(|text| text.parse::<IpAddr>().is_ok())
    {
        ours.id.clone_from(address);
    }
    let peers = peers(&mut one);
    let local_id = read_identity(&mut one, 0);
    let peer_id = read_identity(&mut one, 1);
    let (local, remote, split) = networks(&mut one);
    let routes = one.routes.clone().map(|routes| {
        let place = one.place.clone();
        routes.iter().filter_map(|text| network(text, place.as_ref(), &mut one.notes)).collect()
    });
    let goes_nowhere = routes.as_ref().is_some_and(Vec::is_empty);
    if goes_nowhere {
        let what = "the source does not say which networks are behind the peer, so nothing is routed there";
        one.note(
            Note::new(one.place.clone().as_ref(), what)
                .fix("write them into `routes`, or import with --remote")
                .grave(),
        );
    }
    let impossible = if one.sides.iter().any(|side| side.proof.is_some()) {
        Some(CERTIFICATES.into())
    } else if peers.is_empty() && peer_id.is_none() {
        Some("a peer without an address has to have an identity: write `peer_id`, and delete the `#`".into())
    } else if local.is_empty() || remote.is_empty() {
        Some("the source does not say the networks of both sides: import with --local and --remote, or fill them in and delete the `#`".into())
    } else {
        same_on_both(&local, &remote)
    };
    one.impossible = one.impossible.take().or(impossible);
    if peers.is_empty() {
        one.start = "respond-only";
    }
    let key = key(&mut one);
    let metric = one.metric.unwrap_or(100);
    Mended {
        name,
        peers,
        local_id,
        peer_id,
        key,
        local,
        remote,
        split,
        routes,
        metric,
        foreign: one,
    }
}

fn same_on_both(local: &[IpNet], remote: &[IpNet]) -> Option<String> {
    let both = local.iter().find(|network| network.prefix_len() > 0 && remote.contains(network))?;
    Some(format!("{both} is on both sides, so one of them has to use other addresses"))
}

/// `[a-z0-9-]{1,32}`, once.
fn name(one: &Foreign, names: &mut BTreeSet<String>) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let lower = one.name.to_lowercase();
    let mut plain: String = lower.chars().map(|c| if fits(c) { c } else { '-' }).take(28).collect();
    plain = plain.trim_matches('-').into();
    if plain.is_empty() {
        plain = "site".into();
    }
    if one.name.len() <= 32 && one.name.chars().all(|c| fits(c) || c == '-') && !one.name.is_empty()
    {
        plain.clone_from(&one.name);
    }
    let stem: String = plain.chars().take(28).collect();
    let mut number = 2;
    while !names.insert(plain.clone()) {
        plain = format!("{stem}-{number}");
        number += 1;
    }
    plain
}

fn peers(one: &mut Foreign) -> Vec<String> {
    let place = one.place.clone();
    let mut peers: Vec<String> = Vec::new();
    for address in one.theirs().addresses.clone() {
        let address = address.trim().trim_start_matches('%').to_owned();
        let anyone = ["any", "any4", "any6", "0.0.0.0", "::", "0.0.0.0/0", "::/0", ""];
        if anyone.contains(&address.as_str()) {
            continue;
        }
        if is_host(&address) {
            if !peers.contains(&address) {
                peers.push(address);
            }
        } else {
            let what = format!("`{address}` is not the address of one peer, and is left out");
            one.note(Note::new(place.as_ref(), what).fix("see whether `peer` is right").grave());
        }
    }
    peers
}

fn read_identity(one: &mut Foreign, at: usize) -> Option<Identity> {
    let text = one.sides.get(at).map(|side| side.id.trim().to_owned()).unwrap_or_default();
    if text.is_empty() || text.starts_with('%') && !text.starts_with("%@") {
        return None;
    }
    match text.trim_start_matches('%').parse() {
        Ok(identity) => Some(identity),
        Err(error) => {
            let key = if at == 0 { "local_id" } else { "peer_id" };
            let what = format!("the identity `{text}` is left out: {error}");
            let place = one.place.clone();
            one.note(Note::new(place.as_ref(), what).fix(format!("write `{key}`")).grave());
            None
        }
    }
}

/// The networks of both sides, and whether each pair has a tunnel of its own.
fn networks(one: &mut Foreign) -> (Vec<IpNet>, Vec<IpNet>, bool) {
    let mut pairs: Vec<(Vec<IpNet>, Vec<IpNet>)> = Vec::new();
    for Pair { networks: [ours, theirs], place } in one.pairs.clone() {
        let mut read = |texts: &[String], at: usize| {
            let own = one.sides.get(at).map(|side| side.addresses.clone()).unwrap_or_default();
            let mut nets: Vec<IpNet> = Vec::new();
            if texts.len() > NETWORKS_MAX {
                let what =
                    format!("of {} networks the first {NETWORKS_MAX} are taken", texts.len());
                one.notes.push(Note::new(place.as_ref(), what).fix("summarise them").grave());
            }
            for text in texts.iter().take(NETWORKS_MAX) {
                let text =
                    if text == "dynamic" { own.first().map_or("dynamic", |a| a) } else { text };
                nets.extend(network(text, place.as_ref(), &mut one.notes));
            }
            nets
        };
        pairs.push((read(&ours, 0), read(&theirs, 1)));
    }
    let mut local: Vec<IpNet> = Vec::new();
    let mut remote: Vec<IpNet> = Vec::new();
    for (ours, theirs) in &pairs {
        // A family that one side has alone could never match a packet.
        let fits = |net: &&IpNet, others: &[IpNet]| others.iter().any(|o| family(o) == family(net));
        let kept = |nets: &[IpNet], others: &[IpNet], into: &mut Vec<IpNet>| {
            for net in nets.iter().filter(|net| fits(net, others)) {
                if !into.contains(net) {
                    into.push(*net);
                }
            }
        };
        kept(ours, theirs, &mut local);
        kept(theirs, ours, &mut remote);
        for alone in ours
            .iter()
            .filter(|net| !fits(net, theirs))
            .chain(theirs.iter().filter(|net| !fits(net, ours)))
        {
            let what = format!("{alone} is left out: the other side has no network of its family");
            one.notes.push(Note::new(one.place.as_ref(), what));
        }
    }
    let wanted: BTreeSet<(IpNet, IpNet)> = product(pairs.iter().map(|(a, b)| (&a[..], &b[..])));
    let all = product([(&local[..], &remote[..])].into_iter());
    let more: Vec<String> =
        all.difference(&wanted).map(|(here, there)| format!("{here} ⇄ {there}")).collect();
    let several = all.len() > 1;
    if !more.is_empty() {
        let some = more.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        let what = format!(
            "a connection has each of its networks with each of the peer's, so these pairs come on top: {some}"
        );
        let fix = "a peer that does not have them refuses them, and `status` says so; let the peer have them, or give it a second identity for a connection of its own";
        one.notes.push(Note::new(one.place.as_ref(), what).fix(fix).grave());
    }
    let one_each = pairs.iter().filter(|(a, b)| !a.is_empty() && !b.is_empty()).count();
    let families = local.iter().map(family).collect::<BTreeSet<_>>().len();
    let split = several && (!more.is_empty() || one_each > families || one.split);
    (local, remote, split)
}

fn product<'p>(
    pairs: impl Iterator<Item = (&'p [IpNet], &'p [IpNet])>,
) -> BTreeSet<(IpNet, IpNet)> {
    let mut all = BTreeSet::new();
    for (ours, theirs) in pairs {
        for here in ours {
            for there in theirs.iter().filter(|there| family(there) == family(here)) {
                // More than this no gateway negotiates one by one.
                if all.len() < PAIRS_MAX {
                    all.insert((*here, *there));
                }
            }
        }
    }
    all
}

const PAIRS_MAX: usize = 10_000;
/// On one side of one connection.
const NETWORKS_MAX: usize = 1000;

fn family(network: &IpNet) -> bool {
    matches!(network, IpNet::V4(_))
}

/// `10.1.0.0/16`, `10.1.0.5`, `10.1.0.0/16[tcp/80]`, `10.1.0.0/255.255.0.0`.
fn network(text: &str, place: Option<&Place>, notes: &mut Vec<Note>) -> Option<IpNet> {
    let text = text.trim();
    let plain = text.split(['[', '%']).next().unwrap_or("").trim();
    if plain != text {
        let what = format!("`{text}` is for one protocol or port; the network as a whole is taken");
        let fix = "filter in the firewall, and let the peer have the network as a whole";
        notes.push(Note::new(place, what).fix(fix).grave());
    }
    let parsed = match plain.split_once('/') {
        Some((address, mask)) if mask.contains('.') => IpNet::with_netmask(
            address.parse().ok().unwrap_or(IpAddr::from([255; 4])),
            mask.parse().ok()?,
        )
        .ok()
        .filter(|_| address.parse::<IpAddr>().is_ok()),
        Some(_) => plain.parse::<IpNet>().ok(),
        None => plain.parse::<IpAddr>().ok().map(IpNet::from),
    };
    let Some(network) = parsed else {
        let what = format!("`{text}` is not a network, and is left out");
        notes.push(Note::new(place, what).fix("write the network into the connection").grave());
        return None;
    };
    if network.trunc() != network {
        notes.push(Note::new(place, format!("{network} means {} here", network.trunc())));
    }
    Some(network.trunc())
}

/// The key, or a new one where the old one cannot be used.
fn key(one: &mut Foreign) -> Option<Secret> {
    if one.sides.iter().all(|side| side.proof.is_some()) {
        return None;
    }
    if one.impossible.is_some() {
        return one.psk.take();
    }
    let place = one.place.clone();
    let new = || Some(Secret::of(&crate::config::genpsk(32)));
    match one.psk.take() {
        None => {
            let note =
                Note::new(place.as_ref(), "the source has no key for it; its file has a new one");
            one.note(
                note.fix("put the key that the peer has into the file, or give the peer this one")
                    .grave(),
            );
            new()
        }
        Some(key) if key.0.len() < KEY_MIN => {
            let what = format!(
                "its key has {} octets, which can be guessed from one recorded handshake; its file has a new one",
                key.0.len()
            );
            one.note(Note::new(place.as_ref(), what).fix("give the peer the new key").grave());
            new()
        }
        Some(key) => Some(key),
    }
}

/// What is left to do where files prove identities.
const CERTIFICATES: &str = "it proves identities by certificates: copy the files that `cert`, `key` and `ca` name to where \
     this gateway may read them, see that they are the right ones (docs/certificates.md), and delete the `#`";
/// As the configuration wants it.
const KEY_MIN: usize = 16;
