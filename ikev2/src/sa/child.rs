//! Negotiating one child SA, for IKE_AUTH and CREATE_CHILD_SA alike (RFC 7296 §1.2, §1.3.1, §1.3.3, §2.9, §2.17).
//!
//! ```text
//!   ChildOffer::write ── SA, [Ni, KEi], TSi, TSr ──►  answer()      narrows, chooses, derives
//!   complete()       ◄── SA, [Nr, KEr], TSi, TSr ──   ChildAnswer::write
//!        └────────────────►        Draft           ◄────────┘
//!                             finish() │              at once, or after the further key exchanges: followup.rs
//!                          Agreed { Child, keys }
//! ```
//!
//! In IKE_AUTH there is no nonce and no key exchange of its own: those of IKE_SA_INIT serve.
//!
//! Notifications beside it (§1.3.1, §2.22):
//!
//! ```text
//!   USE_TRANSPORT_MODE              asked for: passed over, which means tunnel mode; in an answer: refused
//!   ESP_TFC_PADDING_NOT_SUPPORTED   told to the caller, who then sends no padding; never sent, ours can do with it
//!   NON_FIRST_FRAGMENTS_ALSO        passed over and never sent: an SA for some ports carries no fragment without ports,
//!                                   one for all ports carries every fragment anyway
//!   ADDITIONAL_TS_POSSIBLE          sent when more would do in another child; told to the caller
//!   IPCOMP_SUPPORTED                passed over, which means no compression
//!   SA_RESOURCE_INFO                sent and understood: there may be several with the same selectors, see resources.rs
//! ```

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::choice::{Choice, choose, rekeyed};
use super::draft::{Crossing, Draft, Terms};
use super::negotiate::Fresh;
use super::resources::{Siblings, announced};
use super::slot::Slot;
use super::{Cx, negotiate};
use crate::config::{ChildConfig, PeerConfig};
use crate::crypto::ke::{self, KeSecret};
use crate::crypto::suite::ChildSuite;
use crate::error::CloseReason;
use crate::event::{ChildId, ChildKeys, EspSpi, Event, Limits};
use crate::registry::{KeMethod, NotifyType, ProtocolId};
use crate::shared::News;
use crate::wire::message::{Body, Chain};
use crate::wire::proposal::Proposal;
use crate::wire::traffic::Traffic;

/// What becomes of a peer whose key exchange is broken (RFC 6989 §2.5).
pub(super) const BAD_PUBLIC_VALUE: &str = "the peer's public value is invalid";

/// An established child.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) slot: Slot,
    /// Whether it is one of those beside the fallback of its slot (RFC 9611).
    pub(super) resource: bool,
    pub(super) spi_in: EspSpi,
    pub(super) spi_out: EspSpi,
    pub(super) suite: ChildSuite,
    pub(super) traffic: Traffic,
    pub(super) remarks: Remarks,
    /// Whether the peer is known to have it. One that it asked for it has when our answer arrives, and we hear of that
    /// with its next request.
    pub(super) confirmed: bool,
    pub(super) phase: Phase,
    /// The data plane was told that it is gone.
    pub(super) down: bool,
    pub(super) rekey_at: Instant,
    pub(super) expires_at: Instant,
    /// When this much was carried it is rekeyed.
    pub(super) soft: Limits,
    /// What it may carry at most.
    pub(super) hard: Limits,
    /// Whether it has carried nearly as much as it may; then `rekey_at` has come.
    pub(super) worn: bool,
    /// The child whose place it took.
    pub(super) replaces: Option<ChildId>,
    /// The lower nonce of the exchange that made it (RFC 7296 §2.8.1).
    pub(super) lowest_nonce: Vec<u8>,
}

/// What the peer said about a child in notifications.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remarks {
    pub(super) tfc_padding: bool,
    pub(super) more_possible: bool,
    /// It knows of several children with the same selectors (RFC 9611).
    pub(super) resources: bool,
}

impl Remarks {
    fn read(body: &Body<'_>) -> Self {
        Self {
            tfc_padding: body.notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED).is_none(),
            more_possible: body.notify(NotifyType::ADDITIONAL_TS_POSSIBLE).is_some(),
            resources: body.notify(NotifyType::SA_RESOURCE_INFO).is_some(),
        }
    }
}

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In use.
    Up,
    /// A newer one has its place; whoever made the newer one deletes this one (RFC 7296 §1.3.3).
    Replaced,
    /// We are deleting it.
    Deleting,
}

