//! Policies: what algorithms, for how long, and when a peer counts as dead.
//!
//! ```text
//!   built-in `default` ◄── extends ── [policy.strong] ◄── extends ── [policy.legacy]
//!                                          ▲
//!   [connection.berlin] policy = "strong" ─┘   dpd = {..} of the connection goes on top
//! ```
//!
//! A policy that extends nothing starts from `default`, so every key of it is optional.

use std::collections::BTreeMap;
use std::time::Duration;

use ikev2::keyword::{Algorithm, Allow, Level, Standing, TABLE, find, keywords};
use ikev2::{Dpd, DpdAction, KeywordError, Lifetime, Proposal, Transform};

use super::alias::alias;
use super::codes::Code;
use super::keys::did_you_mean;
use super::model::{Policy, Security};
use super::raw::{Death, RawDpd, RawPolicy};
use super::report::Diagnostic;
use super::section::{Field, Findings};
use super::source::{At, Place};
use super::value::{check_name, shown_duration};

/// The policies that exist, by name; `None` for one that has errors.
pub(super) struct Policies(BTreeMap<String, Option<Policy>>);

impl Policies {
    pub(super) fn resolve(raw: &[RawPolicy], security: &Security, findings: &mut Findings) -> Self {
        let mut policies = Self(built_in());
        let mut own: BTreeMap<&str, &RawPolicy> = BTreeMap::new();
        for policy in raw {
            let name = policy.name.value.as_str();
            check_name("policy", &policy.name, findings);
            if policies.0.contains_key(name) {
                findings.add(named_like_built_in(&policy.name));
            } else if let Some(first) = own.get(name) {
                findings.add(twice("policy", &policy.name, &first.name.place));
            } else {
                own.insert(name, policy);
            }
        }
        for policy in raw {
            policies.resolve_one(policy, security, &own, &mut Vec::new(), findings);
        }
        policies
    }

    /// Resolves what the policy extends first. `path` is how we came here.
    fn resolve_one<'r>(
        &mut self,
        raw: &'r RawPolicy,
        security: &Security,
        own: &BTreeMap<&str, &'r RawPolicy>,
        path: &mut Vec<&'r str>,
        findings: &mut Findings,
    ) {
        let name = raw.name.value.as_str();
        if self.0.contains_key(name) {
            return;
        }
        path.push(name);
        if let Some(base) = raw.extends.given() {
            if path.contains(&base.value.as_str()) {
                findings.add(extends_loop(base, path));
                self.0.insert(name.to_owned(), None);
                return;
            }
            if let Some(base) = own.get(base.value.as_str()) {
                self.resolve_one(base, security, own, path, findings);
            }
        }
        let base = match &raw.extends {
            Field::Given(base) => self.find(base, "extends", findings),
            Field::Wrong => None,
            Field::Absent => self.0.get(DEFAULT).cloned().flatten(),
        };
        let policy = derive(raw, base, security, findings);
        self.0.insert(name.to_owned(), policy);
    }

    /// The policy that `key = "NAME"` asks for; `None` after an error, here or in the policy itself.
    pub(super) fn find(
        &self,
        name: &At<String>,
        key: &str,
        findings: &mut Findings,
    ) -> Option<Policy> {
        if let Some(policy) = self.0.get(&name.value) {
            return policy.clone();
        }
        let names = || self.0.keys().map(String::as_str);
        let help = did_you_mean(&name.value, names())
            .unwrap_or_else(|| format!("policies: {}", names().collect::<Vec<_>>().join(", ")));
        findings.add(
            Diagnostic::at(
                Code::UnknownPolicy,
                &name.place,
                format!("unknown policy `{}`", name.value),
            )
            .label(format!("`{key}` wants the name of a policy"))
            .fix(format!("define [policy.{}], or name one that exists", name.value))
            .help(Some(help)),
        );
        None
    }

    /// What a connection without `policy` uses.
    pub(super) fn default_policy(&self) -> Option<Policy> {
        self.0.get(DEFAULT).cloned().flatten()
    }
}

