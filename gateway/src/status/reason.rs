//! Why a connection is not up, in words: the one table from [`CloseReason`] to code, alert word, sentence and remedy.
//!
//! ```text
//!   CloseReason ──► kind()     E1003  proposal-mismatch-ike        fixed for ever: scripts and dashboards match on them
//!               ──► message    no IKE proposal suits both sides    what happened, with the names at hand
//!               ──► fix        add .. on one side                  what to do about it
//!               ──► detail     ours / theirs / closest             only where both sides are known
//! ```

mod proof;

use std::net::IpAddr;
use std::time::Duration;

use ikev2::registry::KeMethod;
use ikev2::{CloseReason, Identity, PpkId, PpkProblem, Proposal, Traffic, Transform};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::words::{self, Kind};

/// A reason as shown to people and programs; the same in status, JSON and logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Stable code, `E1003`.
    pub code: String,
    /// Stable word, `proposal-mismatch-ike`.
    pub alert: String,
    /// What happened, one sentence without full stop.
    pub message: String,
    /// What to do about it, one sentence without full stop.
    pub fix: String,
    /// More lines, where they help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
}

impl Reason {
    /// Takes from an offer of the peer that we refused what its own refusal of ours does not say.
    pub fn learn(&mut self, offer: &Self) {
        if self.code == offer.code {
            self.clone_from(offer);
        } else if self.code == Code::Pfs.id() {
            self.detail.clone_from(&offer.detail);
        }
    }
}

/// How grave a reason is for the state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// Nothing is wrong.
    Wanted,
    /// It may mend itself.
    Passing,
    /// Somebody has to edit something, here or at the peer.
    NeedsEdit,
}

/// The fixed part of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// `E1003`.
    pub code: &'static str,
    /// `proposal-mismatch-ike`.
    pub alert: &'static str,
    /// How grave.
    pub gravity: Gravity,
}

impl Fixed {
    const fn new(code: Code, alert: &'static str, gravity: Gravity) -> Self {
        Self { code: code.id(), alert, gravity }
    }
}

/// The fixed part for each [`CloseReason`].
#[must_use]
pub fn code(reason: &CloseReason) -> Fixed {
    match reason {
        CloseReason::Local => Fixed::new(Code::Closed, "closed-locally", Gravity::Wanted),
        CloseReason::Rekeyed => Fixed::new(Code::Closed, "rekeyed", Gravity::Wanted),
        CloseReason::NoAnswer => {
            Fixed::new(Code::NoAnswer, "peer-init-unreachable", Gravity::Passing)
        }
        CloseReason::IkeProposalMismatch { .. } => {
            Fixed::new(Code::IkeProposal, "proposal-mismatch-ike", Gravity::NeedsEdit)
        }
        CloseReason::ChildProposalMismatch { .. } => {
            Fixed::new(Code::EspProposal, "proposal-mismatch-child", Gravity::NeedsEdit)
        }
        CloseReason::SelectorMismatch { .. } => {
            Fixed::new(Code::Selectors, "ts-mismatch", Gravity::NeedsEdit)
        }
        CloseReason::AuthRefusedByPeer { .. } => {
            Fixed::new(Code::RefusedByPeer, "peer-auth-failed", Gravity::NeedsEdit)
        }
        CloseReason::WrongKey { .. } => {
            Fixed::new(Code::WrongKey, "local-auth-failed", Gravity::NeedsEdit)
        }
        CloseReason::NotProved { problem, .. } => proof::fixed(problem),
        CloseReason::CannotSign { .. } => {
            Fixed::new(Code::CannotSign, "local-cannot-sign", Gravity::NeedsEdit)
        }
        CloseReason::Ppk(_) => Fixed::new(Code::Ppk, "ppk-mismatch", Gravity::NeedsEdit),
        CloseReason::WrongIdentity { .. } => {
            Fixed::new(Code::WrongIdentity, "local-auth-failed", Gravity::NeedsEdit)
        }
        CloseReason::DpdTimeout => Fixed::new(Code::DeadPeer, "dpd-timeout", Gravity::Passing),
        CloseReason::PeerDeleted => Fixed::new(Code::PeerDeleted, "peer-deleted", Gravity::Passing),
        CloseReason::InitialContact => {
            Fixed::new(Code::PeerRestarted, "peer-restarted", Gravity::Passing)
        }
        CloseReason::Redirected { .. } => {
            Fixed::new(Code::Redirected, "peer-redirected", Gravity::Passing)
        }
        CloseReason::AuthExpired => {
            Fixed::new(Code::AuthExpired, "peer-auth-expired", Gravity::Passing)
        }
        CloseReason::Notified(_) => Fixed::new(Code::PeerRefused, "peer-refused", Gravity::Passing),
        CloseReason::Protocol(_) => Fixed::new(Code::Protocol, "protocol-error", Gravity::Passing),
    }
}

