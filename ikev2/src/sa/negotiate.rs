//! Choosing proposals (RFC 7296 §2.7, §3.3) as pure functions.
//!
//! ```text
//!   ours   1: aes256gcm16-...  2: aes256-sha256-...        for each of ours, in our order:
//!   theirs 1: aes128-...       2: aes256-sha256-...   ──►    for each of theirs: one common transform of every type?
//! ```
//!
//! The peer's KE payload may fit another common proposal than our first. Within an SA that one is taken, which saves an
//! exchange; whatever is taken, we accept it. In IKE_SA_INIT our order stands: there anybody on the path may forge the
//! INVALID_KE_PAYLOAD that makes the peer try a weaker method, and to take it would be to let him choose (RFC 7296
//! §1.2).
//!
//! A transform type that only one side names must allow "none": INTEG beside an AEAD cipher, KE in IKE_AUTH, SN that an
//! old peer leaves out, each of ADDKE1 to ADDKE7. An unknown type or attribute makes the peer's proposal unusable (RFC 7296 §3.3.6).

use crate::crypto::suite::{ChildSuite, IkeSuite};
use crate::difference::{absence, allows_absence};
use crate::registry::{IntegId, KeMethod, ProtocolId, SnId, TransformType};
use crate::wire::proposal::{Proposal, Transform};

/// Picks an IKE suite: the chosen proposal (numbered as the peer's) and what it means. A suite with the method `sent`
/// comes before all others.
pub(super) fn choose_ike(
    ours: &[Proposal],
    theirs: &[Proposal],
    sent: Option<KeMethod>,
) -> Option<(Proposal, IkeSuite)> {
    let first = |theirs: &[Proposal]| {
        choose(ours, theirs, ProtocolId::IKE).find_map(|chosen| {
            IkeSuite::from_transforms(&chosen.transforms).map(|suite| (chosen, suite))
        })
    };
    sent.and_then(|method| first(&with_ke(theirs, method))).or_else(|| first(theirs))
}

/// Whether an ESP suite comes with a key exchange.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fresh {
    /// Not in IKE_AUTH (RFC 7296 §1.2): key exchange transforms do not count.
    No,
    /// As the proposals say; the peer sent a value of this method along.
    Yes(Option<KeMethod>),
}

/// Picks an ESP suite, one with the method that the peer sent before all others.
pub(super) fn choose_esp(
    ours: &[Proposal],
    theirs: &[Proposal],
    fresh: Fresh,
) -> Option<(Proposal, ChildSuite)> {
    let first = |ours: &[Proposal], theirs: &[Proposal]| {
        choose(ours, theirs, ProtocolId::ESP).find_map(|chosen| {
            ChildSuite::from_transforms(&chosen.transforms).map(|suite| (chosen, suite))
        })
    };
    match fresh {
        Fresh::No => first(&without_ke(ours), &without_ke(theirs)),
        Fresh::Yes(sent) => sent
            .and_then(|method| first(ours, &with_ke(theirs, method)))
            .or_else(|| first(ours, theirs)),
    }
}

/// Those of the proposals that name this key exchange method, without the others.
fn with_ke(proposals: &[Proposal], method: KeMethod) -> Vec<Proposal> {
    let wanted = Transform::Ke(method);
    let mut fitting = proposals.to_vec();
    fitting.retain(|proposal| proposal.transforms.contains(&wanted));
    for proposal in &mut fitting {
        proposal.transforms.retain(|t| t.kind() != TransformType::KE || *t == wanted);
    }
    fitting
}