pub(super) fn twice(what: &str, second: &At<String>, first: &Place) -> Diagnostic {
    Diagnostic::at(
        Code::Duplicate,
        &second.place,
        format!("{what} `{}` is defined twice", second.value),
    )
    .label("again here")
    .related(first, "first here")
    .fix("rename one or delete it")
}

fn named_like_built_in(name: &At<String>) -> Diagnostic {
    let text = &name.value;
    Diagnostic::at(Code::Duplicate, &name.place, format!("policy `{text}` is built in"))
        .label("this name is taken")
        .fix(format!("give yours another name and write `extends = \"{text}\"` in it"))
}

fn extends_loop(base: &At<String>, path: &[&str]) -> Diagnostic {
    let circle = path.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" extends ");
    Diagnostic::at(Code::ExtendsLoop, &base.place, "policies extend each other in a circle")
        .label(format!("{circle} extends `{}`", base.value))
        .why("there is no policy to start from")
        .fix("delete one `extends`, or let it name a built-in policy such as \"default\"")
}

fn derive(
    raw: &RawPolicy,
    base: Option<Policy>,
    security: &Security,
    findings: &mut Findings,
) -> Option<Policy> {
    let allow = allowed(raw, base.as_ref());
    let ike = proposals("ike", &raw.ike, (allow, security), findings);
    let esp = proposals("esp", &raw.esp, (allow, security), findings);
    for (key, life) in [("ike_lifetime", &raw.ike_lifetime), ("esp_lifetime", &raw.esp_lifetime)] {
        if let Some(at) = life.given().filter(|at| at.value.as_secs() < 60) {
            findings.add(
                Diagnostic::at(Code::ShortLife, &at.place, format!("`{key}` is very short"))
                    .label("keys are replaced more often than once a minute")
                    .fix("leave it so for tests only; \"1h\" and \"8h\" are usual"),
            );
        }
    }
    let mut policy = base?;
    policy.name.clone_from(&raw.name.value);
    policy.allow = allow;
    policy.ike = ike.unwrap_or(policy.ike);
    policy.esp = esp.unwrap_or(policy.esp);
    if let Some(&time) = raw.ike_lifetime.value() {
        policy.ike_lifetime.time = time;
    }
    if let Some(&time) = raw.esp_lifetime.value() {
        policy.esp_lifetime.time = time;
    }
    policy.esp_lifetime.octets = raw.esp_lifebytes.value().copied().or(policy.esp_lifetime.octets);
    policy.esp_lifetime.packets =
        raw.esp_lifepackets.value().copied().or(policy.esp_lifetime.packets);
    policy.dpd = derive_dpd(&raw.dpd, policy.dpd, findings);
    policy.restart_peer = restarts_peer(&raw.dpd, policy.restart_peer);
    policy.pfs_check = raw.pfs_check.value().copied().unwrap_or(policy.pfs_check);
    Some(policy)
}

/// What the proposals of a policy may have; what it does not say, the one that it extends says.
fn allowed(raw: &RawPolicy, base: Option<&Policy>) -> Allow {
    let base = base.map(|policy| policy.allow).unwrap_or_default();
    let said = |field: &Field<bool>, base| field.value().copied().unwrap_or(base);
    Allow {
        legacy: said(&raw.allow_legacy, base.legacy),
        unencrypted: said(&raw.allow_unencrypted, base.unencrypted),
    }
}

/// Text to an IKE proposal, or to one of ESP.
type Parse = fn(&str, Allow) -> Result<Proposal, KeywordError>;

/// What reads the proposals of a key.
fn parse_of(key: &str) -> Parse {
    match key {
        "ike" => Proposal::ike_from_keywords_allowing,
        _ => Proposal::esp_from_keywords_allowing,
    }
}

fn proposals(
    key: &str,
    field: &Field<Vec<At<String>>>,
    (allow, security): (Allow, &Security),
    findings: &mut Findings,
) -> Option<Vec<Proposal>> {
    let parse = parse_of(key);
    let list = field.value()?;
    let mut proposals = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        match parse(&text.value, allow) {
            Ok(proposal) => {
                security.check_text(text, &proposal, findings);
                proposals.push(proposal);
            }
            Err(error) => findings.add(bad_proposal(key, index + 1, text, &error)),
        }
    }
    Some(proposals)
}