/// What is the matter, seen from both ends: the side that refuses knows more than the side that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// The same word for both ends of one misfortune.
    pub family: &'static str,
    /// Whether this end saw what is wrong, rather than being told that something is.
    pub first_hand: bool,
}

/// The trouble behind a [`CloseReason`].
#[must_use]
pub fn trouble(reason: &CloseReason) -> Trouble {
    let (family, first_hand) = match reason {
        CloseReason::IkeProposalMismatch { theirs, .. } => ("ike-proposal", !theirs.is_empty()),
        CloseReason::ChildProposalMismatch { theirs, .. } => ("esp-proposal", !theirs.is_empty()),
        CloseReason::SelectorMismatch { theirs, .. } => (code(reason).code, !theirs.is_empty()),
        CloseReason::AuthRefusedByPeer { .. } => ("auth", false),
        CloseReason::WrongKey { .. }
        | CloseReason::NotProved { .. }
        | CloseReason::CannotSign { .. }
        | CloseReason::Ppk(_)
        | CloseReason::WrongIdentity { .. } => ("auth", true),
        CloseReason::Local
        | CloseReason::Rekeyed
        | CloseReason::NoAnswer
        | CloseReason::DpdTimeout
        | CloseReason::PeerDeleted
        | CloseReason::InitialContact
        | CloseReason::Redirected { .. }
        | CloseReason::AuthExpired
        | CloseReason::Notified(_)
        | CloseReason::Protocol(_) => (code(reason).code, true),
    };
    Trouble { family, first_hand }
}

/// Explains why an SA with this connection's peer ended or never began.
#[must_use]
pub fn explain(reason: &CloseReason, connection: &str) -> Reason {
    let code = code(reason);
    let (message, fix) = sentences(reason, connection);
    let detail = match reason {
        CloseReason::IkeProposalMismatch { ours, theirs }
        | CloseReason::ChildProposalMismatch { ours, theirs } => difference(ours, theirs),
        CloseReason::SelectorMismatch { ours, theirs } => networks(ours, theirs),
        CloseReason::Local
        | CloseReason::Rekeyed
        | CloseReason::NoAnswer
        | CloseReason::AuthRefusedByPeer { .. }
        | CloseReason::WrongKey { .. }
        | CloseReason::NotProved { .. }
        | CloseReason::CannotSign { .. }
        | CloseReason::Ppk(_)
        | CloseReason::WrongIdentity { .. }
        | CloseReason::DpdTimeout
        | CloseReason::PeerDeleted
        | CloseReason::InitialContact
        | CloseReason::Redirected { .. }
        | CloseReason::AuthExpired
        | CloseReason::Notified(_)
        | CloseReason::Protocol(_) => Vec::new(),
    };
    Reason { code: code.code.into(), alert: code.alert.into(), message, fix, detail }
}