impl Child {
    /// Tells the data plane that it is gone, once.
    pub(super) fn take_down(&mut self, reason: CloseReason, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.down, true) {
            cx.news(News::ChildGone { child: self.id });
            cx.event(Event::ChildDown { child: self.id, reason });
        }
    }
}

/// A child that both sides agreed on, with its keys.
pub(super) struct Agreed {
    pub(super) child: Child,
    pub(super) keys_in: ChildKeys,
    pub(super) keys_out: ChildKeys,
}

/// What we asked for as initiator of the exchange.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct ChildOffer {
    pub(super) slot: Slot,
    /// As in [`Child::resource`].
    pub(super) resource: bool,
    /// What SA_RESOURCE_INFO says; `None`: it is left out.
    pub(super) resource_info: Option<Vec<u8>>,
    pub(super) spi_in: EspSpi,
    pub(super) nonce: Vec<u8>,
    fresh: bool,
    /// When a child is rekeyed that the peer may not have known of when it answered.
    pub(super) premature: bool,
    /// The peer's exchange to replace the same child, if it crossed ours.
    pub(super) rival: Option<Crossing>,
    /// The peer asked for this key exchange method; it does not get to ask again.
    steered: bool,
    ke: Option<KeSecret>,
    proposals: Vec<Proposal>,
    traffic: Traffic,
}

impl ChildOffer {
    /// For IKE_AUTH: no nonce, no key exchange.
    pub(super) fn first(
        child: &ChildConfig,
        slot: Slot,
        traffic: Traffic,
        cx: &mut Cx<'_>,
    ) -> Self {
        let spi_in = cx.fresh_esp_spi(None);
        let spi = spi_in.0.get().to_be_bytes();
        Self {
            slot,
            resource: false,
            resource_info: announced(child),
            spi_in,
            nonce: Vec::new(),
            fresh: false,
            premature: false,
            rival: None,
            steered: false,
            ke: None,
            proposals: negotiate::offer(&negotiate::without_ke(&child.proposals), &spi),
            traffic,
        }
    }

    /// For CREATE_CHILD_SA, with a fresh key exchange if the proposals name one: by the method `asked` that the peer
    /// asked for after a first try, or the one `used` before.
    pub(super) fn further(
        proposals: &[Proposal],
        (slot, traffic): (Slot, Traffic),
        (asked, used): (Option<KeMethod>, Option<KeMethod>),
        spi_in: EspSpi,
        cx: &mut Cx<'_>,
    ) -> Self {
        let method = asked.or(used).or_else(|| negotiate::first_ke(proposals));
        let ke = method.and_then(|method| KeSecret::generate(method, &mut cx.shared.rng));
        Self {
            slot,
            resource: false,
            resource_info: None,
            spi_in,
            nonce: cx.nonce(),
            fresh: true,
            premature: false,
            rival: None,
            steered: asked.is_some(),
            ke,
            proposals: negotiate::offer(proposals, &spi_in.0.get().to_be_bytes()),
            traffic,
        }
    }

    /// Adds the payloads of the request.
    pub(super) fn write(&self, chain: &mut Chain) {
        chain.sa(&self.proposals);
        if self.fresh {
            chain.nonce(&self.nonce);
        }
        if let Some(ke) = &self.ke {
            chain.ke(ke.method(), ke.public());
        }
        chain.ts_i(&self.traffic.local);
        chain.ts_r(&self.traffic.remote);
        if let Some(info) = &self.resource_info {
            chain.notify(NotifyType::SA_RESOURCE_INFO, info);
        }
    }

    /// Whether the peer may ask for this key exchange method instead of the one tried: once, lest it goes on for ever.
    pub(super) fn offers(&self, method: KeMethod) -> bool {
        let tried = self.ke.as_ref().map(KeSecret::method);
        !self.steered
            && tried != Some(method)
            && negotiate::ke_methods(&self.proposals).any(|m| m == method)
    }

    /// Checks the peer's answer. `nonces` are (ours, the peer's).
    pub(super) fn complete(
        self,
        body: &Body<'_>,
        nonces: (&[u8], &[u8]),
        peer: &PeerConfig,
        cx: &mut Cx<'_>,
    ) -> Result<Draft, CloseReason> {
        let spi_in = self.spi_in;
        let draft = self.check(body, nonces, peer);
        if draft.is_err() {
            cx.release_esp_spi(spi_in);
        }
        draft
    }