/// What is left of the proposals if nothing but this suite will do; the key exchange is left as it is.
pub(super) fn only(proposals: &[Proposal], suite: &ChildSuite) -> Vec<Proposal> {
    let sn = if suite.esn { SnId::EXTENDED } else { SnId::SHORT };
    let fits = |transform: &Transform| match *transform {
        Transform::Encr(id, bits) => {
            (id, bits) == (suite.encr, suite.encr.key_length_attribute(suite.key_bits))
        }
        Transform::Integ(id) => id == suite.integ.unwrap_or(IntegId::NONE),
        Transform::Sn(id) => id == sn,
        Transform::Prf(_) | Transform::Ke(_) | Transform::AddKe(..) | Transform::Unknown { .. } => {
            true
        }
    };
    let mut fitting = proposals.to_vec();
    for proposal in &mut fitting {
        proposal.transforms.retain(fits);
    }
    let has = |proposal: &Proposal, kind| proposal.transforms.iter().any(|t| t.kind() == kind);
    fitting.retain(|proposal| {
        has(proposal, TransformType::ENCR)
            && (suite.integ.is_none() || has(proposal, TransformType::INTEG))
            && (!suite.esn || has(proposal, TransformType::SN))
    });
    fitting
}

/// The proposals without their key exchange transforms, as IKE_AUTH wants them.
pub(super) fn without_ke(proposals: &[Proposal]) -> Vec<Proposal> {
    let is_ke = |t: &Transform| matches!(t, Transform::Ke(_) | Transform::AddKe(..));
    let mut without = proposals.to_vec();
    for proposal in &mut without {
        proposal.transforms.retain(|transform| !is_ke(transform));
    }
    without
}

/// Those that can do with a single key exchange, as a peer without IKE_INTERMEDIATE has to (RFC 9370 §2.2.1).
pub(super) fn without_additional(proposals: &[Proposal]) -> Vec<Proposal> {
    let is_further = |t: &Transform| matches!(t, Transform::AddKe(_, id) if *id != KeMethod::NONE);
    let optional = |proposal: &Proposal| {
        let further = proposal.transforms.iter().filter(|t| is_further(t));
        further
            .map(|t| absence(t.kind()))
            .all(|none| none.is_none_or(|none| proposal.transforms.contains(&none)))
    };
    let mut without = proposals.to_vec();
    without.retain(optional);
    for proposal in &mut without {
        proposal.transforms.retain(|transform| !is_further(transform));
    }
    without
}

/// Whether any of them has further key exchanges.
pub(super) fn has_additional(proposals: &[Proposal]) -> bool {
    let mut all = proposals.iter().flat_map(|proposal| &proposal.transforms);
    all.any(|transform| matches!(transform, Transform::AddKe(_, id) if *id != KeMethod::NONE))
}

/// Checks the single proposal of a response against what we offered (RFC 7296 §2.7: one of ours, one of each type).
pub(super) fn accept<'p>(offered: &[Proposal], answer: &'p [Proposal]) -> Option<&'p Proposal> {
    let [answer] = answer else { return None };
    let same =
        |offer: &&Proposal| offer.number == answer.number && offer.protocol == answer.protocol;
    let offer = offered.iter().find(same)?;
    let chosen = common(offer, answer)?;
    (chosen.len() == answer.transforms.len()
        && chosen.iter().all(|transform| answer.transforms.contains(transform)))
    .then_some(answer)
}

/// The same proposals, numbered 1, 2, ... and carrying this SPI, ready to be offered.
pub(super) fn offer(proposals: &[Proposal], spi: &[u8]) -> Vec<Proposal> {
    (1..=u8::MAX)
        .zip(proposals)
        .map(|(number, proposal)| Proposal { number, spi: spi.to_vec(), ..proposal.clone() })
        .collect()
}

/// The key exchange method to try first: the first one that the proposals name.
pub(super) fn first_ke(proposals: &[Proposal]) -> Option<KeMethod> {
    ke_methods(proposals).next()
}

/// Every key exchange method that the proposals name, in order.
pub(super) fn ke_methods(proposals: &[Proposal]) -> impl Iterator<Item = KeMethod> + '_ {
    let transforms = proposals.iter().flat_map(|proposal| &proposal.transforms);
    let ke = transforms.filter(|transform| transform.kind() == TransformType::KE);
    ke.map(|transform| KeMethod(transform.id())).filter(|method| *method != KeMethod::NONE)
}