/// The same for a connection whose policy may not have some algorithms: if the peer offered only proposals with such, the
/// remedy is not to allow them.
#[must_use]
pub fn explain_for(reason: &CloseReason, connection: &str, forbidden: &[String]) -> Reason {
    let mut explained = explain(reason, connection);
    let (CloseReason::IkeProposalMismatch { theirs, .. }
    | CloseReason::ChildProposalMismatch { theirs, .. }) = reason
    else {
        return explained;
    };
    let words: Vec<Vec<String>> = theirs
        .iter()
        .map(|proposal| {
            let words = proposal.transforms.iter().map(ToString::to_string);
            words.filter(|word| forbidden.contains(word)).collect()
        })
        .collect();
    if !words.is_empty() && words.iter().all(|words| !words.is_empty()) {
        let mut words: Vec<String> =
            words.into_iter().flatten().map(|w| format!("`{w}`")).collect();
        words.sort_unstable();
        words.dedup();
        let (words, is) = (words.join(" and "), if words.len() == 1 { "is" } else { "are" });
        explained.fix = format!(
            "ask the peer for one of our proposals: {words} {is} forbidden by `forbid` in [security]"
        );
    }
    explained
}

/// What happened, and what to do about it.
fn sentences(reason: &CloseReason, connection: &str) -> (String, String) {
    let same = |text: &str| text.to_owned();
    match reason {
        CloseReason::Local => (
            same("closed by a command here"),
            format!("bring it back with `s2s-gw up {connection}`"),
        ),
        CloseReason::Rekeyed => (same("replaced by a newer SA"), same("nothing to do")),
        CloseReason::NoAnswer => (
            same("the peer did not answer IKE_SA_INIT"),
            same(
                "check that the address is right, that the peer runs, and that UDP 500 and 4500 pass every firewall",
            ),
        ),
        CloseReason::IkeProposalMismatch { ours, theirs } => {
            (mismatch("IKE", ours, theirs), remedy(theirs, "ike"))
        }
        CloseReason::ChildProposalMismatch { ours, theirs } => {
            (mismatch("ESP", ours, theirs), remedy(theirs, "esp"))
        }
        CloseReason::SelectorMismatch { ours, theirs } => (
            apart(ours, theirs),
            same(
                "make local_subnets here the peer's remote subnets, and remote_subnets here the peer's local ones",
            ),
        ),
        CloseReason::AuthRefusedByPeer { sent, expected } => {
            refused_by_peer(sent, expected.as_ref())
        }
        CloseReason::WrongKey { claimed } => (
            format!(
                "the peer proved identity {} with another key than ours",
                words::identity(claimed)
            ),
            same(
                "put the same pre-shared key on both sides (look for a missing or extra line end)",
            ),
        ),
        CloseReason::NotProved { claimed, problem } => proof::sentences(claimed, problem),
        CloseReason::CannotSign { key, hashes } => proof::cannot_sign(*key, hashes),
        CloseReason::Ppk(problem) => ppk(problem, connection),
        CloseReason::WrongIdentity { claimed, expected } => wrong_identity(claimed, expected),
        CloseReason::DpdTimeout => (
            same("nothing authentic came from the peer for the whole DPD timeout"),
            same("check that the peer runs and that the path to it is up"),
        ),
        CloseReason::PeerDeleted => (
            same("the peer closed the SA"),
            same("see the peer's log; an idle timeout or a restart there looks like this"),
        ),
        CloseReason::Redirected { to } => (
            format!("the peer sent us to the gateway {to}"),
            same(
                "nothing to do; if the other gateway refuses, its identity and key have to be the same",
            ),
        ),
        CloseReason::AuthExpired => (
            same(
                "the peer did not authenticate anew in the time that it was given (AUTH_LIFETIME)",
            ),
            same("raise auth_lifetime here, or let the peer authenticate anew before it ends"),
        ),
        CloseReason::InitialContact => (
            same("the peer came back without memory of the SA (INITIAL_CONTACT)"),
            same(
                "nothing to do if it was restarted; otherwise look for two gateways with one identity",
            ),
        ),
        CloseReason::Notified(notify) => (
            format!("the peer answered {notify}"),
            same("see the peer's log for what it did not like"),
        ),
        CloseReason::Protocol(what) => (
            format!("the peer broke the protocol: {what}"),
            same("report this with a capture of UDP 500 and 4500; it is a defect here or there"),
        ),
    }
}

