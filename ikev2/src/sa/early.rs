//! A post-quantum pre-shared key mixed in before IKE_AUTH (RFC 9867), so that it also protects the IKE SA with the identities
//! in it; as pure functions.
//!
//! ```text
//!   initiator                                                      responder
//!   IKE_SA_INIT        N(USE_PPK_INT) [, N(USE_PPK)] ──►           ◄── N(USE_PPK_INT), or N(USE_PPK) and it is ppk.rs that counts
//!   IKE_INTERMEDIATE   [KEi,] N(PPK_IDENTITY_KEY: id, proof).. ──► ◄── [KEr,] N(PPK_IDENTITY: id)    it has this one too
//!   (the last of them)                                             ◄── [KEr]                         it has none of these
//!          both: the keys anew, of SK_d and the post-quantum key   (crypto/keymat.rs)
//!   IKE_AUTH           as if there were no such key
//! ```
//!
//! The proof is of the key and of the nonces and SPIs of this SA: a wrong key is found before it is used, and the name
//! of one that the peer does not have is no obstacle. Rekeyed SAs have the key in them by descent, through SK_d. What is said in
//! IKE_SA_INIT is covered by AUTH, so nobody on the path can talk the two out of it unnoticed.

use super::extensions::Announced;
use crate::config::{PeerConfig, Ppk, PpkMix, Psk};
use crate::crypto::ppk::Confirmation;
use crate::error::PpkProblem;
use crate::registry::NotifyType;
use crate::wire::message::{Body, Chain};
use crate::wire::ppk::{PpkId, PpkIdentityKey};

/// How many names of one request are read, and sent.
const MOST_NAMED: usize = 8;
/// For how many keys of a name that it named a stranger has the proof made.
const MOST_PROVED: usize = 64;

/// How post-quantum keys come in, by what both sides said in IKE_SA_INIT.
#[derive(Debug, Clone)]
pub(super) enum Use {
    /// Not at all.
    Never,
    /// In IKE_AUTH (RFC 8784).
    InAuth,
    /// In the last IKE_INTERMEDIATE; what came of it.
    Early(Outcome),
}

/// What came of naming keys, as the responder knows it.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// None was named yet.
    Awaited,
    /// Both have this one.
    Mixed(PpkId, Psk),
    /// None that both have.
    Without(PpkProblem),
}

/// Whether keys are offered before IKE_AUTH.
pub(super) fn is_early(ppk: &Ppk) -> bool {
    ppk.mix != PpkMix::Auth
}

/// Whether keys are offered in IKE_AUTH.
pub(super) fn is_in_auth(ppk: &Ppk) -> bool {
    ppk.mix != PpkMix::Intermediate
}

/// What the responder makes of an announcement; `has`: whether anybody that the peer may be has such a key. Not both
/// (RFC 9867 §3.1).
pub(super) fn answer(announced: Announced, has: impl Fn(fn(&Ppk) -> bool) -> bool) -> Use {
    if announced.intermediate && announced.ppk_early && has(is_early) {
        Use::Early(Outcome::Awaited)
    } else if announced.ppk && has(is_in_auth) {
        Use::InAuth
    } else {
        Use::Never
    }
}

/// What the responder's answer leaves the initiator with: one of both at most, and nothing that it did not offer.
pub(super) fn agreed(announced: Announced, config: &PeerConfig) -> Announced {
    let offered = |by: fn(&Ppk) -> bool| config.ppk.as_ref().is_some_and(by);
    let ppk_early = announced.ppk_early && announced.intermediate && offered(is_early);
    let ppk = announced.ppk && !ppk_early && offered(is_in_auth);
    Announced { ppk, ppk_early, ..announced }
}

/// Names the initiator's keys.
pub(super) fn offer(chain: &mut Chain, ppk: &Ppk, confirmation: &Confirmation<'_>) {
    for (id, key) in ppk.all().take(MOST_NAMED) {
        let named = PpkIdentityKey { id: id.clone(), confirmation: confirmation.of(key.octets()) };
        chain.notify(NotifyType::PPK_IDENTITY_KEY, &named.emit());
    }
}

/// The keys that a request names, in the initiator's order; `None` if it names none, or not so that it can be read.
pub(super) fn named(body: &Body<'_>) -> Option<Vec<PpkIdentityKey>> {
    let kind = NotifyType::PPK_IDENTITY_KEY;
    let all = body.notifies.iter().filter(|notify| notify.kind == kind).take(MOST_NAMED);
    let named: Option<Vec<_>> = all.map(|notify| PpkIdentityKey::parse(notify.data)).collect();
    named.filter(|named| !named.is_empty())
}

