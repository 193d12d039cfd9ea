//! Algorithms of other programs: their words to ours, and the weak ones out.
//!
//! ```text
//!   aes128-sha1;modp1536        CloudStack, Libreswan      ─► aes128 sha1 modp1536   ─► left out, or `allow_legacy`
//!   aes_gcm256-sha2_256-dh19    Libreswan                  ─► aes256gcm16-prfsha256-ecp256
//!   aes256gcm16-sha256-ecp384   strongSwan: the hash is that of the PRF
//!   aes-256, sha256, group14    VPNaaS                     ─► aes256-sha256-modp2048
//! ```

use ikev2::keyword::{Allow, Standing, find};
use ikev2::{Proposal, Transform};

use super::foreign::Offer;
use super::note::Note;
use crate::config::alias;

/// For what a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Ike,
    Esp,
}

/// What came of proposals.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// In our words, each fit for a policy.
    pub(super) proposals: Vec<String>,
    /// Whether one of them needs `allow_legacy`.
    pub(super) legacy: bool,
    pub(super) notes: Vec<Note>,
}

/// All proposals of a key.
pub(super) fn translate(what: For, offers: &[Offer], allow_legacy: bool) -> Translated {
    let mut result = Translated::default();
    for offer in offers {
        one(what, offer, allow_legacy, &mut result);
    }
    if !offers.is_empty() && result.proposals.is_empty() {
        let (key, place) = (what.key(), offers.first().and_then(|offer| offer.place.as_ref()));
        result.notes.push(
            Note::new(place, format!("nothing of its `{key}` proposals is good enough; those of the built-in policy are offered"))
                .fix("give the peer stronger algorithms, such as aes256gcm16-prfsha384-ecp384; if it has none, import with --allow-legacy")
                .grave(),
        );
    }
    result
}

impl For {
    const fn key(self) -> &'static str {
        match self {
            Self::Ike => "ike",
            Self::Esp => "esp",
        }
    }

    fn parse(self, text: &str, legacy: bool) -> Result<Proposal, ikev2::KeywordError> {
        let allow = Allow { legacy, ..Allow::default() };
        match self {
            Self::Ike => Proposal::ike_from_keywords_allowing(text, allow),
            Self::Esp => Proposal::esp_from_keywords_allowing(text, allow),
        }
    }
}

fn one(what: For, offer: &Offer, allow_legacy: bool, result: &mut Translated) {
    let mut kept = Vec::new();
    // Words by the reason why they are left out.
    let mut out: Vec<(&str, Vec<String>)> = Vec::new();
    for word in split(&offer.words) {
        let Some(ours) = alias(&word) else { continue };
        match verdict(what, &ours, allow_legacy) {
            Ok(()) if !kept.contains(&ours) => kept.push(ours),
            Ok(()) => {}
            Err(why) => match out.iter_mut().find(|(known, _)| *known == why) {
                Some((_, words)) => words.push(format!("`{word}`")),
                None => out.push((why, vec![format!("`{word}`")])),
            },
        }
    }
    let place = offer.place.as_ref();
    for (why, words) in &out {
        let what = format!("left out of `{}`, because {why}: {}", what.key(), words.join(", "));
        result.notes.push(Note::new(place, what));
    }
    for text in divide(what, &kept) {
        match what.parse(&text, allow_legacy) {
            Ok(proposal) => {
                let text = proposal.to_string();
                result.legacy |= what.parse(&text, false).is_err();
                if !result.proposals.contains(&text) {
                    result.proposals.push(text);
                }
            }
            // What is left of a proposal was said already.
            Err(_) if !out.is_empty() => {}
            Err(error) => {
                let what = format!("a proposal of `{}` is left out: {error}", what.key());
                result.notes.push(Note::new(place, what));
            }
        }
    }
}

/// Words, whatever stands between them. `!` says that there are no others, which is always so here.
fn split(words: &str) -> Vec<String> {
    let words = words.trim().trim_end_matches('!');
    let parts = words.split(['-', ';', '+']).map(|word| word.trim().to_ascii_lowercase());
    parts.filter(|word| !word.is_empty()).collect()
}

/// Whether a word may stand in a proposal here, or why not.
fn verdict(what: For, word: &str, allow_legacy: bool) -> Result<(), &'static str> {
    let further = word.starts_with("ke") && word.contains('_');
    let method = word.split_once('_').filter(|_| further).map_or(word, |(_, method)| method);
    if further && method == "none" {
        return Ok(());
    }
    let Some(row) = find(method) else { return Err("no algorithm has this name here") };
    let level = if what == For::Ike { row.ike } else { row.esp };
    match (row.standing, level) {
        (Standing::Unsupported, _) => Err("nobody should use it any more, or nobody asks for it"),
        (Standing::Legacy { .. }, _) if !allow_legacy => {
            Err("it is too weak (--allow-legacy keeps it)")
        }
        (Standing::Unencrypted, _) => Err("it leaves packets readable"),
        (_, None) => Err("it has no place there"),
        (_, Some(_)) => Ok(()),
    }
}