    fn check(
        self,
        body: &Body<'_>,
        nonces: (&[u8], &[u8]),
        peer: &PeerConfig,
    ) -> Result<Draft, CloseReason> {
        if let Some(notify) = body.error_notify() {
            return Err(self.refused(notify.kind, peer));
        }
        let (Some(sa), Some(ts_i), Some(ts_r)) = (&body.sa, &body.ts_i, &body.ts_r) else {
            return Err(CloseReason::Protocol("the peer's answer lacks SA, TSi or TSr"));
        };
        let chosen = negotiate::accept(&self.proposals, sa);
        let suite = chosen.and_then(|chosen| ChildSuite::from_transforms(&chosen.transforms));
        let (Some(chosen), Some(suite)) = (chosen, suite) else {
            return Err(CloseReason::Protocol(
                "the peer chose an ESP proposal that was not offered",
            ));
        };
        let spi_out = esp_spi(&chosen.spi)
            .ok_or(CloseReason::Protocol("the peer chose an ESP SPI that is not allowed"))?;
        if body.notify(NotifyType::USE_TRANSPORT_MODE).is_some() {
            // RFC 7296 §1.3.1: that is for the initiator to ask for.
            return Err(CloseReason::Protocol("the peer chose transport mode unasked"));
        }
        let traffic = Traffic::new(ts_i.clone(), ts_r.clone());
        // RFC 7296 §2.9: the answer lies within the offer.
        // RFC 9611 §3: children for resources are all alike.
        let differs = self.resource && !traffic.contains(&self.traffic);
        if traffic.is_empty() || !self.traffic.contains(&traffic) || differs {
            return Err(CloseReason::SelectorMismatch {
                ours: Box::new(self.traffic),
                theirs: Box::new(traffic),
            });
        }
        let g_ir = self.agree(&suite, body)?;
        let remarks = Remarks::read(body);
        let terms = Terms {
            slot: self.slot,
            resource: self.resource,
            spi_in: self.spi_in,
            spi_out,
            suite,
            traffic,
            remarks,
            confirmed: true,
        };
        Ok(Draft::new(terms, true, nonces, g_ir))
    }