fn refused_by_peer(sent: &Identity, expected: Option<&Identity>) -> (String, String) {
    let expected = expected.map(|id| format!(" and expected {}", words::identity(id)));
    let message = format!(
        "the peer rejected IKE_AUTH (AUTHENTICATION_FAILED); we sent identity {} ({}){}",
        words::identity(sent),
        words::identity_type(sent),
        expected.unwrap_or_default(),
    );
    let fix = "compare the pre-shared keys, or see that the peer trusts who issued our certificate, and that it has an entry for our identity";
    (message, fix.to_owned())
}

fn wrong_identity(claimed: &Identity, expected: &[Identity]) -> (String, String) {
    let name = words::identity(claimed);
    let message = format!(
        "the peer claims to be {name} ({}), but we expect {}",
        words::identity_type(claimed),
        list_of(expected.iter().map(words::identity), "nobody from that address"),
    );
    let fix = format!(
        "set peer_id = \"{name}\" if that is the right peer, or correct the peer's own identity"
    );
    (message, fix)
}

fn mismatch(protocol: &str, ours: &[Proposal], theirs: &[Proposal]) -> String {
    if theirs.is_empty() {
        format!("the peer accepts none of our {protocol} proposals (NO_PROPOSAL_CHOSEN)")
    } else {
        let offered = list_of(theirs.iter().map(words::proposal), "nothing");
        let closest = closest(ours, theirs).map(|line| format!("; {line}")).unwrap_or_default();
        format!("no {protocol} proposal suits both sides; the peer offered {offered}{closest}")
    }
}

fn remedy(theirs: &[Proposal], key: &str) -> String {
    match theirs.first() {
        None => format!(
            "put one of our `{key}` proposals on the peer, or one of the peer's into `{key}` here"
        ),
        Some(first) => format!(
            "add one of ours on the peer, or `{key} = [\"{}\"]` here if that is strong enough for you",
            words::proposal(first)
        ),
    }
}

/// Ours, theirs, and the pair that comes closest, so that the one wrong word is plain to see.
fn difference(ours: &[Proposal], theirs: &[Proposal]) -> Vec<String> {
    let mut lines = vec![format!("ours    {}", numbered(ours))];
    if !theirs.is_empty() {
        lines.push(format!("theirs  {}", numbered(theirs)));
        lines.extend(closest(ours, theirs));
    }
    lines
}

fn numbered(proposals: &[Proposal]) -> String {
    let each = proposals.iter().enumerate();
    each.map(|(i, p)| format!("{}: {}", i + 1, words::proposal(p))).collect::<Vec<_>>().join("   ")
}

/// The pair of proposals that differs in the fewest transform types.
fn closest(ours: &[Proposal], theirs: &[Proposal]) -> Option<String> {
    let nearest = ikev2::closest(ours, theirs)?;
    let names = |transforms: &[Transform]| {
        list_of(transforms.iter().copied().map(words::transform), "none")
    };
    let each = nearest.types.iter().map(|differing| {
        let kind = Kind::of_type(differing.kind).word();
        format!("{kind}: {} vs {}", names(&differing.theirs), names(&differing.ours))
    });
    let only = if nearest.types.len() == 1 { "only " } else { "" };
    Some(format!(
        "closest their #{} differs {only}in {}",
        nearest.theirs + 1,
        each.collect::<Vec<_>>().join(", ")
    ))
}