/// AEAD and other ciphers go into proposals of their own (RFC 7296 §3.3). What an AEAD needs besides is made of the rest.
fn divide(what: For, words: &[String]) -> Vec<String> {
    let kind = |word: &String| find(word).map(|row| row.transform);
    let is_cipher = |word: &&String| matches!(kind(word), Some(Transform::Encr(..)));
    let is_aead =
        |word: &String| matches!(kind(word), Some(Transform::Encr(id, _)) if id.is_aead());
    let is_hash = |word: &&String| matches!(kind(word), Some(Transform::Integ(_)));
    let is_prf = |word: &&String| matches!(kind(word), Some(Transform::Prf(_)));
    let (aead, plain): (Vec<&String>, Vec<&String>) =
        words.iter().filter(is_cipher).partition(|word| is_aead(word));
    let hashes: Vec<&String> = words.iter().filter(is_hash).collect();
    let prfs: Vec<&String> = words.iter().filter(is_prf).collect();
    let rest = words.iter().filter(|word| !is_cipher(word) && !is_hash(word) && !is_prf(word));
    let rest: Vec<&String> = rest.collect();
    let join = |parts: &[&[String]]| parts.concat().join("-");
    let owned = |words: &[&String]| words.iter().map(|word| (*word).clone()).collect::<Vec<_>>();
    let mut proposals = Vec::new();
    if !aead.is_empty() {
        let implied = match (what, prfs.is_empty(), hashes.is_empty()) {
            (For::Esp, ..) => Vec::new(),
            (For::Ike, false, _) => owned(&prfs),
            (For::Ike, true, false) => hashes.iter().map(|hash| format!("prf{hash}")).collect(),
            (For::Ike, true, true) => vec!["prfsha384".to_owned(), "prfsha256".to_owned()],
        };
        proposals.push(join(&[&owned(&aead), &implied, &owned(&rest)]));
    }
    if !plain.is_empty() || aead.is_empty() && !words.is_empty() {
        proposals.push(join(&[&owned(&plain), &owned(&hashes), &owned(&prfs), &owned(&rest)]));
    }
    proposals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(what: For, words: &str, legacy: bool) -> (Vec<String>, usize) {
        let offer = Offer { words: words.into(), place: None };
        let result = translate(what, &[offer], legacy);
        (result.proposals, result.notes.len())
    }

    #[test]
    fn words_of_others_become_ours() {
        for (what, theirs, ours) in [
            (For::Ike, "aes256-sha2_256;dh14", "aes256-sha256-modp2048"),
            (For::Ike, "aes_gcm256-sha2_512-dh19!", "aes256gcm16-prfsha512-ecp256"),
            (For::Ike, "aes_gcm_c_128-sha2-dh31", "aes128gcm16-prfsha256-curve25519"),
            (For::Esp, "aes_gcm256-null;dh20", "aes256gcm16-ecp384"),
            (For::Esp, "aes256gcm16-sha256", "aes256gcm16"),
            (For::Esp, "aes_ccm_a_128", "aes128ccm8"),
            (For::Esp, "aes-sha256", "aes128-sha256"),
            (For::Ike, "aes256gcm16-ecp384", "aes256gcm16-prfsha384-prfsha256-ecp384"),
        ] {
            assert_eq!(of(what, theirs, false), (vec![ours.to_owned()], 0), "{theirs}");
        }
        let mixed = of(For::Ike, "aes256-aes256gcm16-sha256-modp3072", false).0;
        assert_eq!(mixed, ["aes256gcm16-prfsha256-modp3072", "aes256-sha256-modp3072"]);
    }

    #[test]
    fn weak_ones_need_to_be_allowed() {
        assert_eq!(
            of(For::Ike, "aes256-sha256-sha1-modp1024-modp2048", false),
            (vec!["aes256-sha256-modp2048".into()], 1)
        );
        let (none, notes) = of(For::Ike, "aes128-sha1;modp1536", false);
        assert!(none.is_empty());
        assert_eq!(notes, 2, "two words in one, and what is done instead");
        let (kept, notes) = of(For::Ike, "aes128-sha1;modp1536", true);
        assert_eq!((kept, notes), (vec!["aes128-sha1-modp1536".to_owned()], 0));
        let (none, _) = of(For::Ike, "aes128-md5-modp2048", true);
        assert!(none.is_empty(), "nobody gets MD5");
    }
}