fn choose<'a>(
    ours: &'a [Proposal],
    theirs: &'a [Proposal],
    protocol: ProtocolId,
) -> impl Iterator<Item = Proposal> + 'a {
    ours.iter().flat_map(move |our| {
        theirs.iter().filter(move |their| their.protocol == protocol).filter_map(move |their| {
            let transforms = common(our, their)?;
            Some(Proposal { transforms, ..their.clone() })
        })
    })
}

/// One transform of every type that either side names, in our order of preference; `None` if a type has none in common.
fn common(ours: &Proposal, theirs: &Proposal) -> Option<Vec<Transform>> {
    #[cfg(test)]
    crate::effort::count("proposals compared");
    if theirs.transforms.iter().any(|transform| is_foreign_type(*transform)) {
        return None;
    }
    let mut chosen = Vec::new();
    for kind in [TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::SN] {
        match shared(kind, ours, theirs)? {
            Shared::Any(both) => chosen.extend(both.first()),
            // RFC 7296 §2.7: the answer has one transform of every type in the offer, be it "none".
            Shared::Absence(none) => {
                let answers = kind != TransformType::SN || theirs.protocol == ProtocolId::ESP;
                chosen.extend(none.filter(|_| answers));
            }
        }
    }
    chosen.extend(key_exchanges(&KEY_EXCHANGES, ours, theirs, &mut Vec::new())?);
    chosen.sort_by_key(|transform| transform.kind());
    let aead = chosen.iter().any(|t| matches!(t, Transform::Encr(id, _) if id.is_aead()));
    let integ = chosen.iter().any(|t| matches!(t, Transform::Integ(id) if *id != IntegId::NONE));
    (aead != integ).then_some(chosen)
}

/// What two proposals have in common of one type.
enum Shared {
    /// These, our favourite first; not empty.
    Any(Vec<Transform>),
    /// Nothing, and neither needs any. The transform says that, if theirs has it.
    Absence(Option<Transform>),
}

fn shared(kind: TransformType, ours: &Proposal, theirs: &Proposal) -> Option<Shared> {
    let of_kind = |proposal: &Proposal| -> Vec<Transform> {
        proposal.transforms.iter().copied().filter(|t| t.kind() == kind).collect()
    };
    let (mut our, their) = (of_kind(ours), of_kind(theirs));
    if allows_absence(kind, &our) && allows_absence(kind, &their) {
        let none = absence(kind).filter(|none| their.contains(none));
        our.retain(|transform| their.contains(transform));
        return Some(if our.is_empty() { Shared::Absence(none) } else { Shared::Any(our) });
    }
    our.retain(|transform| their.contains(transform));
    (!our.is_empty()).then_some(Shared::Any(our))
}

/// The key exchanges, first and further ones: our favourites among those combinations in which no method comes twice (RFC
/// 9370 §2.2.1). A favourite that leaves nothing for a later place is passed over.
fn key_exchanges(
    places: &[TransformType],
    ours: &Proposal,
    theirs: &Proposal,
    used: &mut Vec<u16>,
) -> Option<Vec<Transform>> {
    let Some((kind, later)) = places.split_first() else { return Some(Vec::new()) };
    let options = match shared(*kind, ours, theirs)? {
        Shared::Any(both) => both.into_iter().map(Some).collect(),
        Shared::Absence(none) => vec![none],
    };
    options.into_iter().find_map(|option| {
        let method = option.map(Transform::id).filter(|id| *id != KeMethod::NONE.0);
        if method.is_some_and(|id| used.contains(&id)) {
            return None;
        }
        used.extend(method);
        let rest = key_exchanges(later, ours, theirs, used);
        if method.is_some() {
            used.pop();
        }
        rest.map(|rest| option.into_iter().chain(rest).collect())
    })
}