    fn agree(
        &self,
        suite: &ChildSuite,
        body: &Body<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CloseReason> {
        match (suite.ke, &self.ke, &body.ke) {
            (None, _, _) => Ok(None),
            (Some(method), Some(ours), Some(theirs))
                if ours.method() == method && theirs.method == method =>
            {
                let bad = |_| CloseReason::Protocol(BAD_PUBLIC_VALUE);
                ours.agree(theirs.data).map(Some).map_err(bad)
            }
            _ => Err(CloseReason::Protocol("the peer's key exchange does not fit its proposal")),
        }
    }

    fn refused(&self, kind: NotifyType, peer: &PeerConfig) -> CloseReason {
        match kind {
            NotifyType::NO_PROPOSAL_CHOSEN => CloseReason::ChildProposalMismatch {
                ours: child_config(peer, self.slot.config).proposals.clone(),
                theirs: Vec::new(),
            },
            NotifyType::TS_UNACCEPTABLE => CloseReason::SelectorMismatch {
                ours: Box::new(self.traffic.clone()),
                theirs: Box::default(),
            },
            kind => CloseReason::Notified(kind),
        }
    }
}

/// Our answer to a request for a child.
pub(super) struct ChildAnswer {
    pub(super) draft: Draft,
    proposal: Proposal,
    nonce: Option<Vec<u8>>,
    ke: Option<(KeMethod, Vec<u8>)>,
    /// Whether the peer may have more of what it wants, in another child.
    more: bool,
    /// What SA_RESOURCE_INFO says; `None`: it is left out.
    resource_info: Option<Vec<u8>>,
}

/// Why we refuse a child, on the wire and for the operator.
pub(super) struct Refusal {
    pub(super) notify: NotifyType,
    pub(super) data: Vec<u8>,
    pub(super) reason: CloseReason,
    /// Which of our children it would have been, where that can be said.
    pub(super) slot: Option<Slot>,
}

/// How a child request reached us.
pub(super) enum Asked {
    /// In IKE_AUTH.
    First,
    /// In CREATE_CHILD_SA, as an additional one, but not the one that we are asking for ourselves. If it is for a resource,
    /// what there is `beside` it.
    Further { except: Option<Slot>, beside: Vec<Siblings> },
    /// In CREATE_CHILD_SA, in place of a child in this slot, with no more than this traffic, that receives on this SPI.
    Rekey(Slot, Traffic, EspSpi),
}

/// Answers a request for a child. For CREATE_CHILD_SA the second nonce is not used: a fresh one is made.
pub(super) fn answer(
    body: &Body<'_>,
    peer: &PeerConfig,
    asked: &Asked,
    nonces: (&[u8], &[u8]),
    cx: &mut Cx<'_>,
) -> Result<ChildAnswer, Refusal> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (&body.sa, &body.ts_i, &body.ts_r) else {
        let reason = CloseReason::Protocol("the peer's request lacks SA, TSi or TSr");
        return Err(Refusal::new(NotifyType::INVALID_SYNTAX, reason));
    };
    #[cfg(test)]
    if let Some(notify) = cx.shared.picky.filter(|_| ts_i.len().max(ts_r.len()) > 1) {
        return Err(Refusal::new(notify, CloseReason::Protocol("more than one pair")));
    }
    // The peer's TSi is its own side.
    let Choice { slot, traffic, more } =
        select(peer, asked, Traffic::new(ts_r.clone(), ts_i.clone()))?;
    let child = child_config(peer, slot.config);
    let siblings = Siblings::of(asked, slot, &traffic);
    let refusal = match asked {
        _ if siblings.is_some_and(|siblings| siblings.count >= child.most_for_resources) => {
            Some(NotifyType::TS_MAX_QUEUE)
        }
        Asked::Further { except: Some(ours), .. }
            if siblings.is_none()
                && ours.config == slot.config
                && ours.is_served_by(&traffic, child) =>
        {
            Some(NotifyType::TEMPORARY_FAILURE)
        }
        Asked::First | Asked::Further { .. } | Asked::Rekey(..) => None,
    };
    if let Some(notify) = refusal {
        return Err(Refusal::new(notify, CloseReason::Notified(notify)));
    }
    let slot = siblings.map_or(slot, |siblings| siblings.slot);
    let proposals = match siblings {
        Some(siblings) => &negotiate::only(&child.proposals, &siblings.suite),
        None => &child.proposals,
    };
    let fresh = !matches!(asked, Asked::First);
    let key_exchange = match asked {
        Asked::First => Fresh::No,
        Asked::Further { .. } | Asked::Rekey(..) => {
            Fresh::Yes(body.ke.as_ref().map(|ke| ke.method))
        }
    };
    let (mut proposal, suite) = negotiate::choose_esp(proposals, sa, key_exchange)
        .ok_or_else(|| no_proposal(slot, child, sa))?;
    let spi_out = esp_spi(&proposal.spi).ok_or_else(|| no_proposal(slot, child, sa))?;
    let (g_ir, ke) = exchange_keys(&suite, body, cx)?;
    let nonce = fresh.then(|| cx.nonce());
    let spi_in = match (asked, siblings) {
        (Asked::Rekey(_, _, replaced), _) => cx.fresh_esp_spi(Some(*replaced)),
        (_, Some(siblings)) => cx.esp_spi_of_resource(siblings.idle, child.resources),
        (Asked::First | Asked::Further { .. }, None) => cx.fresh_esp_spi(None),
    };
    proposal.spi = spi_in.0.get().to_be_bytes().to_vec();
    let remarks = Remarks::read(body);
    let resource_info = announced(child).filter(|_| remarks.resources);
    let (resource, confirmed) = (siblings.is_some(), false);
    let terms = Terms { slot, resource, spi_in, spi_out, suite, traffic, remarks, confirmed };
    let nonces = (nonces.0, nonce.as_deref().unwrap_or(nonces.1));
    let draft = Draft::new(terms, false, nonces, g_ir);
    Ok(ChildAnswer { draft, proposal, nonce, ke, more, resource_info })
}

impl ChildAnswer {
    /// Adds the payloads of the response.
    pub(super) fn write(&self, chain: &mut Chain) {
        chain.sa(std::slice::from_ref(&self.proposal));
        if let Some(nonce) = &self.nonce {
            chain.nonce(nonce);
        }
        if let Some((method, public)) = &self.ke {
            chain.ke(*method, public);
        }
        chain.ts_i(&self.draft.terms.traffic.remote);
        chain.ts_r(&self.draft.terms.traffic.local);
        if self.more {
            chain.notify(NotifyType::ADDITIONAL_TS_POSSIBLE, &[]);
        }
        if let Some(info) = &self.resource_info {
            chain.notify(NotifyType::SA_RESOURCE_INFO, info);
        }
    }
}

