//! Connections as they get along with each other in one file.
//!
//! ```text
//!   before they are mended   merge       those for the same peer become one                       E0141
//!   afterwards               one_each    of those that then turn out to be, the first one stays   E0141
//!                            separate    of those for the same networks the first one goes first  E0312
//!                            keys_apart  whoever calls from anywhere has a key of his own         E0148
//! ```

use ikev2::Identity;
use ipnet::IpNet;

use super::foreign::{Foreign, Offer, Secret, Side};
use super::mend::Mended;
use super::note::Note;

/// Connections between the same gateways with the same identities: their networks go into one.
pub(super) fn merge(connections: Vec<Foreign>) -> Vec<Foreign> {
    let mut merged: Vec<Foreign> = Vec::new();
    for one in connections {
        let same = merged.iter_mut().find(|other| {
            let fine = one.impossible.is_none() && other.impossible.is_none();
            fine && !one.disabled && !other.disabled && is_same_peer(&one, other)
        });
        let Some(other) = same else {
            merged.push(one);
            continue;
        };
        let what = format!(
            "`{}` is for the same peer as `{}`; its networks are in that one here",
            one.name, other.name
        );
        let words = |offers: &[Offer]| -> Vec<String> {
            offers.iter().map(|offer| offer.words.clone()).collect()
        };
        let differs = words(&one.ike) != words(&other.ike)
            || words(&one.esp) != words(&other.esp)
            || one.esp_lifetime != other.esp_lifetime
            || one.psk.is_some() && one.psk != other.psk;
        let note = Note::new(one.place.as_ref(), what);
        other.note(if differs {
            note.fix(format!(
                "see that what differs besides is meant for both: `{}` counts",
                other.name
            ))
        } else {
            note
        });
        other.pairs.extend(one.pairs);
        other.split = true;
        other.notes.extend(one.notes);
    }
    merged
}

/// As E0141 has it: an incoming request could belong to either.
fn is_same_peer(one: &Foreign, other: &Foreign) -> bool {
    let [our_side, peer] = &one.sides;
    let [their_side, other_peer] = &other.sides;
    let ids = said(our_side) == said(their_side) && said(peer) == said(other_peer);
    let anywhere = |side: &Side| side.addresses.is_empty();
    let known = |address: &String| {
        other_peer.addresses.iter().any(|other| other.eq_ignore_ascii_case(address))
    };
    let by_address = peer.addresses.iter().any(known);
    let by_identity = said(peer).is_some() && (anywhere(peer) || anywhere(other_peer));
    ids && (by_address || by_identity || anywhere(peer) && anywhere(other_peer))
}

/// The identity of a side; what is not said is the address.
fn said(side: &Side) -> Option<Identity> {
    let identity: Identity = side.id.trim_start_matches('%').parse().ok()?;
    let is_address = |address: &String| address.parse().is_ok_and(|own: Identity| own == identity);
    (!side.addresses.iter().any(is_address)).then_some(identity)
}

/// E0141, where only mending has shown it: an address that is none has become any.
pub(super) fn one_each(all: &mut [Mended]) {
    for at in 1..all.len() {
        let (earlier, later) = all.split_at_mut(at);
        let Some(later) = later.first_mut().filter(|one| is_live(one)) else { continue };
        let anywhere = |other: &Mended| {
            later.peer_id.is_some() && (other.peers.is_empty() || later.peers.is_empty())
        };
        let same = |other: &&Mended| {
            let ids = (&other.local_id, &other.peer_id) == (&later.local_id, &later.peer_id);
            let address = later.peers.iter().any(|peer| other.peers.contains(peer));
            is_live(other) && ids && (address || anywhere(other))
        };
        if let Some(other) = earlier.iter().find(same) {
            later.foreign.impossible = Some(format!(
                "it is for the same peer with the same identities as `{}`, and whoever calls could mean either: put its networks into that one, or write another `peer_id` and delete the `#`",
                other.name
            ));
        }
    }
}

/// Whether it is to be in force.
fn is_live(one: &Mended) -> bool {
    one.foreign.impossible.is_none() && !one.foreign.disabled
}

/// E0312: for the same packets the first one goes first.
pub(super) fn separate(all: &mut [Mended]) {
    for at in 1..all.len() {
        let (earlier, later) = all.split_at_mut(at);
        let Some(later) = later.first_mut() else { continue };
        if later.foreign.impossible.is_some() {
            continue;
        }
        while let Some(other) = earlier.iter().find(|other| claims_same(other, later)) {
            let what = format!(
                "`{}` has the same networks as `{}`, which carries while it is up: this one stands by",
                later.name, other.name
            );
            later.metric = other.metric + 100;
            let place = later.foreign.place.clone();
            later.foreign.note(
                Note::new(place.as_ref(), what)
                    .fix("exchange the two `metric` to prefer the other"),
            );
        }
    }
}

/// E0148: whoever may call from anywhere is known by the key alone.
pub(super) fn keys_apart(all: &mut [Mended]) {
    for at in 1..all.len() {
        let (earlier, later) = all.split_at_mut(at);
        let Some(later) = later.first_mut().filter(|one| is_live(one)) else { continue };
        let shares = |other: &Mended| {
            let anywhere = other.peers.is_empty() || later.peers.is_empty();
            is_live(other) && anywhere && other.key == later.key && later.key.is_some()
        };
        let Some(other) = earlier.iter().find(|other| shares(other)) else { continue };
        let what = format!(
            "its key is that of `{}`, and a peer that may call from anywhere is known by its key alone; its file has a new one",
            other.name
        );
        later.key = Some(Secret::of(&crate::config::genpsk(32)));
        let place = later.foreign.place.clone();
        later
            .foreign
            .note(Note::new(place.as_ref(), what).fix("give the peer the new key").grave());
    }
}

fn claims_same(earlier: &Mended, later: &Mended) -> bool {
    let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let common = earlier.local.iter().any(|a| later.local.iter().any(|b| overlap(a, b)));
    let live = earlier.foreign.impossible.is_none();
    live && common
        && earlier.metric == later.metric
        && later.remote.iter().any(|net| earlier.remote.contains(net))
}