/// In the order in which they are made.
const KEY_EXCHANGES: [TransformType; 8] = [
    TransformType::KE,
    TransformType::ADDKE1,
    TransformType::ADDKE2,
    TransformType::ADDKE3,
    TransformType::ADDKE4,
    TransformType::ADDKE5,
    TransformType::ADDKE6,
    TransformType::ADDKE7,
];

/// A transform type that we do not know at all; an unknown algorithm of a known type is merely never chosen.
fn is_foreign_type(transform: Transform) -> bool {
    matches!(transform, Transform::Unknown { kind, .. } if !(1..=12).contains(&kind))
}

#[cfg(test)]
mod table;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyword::Allow;
    use crate::registry::EncrId;

    fn ike(words: &str) -> Proposal {
        Proposal::ike_from_keywords_allowing(words, Allow::ALL).unwrap()
    }

    fn esp(words: &str) -> Proposal {
        Proposal::esp_from_keywords_allowing(words, Allow::ALL).unwrap()
    }

    #[test]
    fn our_order_of_preference_decides() {
        let ours = [ike("aes256gcm16-prfsha384-ecp384"), ike("aes256-sha256-modp2048")];
        let theirs =
            offer(&[ike("aes256-sha256-modp2048"), ike("aes256gcm16-prfsha384-ecp384")], &[]);
        let (chosen, suite) = choose_ike(&ours, &theirs, None).unwrap();
        assert_eq!(chosen.number, 2);
        assert_eq!(suite.ke, KeMethod::ECP_384);
    }

    #[test]
    fn one_differing_type_is_enough_to_refuse() {
        let ours = [ike("aes256-sha256-modp2048")];
        for other in ["aes128-sha256-modp2048", "aes256-sha384-modp2048", "aes256-sha256-ecp256"] {
            assert!(choose_ike(&ours, &offer(&[ike(other)], &[]), None).is_none(), "{other}");
        }
    }

    #[test]
    fn one_suite_is_left_of_proposals_that_allow_more() {
        let ours = [esp("aes256gcm16-aes128gcm16-ecp384"), esp("aes256-sha256-sha512")];
        let words = ["aes256gcm16-noesn", "aes128gcm16-esn", "aes256-sha512-esn", "aes256-sha256"];
        for (word, number) in words.into_iter().zip([0, 0, 1, 1]) {
            let theirs = offer(&[esp(word)], &[1, 2, 3, 4]);
            let (_, suite) = choose_esp(&ours, &theirs, Fresh::No).unwrap();
            let left = only(&ours, &suite);
            assert_eq!(left.len(), 1, "{word}");
            assert_eq!(first_ke(&left), first_ke(&ours[number..=number]), "{word}");
            let theirs = offer(&ours, &[1, 2, 3, 4]);
            let (_, again) = choose_esp(&left, &theirs, Fresh::No).unwrap();
            assert_eq!(again, suite, "{word}");
        }
        let (_, suite) =
            choose_esp(&ours, &offer(&[esp("aes256gcm16")], &[1, 2, 3, 4]), Fresh::No).unwrap();
        assert!(only(&ours[1..], &suite).is_empty());
        assert!(suite.esn && only(&[esp("aes256gcm16-noesn")], &suite).is_empty());
    }

    #[test]
    fn key_exchange_counts_only_where_one_is_made() {
        let ours = [esp("aes256gcm16-ecp384")];
        let theirs = offer(&[esp("aes256gcm16")], &[1, 2, 3, 4]);
        assert!(choose_esp(&ours, &theirs, Fresh::No).is_some());
        assert!(choose_esp(&ours, &theirs, Fresh::Yes(None)).is_none());
    }

    #[test]
    fn transforms_are_answered_in_the_order_of_their_types() {
        let offered = offer(&[esp("aes256gcm16-ecp384-esn")], &[1, 2, 3, 4]);
        let mut theirs = offered.clone();
        theirs[0].transforms.reverse();
        let (chosen, _) = choose_esp(&offered, &theirs, Fresh::Yes(None)).unwrap();
        let kinds: Vec<_> = chosen.transforms.iter().map(|transform| transform.kind()).collect();
        assert_eq!(kinds, [TransformType::ENCR, TransformType::KE, TransformType::SN]);
    }

    #[test]
    fn a_peer_without_extended_sequence_numbers_gets_short_ones() {
        let theirs = offer(&[esp("aes256gcm16-noesn")], &[1, 2, 3, 4]);
        let (_, suite) = choose_esp(&[esp("aes256gcm16")], &theirs, Fresh::No).unwrap();
        assert!(!suite.esn);
        let theirs = offer(&[esp("aes256gcm16")], &[1, 2, 3, 4]);
        let (_, suite) = choose_esp(&[esp("aes256gcm16")], &theirs, Fresh::No).unwrap();
        assert!(suite.esn);
    }

    /// Every cipher of ESP with one length and with several, as a rekey that may not change the suite sees it.
    #[test]
    fn a_suite_without_a_key_length_is_found_again() {
        for word in
            ["chacha20poly1305", "3des-sha1", "null-sha256", "aes256gmac", "aes128ctr-aescmac"]
        {
            let ours = [esp(word)];
            let theirs = offer(&ours, &[1, 2, 3, 4]);
            let (_, suite) = choose_esp(&ours, &theirs, Fresh::No).unwrap();
            let left = only(&[esp("aes256gcm16"), esp(word)], &suite);
            assert_eq!(left.len(), 1, "{word}");
            let (_, again) = choose_esp(&left, &theirs, Fresh::No).unwrap();
            assert_eq!(again, suite, "{word}");
        }
    }

    /// A policy is what we accept: a peer that offers something weak first does not get it.
    #[test]
    fn what_only_the_peer_offers_is_not_taken() {
        let ours = [ike("aes256-sha256-modp2048")];
        let weak = ike("3des-sha1-modp1024");
        assert!(choose_ike(&ours, &offer(std::slice::from_ref(&weak), &[]), None).is_none());
        let (chosen, _) = choose_ike(&ours, &offer(&[weak, ours[0].clone()], &[]), None).unwrap();
        assert_eq!(chosen.number, 2);
        let null = offer(&[esp("null-sha256")], &[1, 2, 3, 4]);
        assert!(choose_esp(&[esp("aes256gcm16")], &null, Fresh::No).is_none());
    }

    #[test]
    fn a_foreign_transform_type_spoils_a_proposal_but_not_the_next() {
        let mut foreign = ike("aes256-sha256-modp2048");
        foreign.transforms.push(Transform::Unknown { kind: 13, id: 36 });
        let theirs = offer(&[foreign, ike("aes256-sha256-modp2048")], &[]);
        let (chosen, _) = choose_ike(&[ike("aes256-sha256-modp2048")], &theirs, None).unwrap();
        assert_eq!(chosen.number, 2);
    }

    #[test]
    fn further_key_exchanges_are_chosen_place_by_place_and_never_twice() {
        const BASE: &str = "aes256-sha256-x25519";
        let pick = |ours: &[&str], theirs: &[&str]| {
            let ours: Vec<_> = ours.iter().map(|words| ike(words)).collect();
            let theirs: Vec<_> = theirs.iter().map(|words| ike(words)).collect();
            let (chosen, suite) = choose_ike(&ours, &offer(&theirs, &[]), None)?;
            assert!(accept(&offer(&theirs, &[]), std::slice::from_ref(&chosen)).is_some());
            let further: Vec<_> = suite.additional.iter().map(|(at, m)| (at, m.0)).collect();
            Some((chosen.number, chosen.transforms.len(), further))
        };
        let with = |more: &str| format!("{BASE}-{more}");
        let both = with("ke1_mlkem768-ke1_mlkem512-ke2_mlkem768-ke2_mlkem512");
        let (a, b) = (36, 35);
        assert_eq!(pick(&[&both], &[&both]), Some((1, 6, vec![(1, a), (2, b)])));
        // The favourite of the first place is all that is left for the second.
        let narrow = with("ke1_mlkem768-ke1_mlkem512-ke2_mlkem768");
        assert_eq!(pick(&[&narrow], &[&both]), Some((1, 6, vec![(1, b), (2, a)])));
        let one = with("ke1_mlkem768");
        let twice = with("ke1_mlkem768-ke2_mlkem768");
        assert_eq!(pick(&[&twice], &[&twice]), None);
        assert_eq!(pick(&[&one], &[BASE]), None);
        assert_eq!(pick(&[BASE], &[&one]), None);
        assert_eq!(pick(&[&one, BASE], &[&one, BASE]), Some((1, 5, vec![(1, a)])));
        assert_eq!(pick(&[BASE], &[&one, BASE]), Some((2, 4, vec![])));
        let optional = with("ke1_mlkem768-ke1_none");
        assert_eq!(pick(&[&optional], &[BASE]), Some((1, 4, vec![])));
        assert_eq!(pick(&[BASE], &[&optional]), Some((1, 5, vec![])), "NONE is said");
        assert_eq!(pick(&[&optional], &[&optional]), Some((1, 5, vec![(1, a)])));
        let twice_none = with("ke1_none-ke2_none");
        assert_eq!(pick(&[BASE], &[&twice_none]), Some((1, 6, vec![])), "NONE is no method");
        for place in 1..=7 {
            let alone = with(&format!("ke{place}_mlkem768"));
            assert_eq!(pick(&[&alone], &[&alone]), Some((1, 5, vec![(place, a)])));
        }
        // The example of RFC 9370 §2.2.1.
        let theirs =
            with("ke2_mlkem768-ke2_mlkem512-ke3_mlkem768-ke3_mlkem512-ke5_mlkem1024-ke5_none");
        let ours = with("ke2_mlkem512-ke2_mlkem768-ke3_mlkem768-ke3_mlkem512");
        assert_eq!(pick(&[&ours], &[&theirs]), Some((1, 7, vec![(2, b), (3, a)])));
    }

    #[test]
    fn without_intermediate_exchanges_only_what_is_optional_is_left() {
        let all = ["ke1_mlkem768", "ke1_mlkem768-ke1_none", "ke1_none-ke2_mlkem512", "ke3_none"];
        let all = all.map(|more| ike(&format!("aes256-sha256-x25519-{more}")));
        let left: Vec<String> = without_additional(&all).iter().map(ToString::to_string).collect();
        assert_eq!(
            left,
            ["aes256-sha256-curve25519-ke1_none", "aes256-sha256-curve25519-ke3_none"]
        );
        assert!(has_additional(&all) && !has_additional(&without_additional(&all)));
        assert!(without_ke(&all).iter().all(|proposal| proposal.transforms.len() == 3));
    }

    #[test]
    fn an_offer_is_numbered_from_1_and_carries_the_spi_of_this_time() {
        let words = ["aes256gcm16", "aes256-sha256"];
        let before = offer(&words.map(esp), &[1, 2, 3, 4]);
        let now = offer(&before[1..], &[5, 6, 7, 8]);
        let shown = |offered: &[Proposal]| -> Vec<_> {
            offered.iter().map(|proposal| (proposal.number, proposal.spi.clone())).collect()
        };
        assert_eq!(shown(&before), [(1, vec![1, 2, 3, 4]), (2, vec![1, 2, 3, 4])]);
        assert_eq!(shown(&now), [(1, vec![5, 6, 7, 8])]);
        assert_eq!(now[0].transforms, esp(words[1]).transforms);
    }

    #[test]
    fn key_exchange_methods_come_in_the_order_of_the_proposals_and_none_is_not_one() {
        let mut optional = esp("aes256gcm16");
        optional.transforms.extend([KeMethod::NONE, KeMethod::MODP_2048].map(Transform::Ke));
        let proposals = [optional, esp("aes256gcm16"), esp("aes256-sha256-ecp384-ecp256")];
        let methods = [KeMethod::MODP_2048, KeMethod::ECP_384, KeMethod::ECP_256];
        assert!(ke_methods(&proposals).eq(methods));
        assert_eq!(first_ke(&proposals), Some(KeMethod::MODP_2048));
        assert_eq!(first_ke(&proposals[1..2]), None);
    }

    #[test]
    fn an_answer_has_to_be_a_part_of_the_offer() {
        let offered = offer(&[ike("aes256-sha256-modp2048")], &[]);
        let (chosen, _) = choose_ike(&offered, &offered, None).unwrap();
        assert!(accept(&offered, std::slice::from_ref(&chosen)).is_some());
        let mut wider = chosen.clone();
        wider.transforms.push(Transform::Ke(KeMethod::ECP_256));
        assert!(accept(&offered, &[wider]).is_none());
        let mut weaker = chosen.clone();
        weaker.transforms[0] = Transform::Encr(EncrId::AES_CBC, Some(128));
        assert!(accept(&offered, &[weaker]).is_none());
        assert!(accept(&offered, &[chosen.clone(), chosen]).is_none());
    }

    #[test]
    fn what_the_peer_sent_decides_among_what_both_accept() {
        let ours = [ike("aes256-sha256-ecp384-ecp256"), ike("aes256-sha256-modp2048")];
        let theirs = offer(&ours, &[]);
        let pick = |sent| choose_ike(&ours, &theirs, sent).unwrap().1.ke;
        assert_eq!(pick(None), KeMethod::ECP_384);
        for method in [KeMethod::ECP_384, KeMethod::ECP_256, KeMethod::MODP_2048] {
            assert_eq!(pick(Some(method)), method);
        }
        assert_eq!(
            pick(Some(KeMethod::CURVE25519)),
            KeMethod::ECP_384,
            "not what we do not accept"
        );
        let ours = [esp("aes256gcm16-ecp384"), esp("aes256gcm16-modp2048")];
        let theirs = offer(&ours, &[1, 2, 3, 4]);
        let pick = |sent| choose_esp(&ours, &theirs, Fresh::Yes(sent)).unwrap().1.ke;
        assert_eq!(pick(Some(KeMethod::MODP_2048)), Some(KeMethod::MODP_2048));
        assert_eq!(pick(Some(KeMethod::ECP_256)), Some(KeMethod::ECP_384));
    }

    #[test]
    fn a_peer_that_does_not_speak_of_sequence_numbers_has_short_ones() {
        let silent = |words: &str| {
            let mut proposals = offer(&[esp(words)], &[1, 2, 3, 4]);
            proposals[0].transforms.retain(|transform| transform.kind() != TransformType::SN);
            proposals
        };
        let theirs = silent("aes256gcm16");
        let (chosen, suite) = choose_esp(&[esp("aes256gcm16")], &theirs, Fresh::No).unwrap();
        assert!(!suite.esn);
        assert_eq!(
            chosen.transforms, theirs[0].transforms,
            "our answer does not speak of them either"
        );
        assert!(choose_esp(&[esp("aes256gcm16-esn")], &theirs, Fresh::No).is_none());
        let offered = offer(&[esp("aes256gcm16")], &[1, 2, 3, 4]);
        let accepted = accept(&offered, &theirs).unwrap();
        assert!(!ChildSuite::from_transforms(&accepted.transforms).unwrap().esn);
        let offered = offer(&[esp("aes256gcm16-esn")], &[1, 2, 3, 4]);
        assert!(accept(&offered, &theirs).is_none());
    }
}