fn bad_proposal(key: &str, number: usize, text: &At<String>, error: &KeywordError) -> Diagnostic {
    let place = match error.span() {
        Some(span) => text.place.inside_quotes(&text.value, span),
        None => text.place.clone(),
    };
    let wherein = format!("in `{key}` proposal {number}");
    if let KeywordError::Unknown { word, .. } = error {
        let message = format!("unknown algorithm `{word}` {wherein}");
        return Diagnostic::at(Code::UnknownAlgorithm, &place, message)
            .label("no algorithm has this name")
            .help(Some(meant_by(word)));
    }
    if let KeywordError::Unsupported { word, .. } = error {
        let message = format!("algorithm `{word}` {wherein} is not offered");
        return Diagnostic::at(Code::UnsupportedAlgorithm, &place, message)
            .label("it exists, but not here")
            .why("nobody should use it any more, or nobody asks for it")
            .fix(format!("write one of {}", offered()));
    }
    if let KeywordError::Legacy { word, instead, .. } = error {
        let message = format!("legacy algorithm `{word}` {wherein}");
        return Diagnostic::at(Code::LegacyAlgorithm, &place, message)
            .label("it is too weak for a new tunnel")
            .why("this policy does not allow legacy algorithms")
            .fix(format!("write `{instead}` on both sides; if the peer can do no better, write `allow_legacy = true` in the policy"));
    }
    if let KeywordError::Unencrypted { word, .. } = error {
        let message = format!("algorithm `{word}` {wherein} does not encrypt");
        return Diagnostic::at(Code::Unencrypted, &place, message)
            .label("packets stay readable on their way")
            .why("this policy does not allow that")
            .fix("write a cipher such as `aes256gcm16`; if packets are to stay readable, write `allow_unencrypted = true` in the policy");
    }
    let is_ike = key == "ike";
    let example = if is_ike { "aes256gcm16-prfsha384-ecp384" } else { "aes256gcm16-ecp384" };
    Diagnostic::at(Code::BadProposal, &place, format!("`{key}` proposal {number} cannot work"))
        .label(error.to_string())
        .fix(format!("write a complete set, such as \"{example}\""))
}

/// What to write instead of a word that is not known.
fn meant_by(word: &str) -> String {
    // strongSwan's flag of a proposal that is the only one.
    let is_strict = word.ends_with('!');
    let word = word.trim_end_matches('!').to_ascii_lowercase();
    let ours = alias(&word).filter(|ours| *ours != word && find(ours).is_some());
    let meant = match ours {
        Some(ours) => Some(format!("that is `{ours}` here")),
        None if is_strict && find(&word).is_some() => None,
        None => {
            let near = did_you_mean(&word, keywords());
            near.or_else(|| Some(format!("algorithms: {}", offered())))
        }
    };
    let strict = "delete `!`; only what is listed is offered anyway";
    match (meant, is_strict) {
        (Some(meant), true) => format!("{strict}. `{word}`: {meant}"),
        (Some(meant), false) => meant,
        (None, _) => strict.to_owned(),
    }
}

/// The words that most proposals use, without their aliases, and where all of them are.
fn offered() -> String {
    let common = |row: &&Algorithm| {
        row.standing == Standing::Offered
            && (row.ike.max(row.esp) > Some(Level::May)
                || matches!(row.transform, Transform::Ke(_)))
    };
    let words: Vec<_> = TABLE.iter().filter(common).map(Algorithm::word).collect();
    format!("{} (all of them: s2s-gw show algorithms)", words.join(", "))
}

