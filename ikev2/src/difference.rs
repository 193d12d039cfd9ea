//! How far two lists of proposals are apart: for whoever has to explain NO_PROPOSAL_CHOSEN (RFC 7296 §2.7).
//!
//! ```text
//!   ours     1: aes256-sha256-modp2048                    2: aes256gcm16-prfsha384-ecp384
//!   theirs   1: 3des-sha1-modp1024     2: aes256-sha256-modp3072
//!
//!   closest  ours 1, theirs 2: KE     ours MODP_2048, theirs MODP_3072
//! ```
//!
//! Nothing of this goes over the wire.

use crate::registry::{IntegId, KeMethod, SnId, TransformType};
use crate::wire::proposal::{Proposal, Transform};

/// Two proposals, and where they have nothing in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Position in our list, from 0.
    pub ours: usize,
    /// Position in the peer's list, from 0.
    pub theirs: usize,
    /// The transform types without a common algorithm, in the order of their numbers; never empty.
    pub types: Vec<TypeDifference>,
}

/// One transform type without a common algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeDifference {
    /// The type; one that we do not know for what makes a proposal of the peer unusable (RFC 7296 §3.3.6).
    pub kind: TransformType,
    /// What we have of it; empty if our proposal does not name the type.
    pub ours: Vec<Transform>,
    /// What the peer has of it.
    pub theirs: Vec<Transform>,
}

/// The pair of proposals that differs in the fewest transform types; among equals the first of theirs, then of ours.
/// `None` if a list is empty, or if the closest two differ in no type.
#[must_use]
pub fn closest(ours: &[Proposal], theirs: &[Proposal]) -> Option<Difference> {
    let pairs = theirs.iter().enumerate().flat_map(|(their, theirs)| {
        ours.iter().enumerate().filter(|(_, ours)| ours.protocol == theirs.protocol).map(
            move |(our, ours)| Difference { ours: our, theirs: their, types: types(ours, theirs) },
        )
    });
    let nearest = pairs.min_by_key(|difference| difference.types.len())?;
    (!nearest.types.is_empty()).then_some(nearest)
}

