//! Rekeying the IKE SA (RFC 7296 §1.3.2, §2.18), both roles, with the races of §2.8.2 and §2.25.2.
//!
//! ```text
//!   old SA: SK { SA(new SPIi), Ni, KEi } ──►  ◄── SK { SA(new SPIr), Nr, KEr }
//!   new SA: inherits the children; message IDs start at 0; whoever asked is its original initiator and deletes the old SA
//! ```
//!
//! Both sides ask at once: the SA that the peer makes waits as `Rival` until the answer to ours is here; then the one with
//! the lowest nonce goes, deleted by whoever made it.

use super::channel::Channel;
use super::child::BAD_PUBLIC_VALUE;
use super::closing::Closing;
use super::collision::ours_goes;
use super::established::{Doom, Established};
use super::tasks::{Pending, Task};
use super::{Cx, IkeSa, Message, Origin, State, negotiate};
use crate::crypto::ke::KeSecret;
use crate::crypto::keymat::IkeKeys;
use crate::crypto::suite::IkeSuite;
use crate::error::CloseReason;
use crate::registry::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use crate::shared::News;
use crate::wire::header::IkeSpi;
use crate::wire::message::{Body, Chain};
use crate::wire::proposal::Proposal;

/// What we asked for.
pub(super) struct IkeOffer {
    spi: IkeSpi,
    nonce: Vec<u8>,
    /// The peer asked for this key exchange method; it does not get to ask again.
    steered: bool,
    ke: KeSecret,
    proposals: Vec<Proposal>,
}

/// An IKE SA that is agreed on but holds no children yet.
pub(super) struct Rival {
    channel: Channel,
    lowest_nonce: Vec<u8>,
}

impl Established {
    pub(super) fn ask_rekey_ike(&mut self, ke: Option<KeMethod>, cx: &mut Cx<'_>) {
        let config = cx.peer(self.peer);
        let steered = ke.is_some();
        let method = ke.unwrap_or(self.channel.suite.ke);
        let Some(ke) = KeSecret::generate(method, &mut cx.shared.rng) else { return };
        let spi = cx.fresh_ike_spi();
        let proposals = negotiate::offer(&config.proposals, &spi.octets());
        let offer = IkeOffer { spi, nonce: cx.nonce(), steered, ke, proposals };
        let mut chain = Chain::new();
        chain.sa(&offer.proposals);
        chain.nonce(&offer.nonce);
        chain.ke(method, offer.ke.public());
        self.pending = Some(Pending::RekeyIke(offer));
        self.channel.request(ExchangeType::CREATE_CHILD_SA, &chain, cx);
    }

    pub(super) fn on_rekey_ike_response(
        mut self: Box<Self>,
        offer: &IkeOffer,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        match (self.successor(offer, &message.body), self.rival.take()) {
            (Some(ours), None) => self.move_to(ours, cx),
            (Some(ours), Some(theirs)) => {
                if ours_goes(&ours.lowest_nonce, &theirs.lowest_nonce) {
                    // We made the redundant one: we delete it.
                    self.dismiss(ours.channel, true, cx);
                    self.yield_to(*theirs, cx)
                } else {
                    self.dismiss(theirs.channel, false, cx);
                    self.move_to(ours, cx)
                }
            }
            (None, Some(theirs)) => self.yield_to(*theirs, cx),
            (None, None) => {
                self.on_rekey_ike_refused(offer, &message.body, cx);
                self.pump(cx)
            }
        }
    }

    /// Checks the answer and derives the keys of the new SA.
    fn successor(&self, offer: &IkeOffer, body: &Body<'_>) -> Option<Rival> {
        let (sa, ke, nonce_r) = (body.sa.as_ref()?, body.ke.as_ref()?, body.nonce?);
        if body.error_notify().is_some() {
            return None;
        }
        let chosen = negotiate::accept(&offer.proposals, sa)?;
        let suite = IkeSuite::from_transforms(&chosen.transforms)?;
        if suite.ke != offer.ke.method() || ke.method != suite.ke {
            return None;
        }
        let theirs = ike_spi(chosen)?;
        let g_ir = offer.ke.agree(ke.data).ok()?;
        let nonces = (offer.nonce.as_slice(), nonce_r);
        Some(self.next_channel(Origin::Local, (offer.spi, theirs), suite, &g_ir, nonces))
    }

    fn next_channel(
        &self,
        origin: Origin,
        (ours, theirs): (IkeSpi, IkeSpi),
        suite: IkeSuite,
        g_ir: &[u8],
        (ni, nr): (&[u8], &[u8]),
    ) -> Rival {
        let (spi_i, spi_r) = match origin {
            Origin::Local => (ours, theirs),
            Origin::Remote => (theirs, ours),
        };
        let (prf, sk_d) = (self.channel.prf(), &self.channel.sk_d);
        let keys = IkeKeys::rekeyed(&suite, prf, sk_d, g_ir, ni, nr, spi_i, spi_r);
        let channel = self.channel.successor((ours, theirs), origin, suite, &keys);
        Rival { channel, lowest_nonce: ni.min(nr).to_vec() }
    }