/// Puts `dpd = ..` on top of what is inherited.
pub(super) fn derive_dpd(
    field: &Field<RawDpd>,
    inherited: Option<Dpd>,
    findings: &mut Findings,
) -> Option<Dpd> {
    let Field::Given(at) = field else { return inherited };
    let RawDpd::On { interval, timeout, action } = &at.value else { return None };
    let base = inherited.unwrap_or_default();
    let dpd = Dpd {
        interval: interval.value().copied().unwrap_or(base.interval),
        timeout: timeout.value().copied().unwrap_or(base.timeout),
        action: match action.value() {
            Some(Death::Of(action)) => *action,
            Some(Death::RestartPeer) => DpdAction::Restart,
            None => base.action,
        },
    };
    if dpd.timeout <= dpd.interval
        && !matches!((interval, timeout), (Field::Wrong, _) | (_, Field::Wrong))
    {
        let place = timeout.given().or(interval.given()).map_or(&at.place, |at| &at.place);
        let (interval, timeout) = (shown_duration(dpd.interval), shown_duration(dpd.timeout));
        findings.add(
            Diagnostic::at(Code::DpdTimes, place, "dpd `timeout` is not longer than `interval`")
                .label(format!("interval {interval}, timeout {timeout}"))
                .why("the peer would be declared dead before it is asked whether it lives")
                .fix(format!(
                    "write a timeout of several intervals, such as \"{}\"",
                    shown_duration(dpd.interval * 4)
                )),
        );
    }
    Some(dpd)
}

/// The same for whether all connections to a peer that died are restarted.
pub(super) fn restarts_peer(field: &Field<RawDpd>, inherited: bool) -> bool {
    match field.value() {
        None => inherited,
        Some(RawDpd::Off) => false,
        Some(RawDpd::On { action, .. }) => {
            action.value().map_or(inherited, |action| *action == Death::RestartPeer)
        }
    }
}

const DEFAULT: &str = "default";

/// A policy that is built in.
struct BuiltIn {
    name: &'static str,
    ike: &'static [&'static str],
    esp: &'static [&'static str],
    /// IKE and ESP.
    hours: (u64, u64),
    /// Interval and timeout.
    dpd_seconds: (u64, u64),
}

/// The built-in policies.
///
/// The second and fourth ESP proposals of `default` are the first and third without a key exchange, so that a peer
/// without PFS can rekey with us. Azure wants one algorithm of each kind, the same on both sides. `cnsa` is RFC 9206 §5 and
/// §6 with what §7 allows besides, `cnsa2` its successor with ML-KEM-1024 after ECP-384. The first IKE proposal of `default` has
/// ML-KEM-768 after the first key exchange, in a proposal of its own, which peers that do not know RFC 9370 pass over; its ESP proposals have
/// none, for their keys come from those of the IKE SA. `compat` is all that this program has but for what has to be allowed, and ML-KEM, over
/// which old peers may stumble; the best first, for peers of which nothing is known.
const BUILT_IN: [BuiltIn; 6] = [
    BuiltIn {
        name: DEFAULT,
        ike: &[
            "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-curve25519-ecp384-ecp256-ke1_mlkem768",
            "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-ecp384-curve25519-ecp256-modp3072-modp2048",
            "aes256-sha512-sha384-sha256-prfsha512-prfsha384-prfsha256-ecp384-curve25519-ecp256-modp4096-modp3072-modp2048",
        ],
        esp: &[
            "aes256gcm16-aes128gcm16-chacha20poly1305-ecp384-curve25519-ecp256-modp3072-modp2048",
            "aes256gcm16-aes128gcm16-chacha20poly1305",
            "aes256-sha512-sha384-sha256-ecp384-curve25519-ecp256-modp4096-modp3072-modp2048",
            "aes256-sha512-sha384-sha256",
        ],
        hours: (8, 1),
        dpd_seconds: (30, 120),
    },
    BuiltIn {
        name: "aws",
        ike: &["aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"],
        esp: &["aes256gcm16-ecp384", "aes256-sha256-modp2048"],
        hours: (8, 1),
        dpd_seconds: (10, 30),
    },
    BuiltIn {
        name: "azure",
        ike: &["aes256-sha384-ecp384"],
        esp: &["aes256gcm16-ecp384"],
        hours: (8, 7),
        dpd_seconds: (15, 45),
    },
    BuiltIn {
        name: "cnsa",
        ike: &["aes256gcm16-prfsha512-prfsha384-ecp384-modp3072-modp4096"],
        esp: &["aes256gcm16-ecp384-modp3072-modp4096"],
        hours: (8, 1),
        dpd_seconds: (30, 120),
    },
    BuiltIn {
        name: "cnsa2",
        ike: &["aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"],
        esp: &["aes256gcm16-ecp384-ke1_mlkem1024"],
        hours: (8, 1),
        dpd_seconds: (30, 120),
    },
    BuiltIn {
        name: "compat",
        ike: &[
            "aes256gcm16-chacha20poly1305-aes192gcm16-aes128gcm16-aes256ccm16-aes192ccm16-aes128ccm16-aes256gcm12-aes128gcm12-aes256ccm12-aes128ccm12-aes256gcm8-aes128gcm8-aes256ccm8-aes128ccm8-prfsha512-prfsha384-prfsha256-prfaescmac-prfaesxcbc-curve25519-ecp384-ecp256-ecp521-modp4096-modp3072-modp2048-modp6144-modp8192",
            "aes256-aes192-aes128-aes256ctr-aes192ctr-aes128ctr-sha512-sha384-sha256-aescmac-aesxcbc-prfsha512-prfsha384-prfsha256-prfaescmac-prfaesxcbc-curve25519-ecp384-ecp256-ecp521-modp4096-modp3072-modp2048-modp6144-modp8192",
        ],
        esp: &[
            "aes256gcm16-chacha20poly1305-aes192gcm16-aes128gcm16-aes256ccm16-aes192ccm16-aes128ccm16-aes256gcm12-aes128gcm12-aes256ccm12-aes128ccm12-aes256gcm8-aes128gcm8-aes256ccm8-aes128ccm8-curve25519-ecp384-ecp256-ecp521-modp4096-modp3072-modp2048-modp6144-modp8192",
            "aes256gcm16-chacha20poly1305-aes192gcm16-aes128gcm16-aes256ccm16-aes192ccm16-aes128ccm16-aes256gcm12-aes128gcm12-aes256ccm12-aes128ccm12-aes256gcm8-aes128gcm8-aes256ccm8-aes128ccm8",
            "aes256-aes192-aes128-aes256ctr-aes192ctr-aes128ctr-sha512-sha384-sha256-aescmac-aesxcbc-curve25519-ecp384-ecp256-ecp521-modp4096-modp3072-modp2048-modp6144-modp8192",
            "aes256-aes192-aes128-aes256ctr-aes192ctr-aes128ctr-sha512-sha384-sha256-aescmac-aesxcbc",
        ],
        hours: (8, 1),
        dpd_seconds: (30, 120),
    },
];

