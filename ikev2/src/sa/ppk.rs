//! Whether a post-quantum pre-shared key is used (RFC 8784 §3), as the responder sees it, as a pure function.
//!
//! ```text
//!   initiator                                          responder
//!   IKE_SA_INIT  N(USE_PPK) ──►                        ◄── N(USE_PPK)            both have any
//!   IKE_AUTH     AUTH(with PPK), N(PPK_IDENTITY: id)
//!                [, N(NO_PPK_AUTH: AUTH without)] ──►  ◄── N(PPK_IDENTITY)       it has this one: SK_d, SK_pi, SK_pr are mixed
//!                                                      ◄── without it            it has not, and neither side insists
//! ```
//!
//! With a peer that can do that the key is mixed in earlier, see early.rs. NO_PPK_AUTH is left out by an initiator that insists. SK_d of a rekeyed IKE SA has the key in it by descent (§3).

use crate::config::{Ppk, Psk};
use crate::error::PpkProblem;
use crate::registry::NotifyType;
use crate::wire::message::Body;
use crate::wire::ppk::PpkId;

/// What the responder makes of an IKE_AUTH request.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    /// With this key.
    With(&'a PpkId, &'a Psk),
    /// Without it; these are the authentication data.
    Without(&'a [u8]),
    /// Not at all.
    Refused(PpkProblem),
}

/// Table 1 of RFC 8784. `used`: both sides sent USE_PPK; `auth`: what the AUTH payload has.
pub(super) fn choose<'a>(
    ours: Option<&'a Ppk>,
    used: bool,
    body: &'a Body<'_>,
    auth: &'a [u8],
) -> Choice<'a> {
    let required = ours.is_some_and(|ppk| ppk.required);
    if !used {
        return if required { Choice::Refused(PpkProblem::Absent) } else { Choice::Without(auth) };
    }
    let Some(named) = body.notify(NotifyType::PPK_IDENTITY) else {
        return Choice::Refused(PpkProblem::Unnamed);
    };
    if let Some((id, key)) = ours.and_then(|ppk| ppk.named(named.data)) {
        return Choice::With(id, key);
    }
    match body.notify(NotifyType::NO_PPK_AUTH) {
        Some(without) if !required => Choice::Without(without.data),
        _ => Choice::Refused(PpkProblem::Unknown(PpkId::parse(named.data))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PpkKey;
    use crate::wire::message::Chain;

    fn ppk(name: &str, required: bool) -> Ppk {
        Ppk::new(PpkId::fixed(name), Psk::new(vec![1; 32]), required)
    }

    /// What becomes of a request that names `theirs`, with or without NO_PPK_AUTH.
    fn chosen(ours: Option<&Ppk>, used: bool, theirs: Option<&PpkId>, fallback: bool) -> String {
        let mut chain = Chain::new();
        if let Some(id) = theirs {
            chain.notify(NotifyType::PPK_IDENTITY, &id.emit());
        }
        if fallback {
            chain.notify(NotifyType::NO_PPK_AUTH, b"plain");
        }
        let body = Body::parse(chain.first(), chain.octets()).unwrap();
        match choose(ours, used, &body, b"auth") {
            Choice::With(id, _) => format!("with {id}"),
            Choice::Without(data) => format!("without, {}", String::from_utf8_lossy(data)),
            Choice::Refused(problem) => format!("{problem:?}"),
        }
    }

    /// RFC 8784 §3, Table 1, line by line.
    #[test]
    fn decides_as_the_table_says() {
        let (optional, required) = (ppk("a", false), ppk("a", true));
        let (a, b) = (PpkId::fixed("a"), PpkId::fixed("b"));
        let case = |ours, used, theirs, fallback| chosen(ours, used, theirs, fallback);
        assert_eq!(case(None, false, None, false), "without, auth");
        assert_eq!(case(Some(&optional), false, None, false), "without, auth");
        assert_eq!(case(Some(&required), false, None, false), "Absent");
        let unknown = format!("Unknown(Some({b:?}))");
        assert_eq!(case(Some(&optional), true, Some(&b), false), unknown);
        assert_eq!(case(Some(&required), true, Some(&b), true), unknown);
        assert_eq!(case(Some(&optional), true, Some(&b), true), "without, plain");
        assert_eq!(case(None, true, Some(&b), true), "without, plain");
        for ours in [&optional, &required] {
            for fallback in [false, true] {
                assert_eq!(case(Some(ours), true, Some(&a), fallback), "with a");
                assert_eq!(case(Some(ours), true, None, fallback), "Unnamed");
            }
        }
    }

    #[test]
    fn any_of_several_keys_is_taken() {
        let other = PpkKey { id: PpkId::fixed("b"), key: Psk::new(vec![2; 32]) };
        let both = Ppk { others: vec![other], ..ppk("a", true) };
        for name in ["a", "b"] {
            let named = PpkId::fixed(name);
            assert_eq!(chosen(Some(&both), true, Some(&named), false), format!("with {name}"));
        }
    }

    #[test]
    fn the_kind_belongs_to_the_name() {
        let ours = ppk("a", true);
        assert_eq!(
            chosen(Some(&ours), true, Some(&PpkId::opaque("a")), false),
            format!("Unknown(Some({:?}))", PpkId::opaque("a"))
        );
    }
}