fn types(ours: &Proposal, theirs: &Proposal) -> Vec<TypeDifference> {
    let all = ours.transforms.iter().chain(&theirs.transforms);
    let mut kinds: Vec<TransformType> = all.map(|transform| transform.kind()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of = |proposal: &Proposal, kind| -> Vec<Transform> {
        proposal.transforms.iter().copied().filter(|t| t.kind() == kind).collect()
    };
    let each = kinds.into_iter().map(|kind| {
        let (ours, theirs) = (of(ours, kind), of(theirs, kind));
        TypeDifference { kind, ours, theirs }
    });
    each.filter(|pair| !pair.agrees()).collect()
}

impl TypeDifference {
    fn agrees(&self) -> bool {
        let common = self.ours.iter().any(|transform| self.theirs.contains(transform));
        common || allows_absence(self.kind, &self.ours) && allows_absence(self.kind, &self.theirs)
    }
}

/// Whether a side that lists these transforms of one type can do without the type (RFC 7296 §3.3.3): NONE of those that
/// have it, and short sequence numbers, which an old peer does not speak of.
pub(crate) fn allows_absence(kind: TransformType, listed: &[Transform]) -> bool {
    listed.is_empty() || absence(kind).is_some_and(|none| listed.contains(&none))
}

/// The transform that says the same as to name none of this type.
pub(crate) fn absence(kind: TransformType) -> Option<Transform> {
    match kind {
        TransformType::INTEG => Some(Transform::Integ(IntegId::NONE)),
        TransformType::KE => Some(Transform::Ke(KeMethod::NONE)),
        TransformType::SN => Some(Transform::Sn(SnId::SHORT)),
        kind => kind.additional_ke().map(|place| Transform::AddKe(place, KeMethod::NONE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ike(words: &[&str]) -> Vec<Proposal> {
        words.iter().map(|words| Proposal::ike_from_keywords(words).unwrap()).collect()
    }

    fn esp(words: &[&str]) -> Vec<Proposal> {
        words.iter().map(|words| Proposal::esp_from_keywords(words).unwrap()).collect()
    }

    fn kinds(ours: &[Proposal], theirs: &[Proposal]) -> Option<(usize, usize, Vec<TransformType>)> {
        let nearest = closest(ours, theirs)?;
        let kinds = nearest.types.iter().map(|differing| differing.kind).collect();
        Some((nearest.ours, nearest.theirs, kinds))
    }

    #[test]
    fn the_pair_with_the_fewest_differences_is_named() {
        let ours = ike(&["aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"]);
        let theirs = ike(&["aes128-sha512-ecp256", "aes256-sha256-modp3072"]);
        let nearest = closest(&ours, &theirs).unwrap();
        assert_eq!((nearest.ours, nearest.theirs), (1, 1));
        let [group] = &nearest.types[..] else { panic!("{nearest:?}") };
        assert_eq!(group.kind, TransformType::KE);
        assert_eq!(group.ours, [Transform::Ke(KeMethod::MODP_2048)]);
        assert_eq!(group.theirs, [Transform::Ke(KeMethod::MODP_3072)]);
    }

    #[test]
    fn each_type_by_itself() {
        let cbc = "aes256-sha256-modp2048";
        for (theirs, kind) in [
            ("aes128-sha256-modp2048", TransformType::ENCR),
            ("aes256-sha256-prfsha512-modp2048", TransformType::PRF),
            ("aes256-sha512-prfsha256-modp2048", TransformType::INTEG),
            ("aes256-sha256-modp3072", TransformType::KE),
        ] {
            assert_eq!(kinds(&ike(&[cbc]), &ike(&[theirs])), Some((0, 0, vec![kind])), "{theirs}");
        }
        let numbers = kinds(&esp(&["aes256gcm16-esn"]), &esp(&["aes256gcm16-noesn"]));
        assert_eq!(numbers, Some((0, 0, vec![TransformType::SN])));
    }

    #[test]
    fn absence_is_no_difference_where_the_rules_allow_it() {
        let mut silent = esp(&["aes256gcm16-noesn"]);
        silent[0].transforms.retain(|transform| transform.kind() != TransformType::SN);
        silent[0].transforms.push(Transform::Integ(IntegId::NONE));
        assert_eq!(closest(&esp(&["aes256gcm16-noesn"]), &silent), None);
        let strict = kinds(&esp(&["aes256gcm16-esn"]), &silent);
        assert_eq!(strict, Some((0, 0, vec![TransformType::SN])));
    }

    #[test]
    fn what_cannot_be_compared_has_no_closest() {
        let ours = ike(&["aes256-sha256-modp2048"]);
        assert_eq!(closest(&ours, &[]), None);
        assert_eq!(closest(&[], &ours), None);
        assert_eq!(closest(&ours, &ours), None);
        assert_eq!(closest(&ours, &esp(&["aes256-sha256"])), None, "another protocol");
    }

    #[test]
    fn a_further_key_exchange_is_a_difference_unless_it_is_optional() {
        let classical = ike(&["aes256-sha256-x25519"]);
        let both = ike(&["aes256-sha256-x25519-ke1_mlkem768"]);
        assert_eq!(kinds(&classical, &both), Some((0, 0, vec![TransformType::ADDKE1])));
        let optional = ike(&["aes256-sha256-x25519-ke1_mlkem768-ke1_none"]);
        assert_eq!(closest(&classical, &optional), None);
    }

    #[test]
    fn an_unknown_type_is_a_difference() {
        let ours = ike(&["aes256-sha256-modp2048"]);
        let mut theirs = ours.clone();
        theirs[0].transforms.push(Transform::Unknown { kind: 13, id: 36 });
        assert_eq!(kinds(&ours, &theirs), Some((0, 0, vec![TransformType(13)])));
    }
}