/// The built-in policy of this name.
pub(crate) fn built_in_policy(name: &str) -> Option<Policy> {
    built_in().remove(name).flatten()
}

fn built_in() -> BTreeMap<String, Option<Policy>> {
    let invariant = "invariant: built-in proposals are valid";
    let parse_all = |texts: &[&str], parse: Parse| {
        let parsed = texts.iter().map(|text| parse(text, Allow::default()).expect(invariant));
        parsed.collect::<Vec<_>>()
    };
    let policy = |built_in: BuiltIn| Policy {
        name: built_in.name.to_owned(),
        ike: parse_all(built_in.ike, parse_of("ike")),
        esp: parse_all(built_in.esp, parse_of("esp")),
        ike_lifetime: Lifetime::of(Duration::from_hours(built_in.hours.0)),
        esp_lifetime: Lifetime::of(Duration::from_hours(built_in.hours.1)),
        dpd: Some(Dpd {
            interval: Duration::from_secs(built_in.dpd_seconds.0),
            timeout: Duration::from_secs(built_in.dpd_seconds.1),
            ..Dpd::default()
        }),
        forbidden: Vec::new(),
        restart_peer: false,
        pfs_check: true,
        allow: Allow::default(),
    };
    BUILT_IN.into_iter().map(policy).map(|policy| (policy.name.clone(), Some(policy))).collect()
}

/// The proposals of a policy that nobody wrote: those that it has from a built-in one.
pub(super) fn built_in_proposals(policy: &Policy) -> Vec<&Proposal> {
    let built_in = built_in();
    let has = |part: fn(&Policy) -> &Vec<Proposal>| {
        built_in.values().flatten().any(|one| part(one) == part(policy))
    };
    let ike = has(|policy| &policy.ike).then_some(&policy.ike);
    let esp = has(|policy| &policy.esp).then_some(&policy.esp);
    ike.into_iter().chain(esp).flatten().collect()
}