impl Refusal {
    const fn new(notify: NotifyType, reason: CloseReason) -> Self {
        Self { notify, data: Vec::new(), reason, slot: None }
    }

    /// Adds the notification of the response.
    pub(super) fn write(&self, chain: &mut Chain) {
        chain.notify(self.notify, &self.data);
    }
}

/// Which of our children the peer means, and what both have in common (RFC 7296 §2.9).
fn select(peer: &PeerConfig, asked: &Asked, offer: Traffic) -> Result<Choice, Refusal> {
    let choice = match asked {
        Asked::First | Asked::Further { .. } => choose(peer, &offer),
        Asked::Rekey(slot, scope, _) => rekeyed(*slot, scope, &offer),
    };
    choice.ok_or_else(|| {
        let reason = CloseReason::SelectorMismatch {
            ours: Box::new(all_traffic(peer)),
            theirs: Box::new(offer),
        };
        Refusal::new(NotifyType::TS_UNACCEPTABLE, reason)
    })
}

/// Everything that is configured, each selector once.
fn all_traffic(peer: &PeerConfig) -> Traffic {
    let mut all = Traffic::default();
    for (_, child) in peer.live_children() {
        for (list, selectors) in [(&mut all.local, &child.local), (&mut all.remote, &child.remote)]
        {
            for selector in selectors {
                if !list.contains(selector) {
                    list.push(*selector);
                }
            }
        }
    }
    all
}

/// Our half of a fresh key exchange and g^ir, if the suite has one.
#[expect(clippy::type_complexity, reason = "g^ir, and the method with our public value")]
fn exchange_keys(
    suite: &ChildSuite,
    body: &Body<'_>,
    cx: &mut Cx<'_>,
) -> Result<(Option<Zeroizing<Vec<u8>>>, Option<(KeMethod, Vec<u8>)>), Refusal> {
    let Some(method) = suite.ke else { return Ok((None, None)) };
    let theirs = body.ke.as_ref().filter(|ke| ke.method == method);
    let Some(theirs) = theirs else {
        return Err(Refusal {
            data: method.0.to_be_bytes().to_vec(),
            ..Refusal::new(
                NotifyType::INVALID_KE_PAYLOAD,
                CloseReason::Notified(NotifyType::INVALID_KE_PAYLOAD),
            )
        });
    };
    let syntax = || {
        let reason = CloseReason::Protocol(BAD_PUBLIC_VALUE);
        Refusal::new(NotifyType::INVALID_SYNTAX, reason)
    };
    let answered = ke::answer(method, theirs.data, &mut cx.shared.rng);
    let (public, g_ir) = answered.map_err(|_| syntax())?;
    Ok((Some(g_ir), Some((method, public))))
}

fn no_proposal(slot: Slot, child: &ChildConfig, theirs: &[Proposal]) -> Refusal {
    let (ours, theirs) = (child.proposals.clone(), theirs.to_vec());
    let reason = CloseReason::ChildProposalMismatch { ours, theirs };
    Refusal { slot: Some(slot), ..Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, reason) }
}

/// How old an SA may become if it cannot be replaced in time: a tenth older than it should, and a minute at least, so that
/// a replacement that is under way is not overtaken.
pub(super) fn longest(lifetime: Duration) -> Duration {
    lifetime + (lifetime / 10).max(Duration::from_mins(1))
}

/// The configuration of a child; its index comes from the same list.
pub(super) fn child_config(peer: &PeerConfig, index: usize) -> &ChildConfig {
    peer.children.get(index).expect("invariant: the index was taken from this list")
}

fn esp_spi(octets: &[u8]) -> Option<EspSpi> {
    let spi = u32::from_be_bytes(octets.try_into().ok()?);
    std::num::NonZeroU32::new(spi).filter(|spi| spi.get() > 255).map(EspSpi)
}

/// Proposals of children are ESP's; used where a request could be for an IKE SA instead.
pub(super) fn is_for_ike(body: &Body<'_>) -> bool {
    body.sa.as_ref().and_then(|sa| sa.first()).is_some_and(|p| p.protocol == ProtocolId::IKE)
}