/// What is wanted on both sides, where both are known.
fn apart(ours: &Traffic, theirs: &Traffic) -> String {
    if ours.is_empty() {
        "the two sides have no networks in common (TS_UNACCEPTABLE)".to_owned()
    } else if theirs.is_empty() {
        format!("the peer has no networks in common with {ours} (TS_UNACCEPTABLE)")
    } else {
        format!("no networks in common: the peer wants {theirs} (TS_UNACCEPTABLE)")
    }
}

/// Ours and theirs, both as seen from here.
fn networks(ours: &Traffic, theirs: &Traffic) -> Vec<String> {
    if ours.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("ours    {ours}")];
    if !theirs.is_empty() {
        lines.push(format!("theirs  {theirs}"));
    }
    lines
}

fn list_of(items: impl Iterator<Item = String>, none: &str) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

/// The name of a peer could not be resolved, or no route leads there.
#[must_use]
pub fn peer_address_failed(what: &str) -> Reason {
    Reason {
        code: Code::NoPath.id().into(),
        alert: "peer-addr-failed".into(),
        message: what.to_owned(),
        fix: "check the name with `getent hosts`, the resolver, and the route to the peer".into(),
        detail: Vec::new(),
    }
}

/// Packets leave and none has come for a while.
#[must_use]
pub fn no_return_traffic(sent: u64, silence: Duration) -> Reason {
    let silence = words::seconds(silence.as_secs());
    Reason {
        code: Code::OneWay.id().into(),
        alert: "no-return-traffic".into(),
        message: format!("{sent} packets sent, none received for {silence}; the peer or a firewall drops ESP, or nobody answers"),
        fix: "check the peer's packet counters, its firewall for UDP 4500 or IP protocol 50, and the route back on its hosts".into(),
        detail: Vec::new(),
    }
}

/// The peer left less of a child than it was to carry.
#[must_use]
pub fn narrowed(asked: &str, left: &str) -> Reason {
    Reason {
        code: Code::Narrowed.id().into(),
        alert: "ts-narrowed".into(),
        message: format!("the peer left {left} of {asked}; packets to the rest are dropped"),
        fix: "make local_subnets here the peer's remote subnets, and remote_subnets here the peer's local ones".into(),
        detail: vec![format!("asked  {asked}"), format!("left   {left}")],
    }
}

/// The kernel refused a route into the tunnel.
#[must_use]
pub fn route_refused() -> Reason {
    Reason {
        code: Code::RouteRefused.id().into(),
        alert: "route-refused".into(),
        message: "the kernel refused a route into the tunnel; packets to that network do not enter it".into(),
        fix: "see the routes below and `ip route show`, then delete the route that is in the way or set another `metric`".into(),
        detail: Vec::new(),
    }
}

/// The TUN device is gone and cannot be made again.
#[must_use]
pub fn device_lost() -> Reason {
    Reason {
        code: Code::DeviceLost.id().into(),
        alert: "device-lost".into(),
        message: "the TUN device is gone and could not be made again; no packet enters or leaves the tunnel".into(),
        fix: Code::DeviceLost.fix().into(),
        detail: Vec::new(),
    }
}

/// The kernel refuses to send to the peer.
#[must_use]
pub fn cannot_send(to: IpAddr, why: &str) -> Reason {
    Reason {
        code: Code::CannotSend.id().into(),
        alert: "cannot-send".into(),
        message: format!("packets to {to} cannot be sent: {why}"),
        fix: format!("see `nft list ruleset` and `ip route get {to}` on this host"),
        detail: Vec::new(),
    }
}