/// The first of the keys that were named which somebody of those has that the peer may be.
pub(super) fn choose<'a>(
    named: &[PpkIdentityKey],
    ours: impl Iterator<Item = &'a Ppk>,
    confirmation: &Confirmation<'_>,
) -> Outcome {
    let mut proofs = MOST_PROVED;
    let mut best: Option<(usize, &PpkId, &Psk)> = None;
    let mut differs = None;
    for (id, key) in ours.flat_map(Ppk::all) {
        let Some((place, shown)) = named.iter().enumerate().find(|(_, named)| named.id == *id)
        else {
            continue;
        };
        if proofs == 0 || best.is_some_and(|(best, ..)| best <= place) {
            continue;
        }
        proofs -= 1;
        if confirmation.is_of(key.octets(), shown.confirmation) {
            best = Some((place, id, key));
        } else {
            differs = Some(id.clone());
        }
    }
    match (best, differs) {
        (Some((_, id, key)), _) => Outcome::Mixed(id.clone(), key.clone()),
        (None, Some(id)) => Outcome::Without(PpkProblem::Differs(id)),
        (None, None) => {
            let first = named.first().map(|named| named.id.clone());
            Outcome::Without(PpkProblem::Unknown(first))
        }
    }
}

/// The key that is in use with a peer that turned out to be this one; one of another peer is as good as none.
pub(super) fn settle(ours: Option<&Ppk>, outcome: &Outcome) -> Result<Option<PpkId>, PpkProblem> {
    let problem = match outcome {
        Outcome::Mixed(id, key) => {
            let same = |ppk: &&Ppk| {
                ppk.named(&id.emit()).is_some_and(|(_, ours)| ours.octets() == key.octets())
            };
            if ours.as_ref().is_some_and(same) {
                return Ok(Some(id.clone()));
            }
            PpkProblem::Unknown(Some(id.clone()))
        }
        Outcome::Without(problem) => problem.clone(),
        Outcome::Awaited => PpkProblem::Unnamed,
    };
    if ours.is_some_and(|ppk| ppk.required) { Err(problem) } else { Ok(None) }
}

