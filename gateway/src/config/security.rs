//! `[security]`: algorithms that the operator does not want to see, whatever a policy says.
//!
//! ```text
//!   warn   = ["modp2048"]  ─► W0301 at the word in `ike` or `esp`    ... = ["aes256-sha256-modp2048"]
//!   forbid = ["modp1024"]  ─► E0137                                                       ^^^^^^^^
//!                             of a built-in policy: at the connection that uses it
//! ```

use ikev2::Proposal;
use ikev2::keyword::{self, Algorithm};

use super::codes::Code;
use super::keys::did_you_mean;
use super::model::{Policy, Security};
use super::raw::RawSecurity;
use super::report::Diagnostic;
use super::section::{Field, Findings};
use super::source::{At, Place};

impl Security {
    pub(super) fn read(raw: &RawSecurity, findings: &mut Findings) -> Self {
        Self { warn: words(&raw.warn, findings), forbid: words(&raw.forbid, findings) }
    }

    /// Looks at a proposal as somebody wrote it.
    pub(super) fn check_text(
        &self,
        text: &At<String>,
        proposal: &Proposal,
        findings: &mut Findings,
    ) {
        for (word, code) in self.unwanted(proposal) {
            let mut at = 0;
            let mut place = text.place.clone();
            for part in text.value.split('-') {
                if canonical(part) == Some(word.as_str()) {
                    place = text.place.inside_quotes(&text.value, at..at + part.len());
                }
                at += part.len() + 1;
            }
            findings.add(
                diagnostic(code, &word, &place)
                    .label("this one")
                    .fix(format!("take `{word}` out of the proposal, or out of [security]")),
            );
        }
    }

    /// Looks at what a connection uses of the proposals that nobody wrote, those of a built-in policy.
    pub(super) fn check_built_in(
        &self,
        policy: &Policy,
        built_in: &[&Proposal],
        place: &Place,
        findings: &mut Findings,
    ) {
        let mut said: Vec<String> = Vec::new();
        for (word, code) in built_in.iter().flat_map(|proposal| self.unwanted(proposal)) {
            if said.contains(&word) {
                continue;
            }
            let (name, base) = (&policy.name, "list `ike` and `esp` in a policy of your own");
            findings.add(
                diagnostic(code, &word, place)
                    .label(format!("policy `{name}` has it from a built-in one"))
                    .fix(format!("{base}, or take `{word}` out of [security]")),
            );
            said.push(word);
        }
    }

    /// The words of a proposal that are not wanted, and how much; a word of both lists is forbidden.
    fn unwanted(&self, proposal: &Proposal) -> Vec<(String, Code)> {
        let judged = |word: String| {
            let method = without_place(&word);
            let has = |list: &[String]| list.iter().any(|one| *one == word || *one == method);
            match (has(&self.forbid), has(&self.warn)) {
                (true, _) => Some((word, Code::Forbidden)),
                (false, true) => Some((word, Code::WeakAlgorithm)),
                (false, false) => None,
            }
        };
        proposal.transforms.iter().map(ToString::to_string).filter_map(judged).collect()
    }
}

/// The method of a further key exchange, which is unwanted in every place: `mlkem768` of `ke1_mlkem768`.
fn without_place(word: &str) -> &str {
    let further = word.strip_prefix("ke").and_then(|rest| rest.split_once('_'));
    further.map_or(word, |(_, method)| method)
}

fn diagnostic(code: Code, word: &str, place: &Place) -> Diagnostic {
    let list = if code == Code::Forbidden { "forbid" } else { "warn" };
    let does = if code == Code::Forbidden { "forbids" } else { "warns of" };
    Diagnostic::at(code, place, format!("[security] {does} algorithm `{word}`"))
        .why(format!("`{list}` in [security] names it"))
}

fn words(field: &Field<Vec<At<String>>>, findings: &mut Findings) -> Vec<String> {
    let mut known = Vec::new();
    for text in field.value().into_iter().flatten() {
        let word = text.value.as_str();
        let Some(algorithm) = keyword::find(word) else {
            findings.add(
                Diagnostic::at(
                    Code::UnknownAlgorithm,
                    &text.place,
                    format!("unknown algorithm `{word}` in [security]"),
                )
                .label("no algorithm has this name")
                .fix("write one keyword of strongSwan in each text, such as \"modp1024\"")
                .help(did_you_mean(word, keyword::keywords())),
            );
            continue;
        };
        known.push(algorithm.word().to_owned());
    }
    known
}

/// The word that is printed for what any of its aliases means.
fn canonical(word: &str) -> Option<&'static str> {
    keyword::find(word).map(Algorithm::word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_unwanted_in_every_place() {
        let security =
            Security { warn: Vec::new(), forbid: vec!["mlkem512".into(), "ke2_ecp256".into()] };
        let found = |words: &str| {
            let proposal = Proposal::ike_from_keywords(words).unwrap();
            security.unwanted(&proposal).into_iter().map(|(word, _)| word).collect::<Vec<_>>()
        };
        assert_eq!(found("aes256-sha256-mlkem512"), ["mlkem512"]);
        assert_eq!(found("aes256-sha256-x25519-ke1_mlkem512"), ["ke1_mlkem512"]);
        assert_eq!(found("aes256-sha256-x25519-ke1_ecp256-ke2_ecp256"), ["ke2_ecp256"]);
        assert!(found("aes256-sha256-x25519-ke1_mlkem768").is_empty());
    }
}