/// The first SA of a child cannot be replaced: the sides do not agree on a key exchange, which it had none of.
#[must_use]
pub fn pfs_mismatch(why: &CloseReason, policy: &str) -> Reason {
    let CloseReason::ChildProposalMismatch { ours, theirs } = why else {
        return explain(why, policy);
    };
    let groups: Vec<String> = groups(ours);
    let wanted = if groups.is_empty() {
        "without a key exchange (PFS)".to_owned()
    } else {
        format!("with PFS by {}", groups.join(" or "))
    };
    Reason {
        code: Code::Pfs.id().into(),
        alert: "pfs-mismatch".into(),
        message: format!(
            "the peer refuses new SAs {wanted}; the first ones carry packets until their lifetime ends, then the tunnel breaks"
        ),
        fix: format!(
            "make the PFS group the same on both sides: in `esp` of the policy `{policy}` here, in the ESP proposal of the peer"
        ),
        detail: difference(ours, theirs),
    }
}

/// What is the matter with the post-quantum keys, and what to do about it.
fn ppk(problem: &PpkProblem, connection: &str) -> (String, String) {
    // The name came from a peer and ends in terminals and logs.
    let name = |id: &PpkId| id.to_string().chars().take(256).collect::<String>();
    let message = match problem {
        PpkProblem::Absent => {
            "the peer has no post-quantum key, and `ppk` here requires one".into()
        }
        PpkProblem::Unnamed => "the peer announced a post-quantum key and named none".into(),
        PpkProblem::Unknown(Some(id)) => {
            format!("the peer named the post-quantum key `{}`, which is not ours", name(id))
        }
        PpkProblem::Unknown(None) => "the peer named a post-quantum key without a name".into(),
        PpkProblem::Declined => {
            "the peer does not have our post-quantum key, and `ppk` here requires it".into()
        }
        PpkProblem::Refused => {
            "the peer requires a post-quantum key, and has none of those in `ppk` here".into()
        }
        PpkProblem::Differs(id) => {
            format!("the post-quantum key `{}` of the peer is another than ours", name(id))
        }
        PpkProblem::DiffersOrOther(id) => format!(
            "the post-quantum key `{}` of the peer, or its pre-shared key, is another than ours",
            name(id)
        ),
    };
    let fix = format!(
        "put the same key under the same `id` into `ppk` on both sides, or `required = false` in [connection.{connection}] and there"
    );
    (message, fix)
}

/// The key exchanges of proposals, each once.
fn groups(proposals: &[Proposal]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for transform in proposals.iter().flat_map(|proposal| &proposal.transforms) {
        let word = words::transform(*transform);
        if matches!(transform, Transform::Ke(method) if *method != KeMethod::NONE)
            && !words.contains(&word)
        {
            words.push(word);
        }
    }
    words
}

/// A host behind the peer, as people call it, does not answer a monitor.
#[must_use]
pub fn monitor_failed(target: &str) -> Reason {
    Reason {
        code: Code::Monitor.id().into(),
        alert: "monitor-failed".into(),
        message: format!("{target} behind the peer does not answer, or not in time"),
        fix: "see whether that host runs, and whether the peer has a route to it and back".into(),
        detail: Vec::new(),
    }
}

/// The code for an endpoint that is not the preferred one.
pub const STANDBY: &str = Code::OnStandby.id();

/// The peer is reached at another endpoint than the preferred one, which does or does not answer.
#[must_use]
pub fn on_standby(active: &str, preferred: &str, connection: &str, answers: bool) -> Reason {
    let state = if answers { "answers again" } else { "is not in use" };
    Reason {
        code: STANDBY.into(),
        alert: "standby-endpoint".into(),
        message: format!(
            "the peer is reached at its standby {active}; the preferred endpoint {preferred} {state}"
        ),
        fix: format!(
            "see why {preferred} did not answer, then `s2s-gw failover {connection} --to {preferred}`, or let `failover.failback` do it"
        ),
        detail: Vec::new(),
    }
}

/// An SA was negotiated that the data plane cannot carry.
#[must_use]
pub fn install_failed(what: &str) -> Reason {
    Reason {
        code: Code::Install.id().into(),
        alert: "install-failed".into(),
        message: format!("the child SA could not be installed: {what}"),
        fix: "report this: the gateway negotiated something that it cannot do".into(),
        detail: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