/// The key that the answer names, for the initiator; `Ok(None)` if it names none and we do not insist.
pub(super) fn taken<'a>(
    ours: &'a Ppk,
    body: &Body<'_>,
) -> Result<Option<(&'a PpkId, &'a Psk)>, PpkProblem> {
    match body.notify(NotifyType::PPK_IDENTITY) {
        Some(named) => {
            let unknown = || PpkProblem::Unknown(PpkId::parse(named.data));
            ours.named(named.data).map(Some).ok_or_else(unknown)
        }
        None if ours.required => Err(PpkProblem::Declined),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PpkKey;
    use crate::crypto::prf::Prf;
    use crate::wire::header::IkeSpi;

    const OURS: Confirmation<'static> = Confirmation {
        prf: Prf::HmacSha2_256,
        nonces: (b"ni", b"nr"),
        spis: (IkeSpi(1), IkeSpi(2)),
    };

    fn ppk(names: &[(&str, u8)], required: bool) -> Ppk {
        let mut all = names
            .iter()
            .map(|(name, key)| PpkKey { id: PpkId::fixed(*name), key: Psk::new(vec![*key; 32]) });
        let PpkKey { id, key } = all.next().unwrap();
        Ppk { others: all.collect(), ..Ppk::new(id, key, required) }
    }

    /// What comes of it if the one names these and the other has those.
    fn outcome(theirs: &Ppk, ours: &[Ppk]) -> String {
        let mut chain = Chain::new();
        offer(&mut chain, theirs, &OURS);
        let body = Body::parse(chain.first(), chain.octets()).unwrap();
        match choose(&named(&body).unwrap(), ours.iter(), &OURS) {
            Outcome::Mixed(id, key) => format!("{id} {}", key.octets()[0]),
            Outcome::Without(problem) => format!("{problem:?}"),
            Outcome::Awaited => unreachable!(),
        }
    }

    #[test]
    fn the_first_that_both_have_is_taken() {
        let both = ppk(&[("new", 2), ("old", 1)], true);
        assert_eq!(outcome(&both, &[ppk(&[("old", 1)], true)]), "old 1");
        assert_eq!(outcome(&both, &[ppk(&[("old", 1), ("new", 2)], true)]), "new 2");
        // Somebody else of those that it may be has the other one.
        let two = [ppk(&[("old", 1)], true), ppk(&[("new", 2)], false)];
        assert_eq!(outcome(&both, &two), "new 2");
        // Another key of the first name: then the second.
        assert_eq!(outcome(&both, &[ppk(&[("new", 9), ("old", 1)], true)]), "old 1");
        assert_eq!(outcome(&both, &[ppk(&[("new", 9)], true), ppk(&[("new", 2)], true)]), "new 2");
        let differs = PpkProblem::Differs(PpkId::fixed("new"));
        assert_eq!(outcome(&both, &[ppk(&[("new", 9)], true)]), format!("{differs:?}"));
        let unknown = PpkProblem::Unknown(Some(PpkId::fixed("new")));
        assert_eq!(outcome(&both, &[ppk(&[("else", 2)], true)]), format!("{unknown:?}"));
        assert_eq!(outcome(&both, &[]), format!("{unknown:?}"));
    }

    #[test]
    fn a_stranger_has_so_many_proofs_made_and_no_more() {
        let theirs = ppk(&[("a", 1)], true);
        let mut ours: Vec<_> = (0..MOST_PROVED - 1).map(|_| ppk(&[("a", 9)], true)).collect();
        ours.push(theirs.clone());
        assert_eq!(outcome(&theirs, &ours), "a 1");
        ours.insert(0, ppk(&[("a", 9)], true));
        let differs = PpkProblem::Differs(PpkId::fixed("a"));
        assert_eq!(outcome(&theirs, &ours), format!("{differs:?}"));
    }

    #[test]
    fn a_key_of_another_peer_is_as_good_as_none() {
        let (mine, others) = (ppk(&[("a", 1)], true), ppk(&[("b", 2)], true));
        let mixed = Outcome::Mixed(PpkId::fixed("b"), Psk::new(vec![2; 32]));
        assert_eq!(settle(Some(&others), &mixed), Ok(Some(PpkId::fixed("b"))));
        let unknown = PpkProblem::Unknown(Some(PpkId::fixed("b")));
        assert_eq!(settle(Some(&mine), &mixed), Err(unknown));
        assert_eq!(settle(Some(&ppk(&[("a", 1)], false)), &mixed), Ok(None));
        assert_eq!(settle(None, &mixed), Ok(None));
        // Of the same name, and another key.
        let namesake = ppk(&[("b", 3)], true);
        assert!(settle(Some(&namesake), &mixed).is_err());
        assert_eq!(settle(Some(&mine), &Outcome::Awaited), Err(PpkProblem::Unnamed));
        let declined = Outcome::Without(PpkProblem::Declined);
        assert_eq!(settle(Some(&mine), &declined), Err(PpkProblem::Declined));
        assert_eq!(settle(Some(&ppk(&[("a", 1)], false)), &declined), Ok(None));
    }

    /// One of the two ways at most, and none that was not offered (RFC 9867 §3.1).
    #[test]
    fn both_sides_come_to_the_same_way() {
        let says = |early, auth, intermediate| Announced {
            ppk_early: early,
            ppk: auth,
            intermediate,
            ..Announced::default()
        };
        let mixes = [None, Some(PpkMix::Auto), Some(PpkMix::Intermediate), Some(PpkMix::Auth)];
        let with = |mix: Option<PpkMix>| mix.map(|mix| Ppk { mix, ..ppk(&[("a", 1)], true) });
        for (left, right, expected) in [
            (1, 1, "early"),
            (1, 2, "early"),
            (2, 1, "early"),
            (2, 2, "early"),
            (1, 3, "auth"),
            (3, 1, "auth"),
            (3, 3, "auth"),
            (2, 3, "never"),
            (3, 2, "never"),
            (0, 1, "never"),
            (1, 0, "never"),
        ] {
            let (left, right) = (with(mixes[left]), with(mixes[right]));
            let offers = |by: fn(&Ppk) -> bool| left.as_ref().is_some_and(by);
            let asked = says(offers(is_early), offers(is_in_auth), offers(is_early));
            let answered = answer(asked, |by| right.as_ref().is_some_and(by));
            let found = match answered {
                Use::Never => "never",
                Use::InAuth => "auth",
                Use::Early(_) => "early",
            };
            assert_eq!(found, expected, "{left:?} {right:?}");
            let mut config = PeerConfig::new("peer", Psk::new(vec![1]), Vec::new());
            config.ppk = left;
            let heard = agreed(says(found == "early", found == "auth", true), &config);
            assert_eq!((heard.ppk_early, heard.ppk), (found == "early", found == "auth"));
            // A responder that says both, or what nobody asked for.
            let both = agreed(says(true, true, true), &config);
            assert!(!(both.ppk_early && both.ppk));
            assert_eq!(both.ppk_early, offers_early(&config));
        }
        assert!(matches!(answer(says(true, true, false), |_| true), Use::InAuth));
    }

    fn offers_early(config: &PeerConfig) -> bool {
        config.ppk.as_ref().is_some_and(is_early)
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        let mut chain = Chain::new();
        chain.notify(NotifyType::PPK_IDENTITY_KEY, b"\x02short");
        let body = Body::parse(chain.first(), chain.octets()).unwrap();
        assert_eq!(named(&body), None);
        assert_eq!(named(&Body::parse(crate::registry::PayloadType::NONE, &[]).unwrap()), None);
    }
}