    fn on_rekey_ike_refused(&mut self, offer: &IkeOffer, body: &Body<'_>, cx: &mut Cx<'_>) {
        let Some(notify) = body.error_notify() else {
            // The peer believes in an SA that we cannot use.
            let reason = CloseReason::Protocol("the peer's answer to the rekey cannot be used");
            self.doom = Some(Doom::Untold(reason));
            return;
        };
        match notify.kind {
            NotifyType::INVALID_KE_PAYLOAD => {
                let wanted = <[u8; 2]>::try_from(notify.data).map(u16::from_be_bytes).map(KeMethod);
                let offered =
                    |m: &KeMethod| negotiate::ke_methods(&offer.proposals).any(|o| o == *m);
                if let Some(method) =
                    wanted.ok().filter(|m| !offer.steered && *m != offer.ke.method() && offered(m))
                {
                    self.queue.push_front(Task::RekeyIke(Some(method)));
                }
            }
            NotifyType::TEMPORARY_FAILURE => {
                self.pause(cx);
                self.queue.push_front(Task::RekeyIke(None));
            }
            NotifyType::NO_ADDITIONAL_SAS => self.begin_anew(cx),
            kind => tracing::warn!(%kind, "the peer refused to rekey the IKE SA"),
        }
    }

    pub(super) fn on_rekey_ike_request(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        // RFC 7296 §2.25.2. A DELETE that is on its way would be for an SA that holds no children any more.
        let busy_with_child = matches!(
            self.pending,
            Some(
                Pending::NewChild(_)
                    | Pending::RekeyChild(..)
                    | Pending::DeleteChild(_)
                    | Pending::DeleteSpi
            )
        );
        if busy_with_child || self.rival.is_some() {
            self.refuse(message, NotifyType::TEMPORARY_FAILURE, &[], cx);
            return self.pump(cx);
        }
        let Some(theirs) = self.answer_rekey(message, cx) else { return self.pump(cx) };
        if matches!(self.pending, Some(Pending::RekeyIke(_))) {
            self.rival = Some(Box::new(theirs));
            return State::Established(self);
        }
        self.yield_to(theirs, cx)
    }

    /// Answers the peer's request; `None` if it was refused.
    fn answer_rekey(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) -> Option<Rival> {
        let config = cx.peer(self.peer);
        let body = &message.body;
        let (Some(sa), Some(ke), Some(nonce_i)) = (&body.sa, &body.ke, body.nonce) else {
            self.refuse_incomplete(message, cx);
            return None;
        };
        let chosen = negotiate::choose_ike(&config.proposals, sa, Some(ke.method));
        let chosen =
            chosen.and_then(|(proposal, suite)| Some((ike_spi(&proposal)?, proposal, suite)));
        let Some((spi_i, proposal, suite)) = chosen else {
            self.refuse(message, NotifyType::NO_PROPOSAL_CHOSEN, &[], cx);
            return None;
        };
        if ke.method != suite.ke {
            let group = suite.ke.0.to_be_bytes();
            self.refuse(message, NotifyType::INVALID_KE_PAYLOAD, &group, cx);
            return None;
        }
        let ours = KeSecret::generate(suite.ke, &mut cx.shared.rng)?;
        let Ok(g_ir) = ours.agree(ke.data) else {
            self.refuse_syntax(message, cx);
            self.doom = Some(Doom::Told(CloseReason::Protocol(BAD_PUBLIC_VALUE)));
            return None;
        };
        let (spi, nonce_r) = (cx.fresh_ike_spi(), cx.nonce());
        let mut chain = Chain::new();
        chain.sa(&[Proposal { spi: spi.octets().to_vec(), ..proposal }]);
        chain.nonce(&nonce_r);
        chain.ke(suite.ke, ours.public());
        self.respond(message, &chain, cx);
        Some(self.next_channel(Origin::Remote, (spi, spi_i), suite, &g_ir, (nonce_i, &nonce_r)))
    }

    /// The children move to the SA that we made; we delete the old one.
    fn move_to(self: Box<Self>, ours: Rival, cx: &mut Cx<'_>) -> State {
        let old = self.hand_over(ours, cx);
        State::Closing(Box::new(Closing::deleting(old, cx)))
    }

    /// The children move to the SA that the peer made; the peer deletes the old one.
    pub(super) fn yield_to(self: Box<Self>, theirs: Rival, cx: &mut Cx<'_>) -> State {
        let farewell = self.farewell();
        let old = self.hand_over(theirs, cx);
        State::Closing(Box::new(Closing::replaced(old, farewell, cx)))
    }

    fn hand_over(self: Box<Self>, new: Rival, cx: &mut Cx<'_>) -> Channel {
        let (peer, replaces) = (self.peer, self.channel.ours);
        let (mut state, old) = self.succeed(new.channel, cx);
        let spi = state.channel.ours;
        state.ask(cx);
        let sa = IkeSa::new(spi, State::Established(Box::new(state)), cx.now);
        cx.news(News::Born { sa: Box::new(sa), peer, replaces });
        old
    }

    /// An SA that lost the race: we delete it if we made it, or wait for the peer to do so.
    pub(super) fn dismiss(&self, channel: Channel, ours: bool, cx: &mut Cx<'_>) {
        let spi = channel.ours;
        let closing =
            if ours { Closing::deleting(channel, cx) } else { Closing::lingering(channel, cx) };
        let sa = Box::new(IkeSa::new(spi, State::Closing(Box::new(closing)), cx.now));
        cx.news(News::Born { sa, peer: self.peer, replaces: self.channel.ours });
    }
}

impl Rival {
    /// Its channel, for one that holds no children and never will.
    pub(super) fn into_channel(self) -> Channel {
        self.channel
    }
}

/// The SPI of a proposal for an IKE SA: eight octets, not zero.
fn ike_spi(proposal: &Proposal) -> Option<IkeSpi> {
    let octets = <[u8; 8]>::try_from(proposal.spi.as_slice()).ok()?;
    let spi = IkeSpi(u64::from_be_bytes(octets));
    (proposal.protocol == ProtocolId::IKE && spi != IkeSpi::ZERO).then_some(spi)
}
