//! Rekeying the IKE SA (RFC 7296 §1.3.2, §2.18), both roles, with the races of §2.8.2 and §2.25.2.
//!
//! ```text
//!   old SA: SK { SA(new SPIi), Ni, KEi } ──►  ◄── SK { SA(new SPIr), Nr, KEr }
//!   new SA: inherits the children; message IDs start at 0; whoever asked is its original initiator and deletes the old SA
//! ```
//!
//! Both sides ask at once: the SA that the peer makes waits as `Rival` until the answer to ours is here; then the one with
//! the lowest nonce goes, deleted by whoever made it. With further key exchanges: followup.rs.

use zeroize::Zeroizing;

use super::channel::Channel;
use super::child::BAD_PUBLIC_VALUE;
use super::closing::Closing;
use super::collision::ours_goes;
use super::established::{Doom, Established};
use super::followup::{PassiveWork, Rounds, Work};
use super::tasks::{Pending, Task};
use super::{Cx, IkeSa, Message, Origin, State, negotiate};
use crate::crypto::ke::{self, KeSecret};
use crate::crypto::keymat::IkeKeys;
use crate::crypto::suite::IkeSuite;
use crate::error::{CloseReason, DropReason};
use crate::registry::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use crate::shared::News;
use crate::wire::header::{Header, IkeSpi};
use crate::wire::message::{Body, Chain};
use crate::wire::payload::Delete;
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

/// An IKE SA that is agreed on, but for the further key exchanges of its suite.
pub(super) struct IkeDraft {
    origin: Origin,
    /// Ours and the peer's.
    spis: (IkeSpi, IkeSpi),
    suite: IkeSuite,
    g_ir: Zeroizing<Vec<u8>>,
    nonces: (Vec<u8>, Vec<u8>),
    pub(super) rounds: Rounds,
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
        match successor(offer, &message.body) {
            Some(draft) if draft.rounds.are_over() => {
                let ours = self.made_of(draft);
                self.on_rekeyed(ours, cx)
            }
            Some(draft) => self.on_drafted_ike(draft, message, cx),
            None => {
                if let Some(theirs) = self.rival.take() {
                    return self.yield_to(*theirs, cx);
                }
                if self.rival_in_the_making().is_none() {
                    self.on_rekey_ike_refused(offer, &message.body, cx);
                }
                self.pump(cx)
            }
        }
    }

    /// The first answer is here, and further key exchanges are to come: if the peer's rekey crossed ours, that is settled now.
    fn on_drafted_ike(
        mut self: Box<Self>,
        draft: IkeDraft,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        if let Some(theirs) = self.rival.take() {
            if ours_goes(draft.lowest_nonce(), &theirs.lowest_nonce) {
                return self.yield_to(*theirs, cx);
            }
            self.dismiss(theirs.channel, false, cx);
        } else if let Some(lowest_nonce) = self.rival_in_the_making() {
            if ours_goes(draft.lowest_nonce(), lowest_nonce) {
                // Nothing is there that would have to be deleted: the peer goes on with its own.
                return self.pump(cx);
            }
            self.drop_drafts(|work| matches!(work, PassiveWork::Ike(_)), cx);
        }
        self.follow_up(Work::Ike(draft), &message.body, cx)
    }

    /// The SA that we asked for is there.
    pub(super) fn on_rekeyed(mut self: Box<Self>, ours: Rival, cx: &mut Cx<'_>) -> State {
        if let Some(theirs) = self.rival.take() {
            if ours_goes(&ours.lowest_nonce, &theirs.lowest_nonce) {
                // We made the redundant one: we delete it.
                self.dismiss(ours.channel, true, cx);
                return self.yield_to(*theirs, cx);
            }
            self.dismiss(theirs.channel, false, cx);
        } else if let Some(lowest_nonce) = self.rival_in_the_making()
            && ours_goes(&ours.lowest_nonce, lowest_nonce)
        {
            self.dismiss(ours.channel, true, cx);
            return self.pump(cx);
        }
        self.move_to(ours, cx)
    }

    /// The SA that the peer asked for is there.
    pub(super) fn on_peer_rekeyed(mut self: Box<Self>, theirs: Rival, cx: &mut Cx<'_>) -> State {
        if matches!(self.pending, Some(Pending::RekeyIke(_))) {
            cx.news(News::Rival { spi: theirs.channel.ours, of: self.channel.ours });
            self.rival = Some(Box::new(theirs));
            return State::Established(self);
        }
        self.yield_to(theirs, cx)
    }

    /// Derives the keys of a new SA whose key exchanges are all made.
    pub(super) fn made_of(&self, draft: IkeDraft) -> Rival {
        let lowest_nonce = draft.lowest_nonce().to_vec();
        let IkeDraft { origin, spis: (ours, theirs), suite, g_ir, nonces: (ni, nr), rounds } =
            draft;
        let (spi_i, spi_r) = match origin {
            Origin::Local => (ours, theirs),
            Origin::Remote => (theirs, ours),
        };
        let (prf, sk_d) = (self.channel.prf(), &self.channel.sk_d);
        let further = rounds.secrets();
        let keys = IkeKeys::rekeyed(&suite, prf, sk_d, &g_ir, &ni, &nr, further, spi_i, spi_r);
        let channel = self.channel.successor((ours, theirs), origin, suite, &keys);
        Rival { channel, lowest_nonce }
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
        let busy = matches!(
            self.pending,
            Some(
                Pending::NewChild(_)
                    | Pending::RekeyChild(..)
                    | Pending::FollowUp(_)
                    | Pending::DeleteChild(_)
                    | Pending::DeleteSpis(_)
            )
        );
        // The peer forgot what it began before.
        self.drop_drafts(|work| matches!(work, PassiveWork::Ike(_)), cx);
        if busy || self.rival.is_some() || self.has_many_drafts() {
            self.refuse(message, NotifyType::TEMPORARY_FAILURE, &[], cx);
            return self.pump(cx);
        }
        let Some(theirs) = self.answer_rekey(message, cx) else { return self.pump(cx) };
        let theirs = self.made_of(theirs);
        self.on_peer_rekeyed(theirs, cx)
    }

    /// Answers the peer's request; `None` if it was refused, or if further key exchanges are to come.
    fn answer_rekey(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) -> Option<IkeDraft> {
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
        let Ok((public, g_ir)) = ke::answer(suite.ke, ke.data, &mut cx.shared.rng) else {
            self.refuse_syntax(message, cx);
            self.doom = Some(Doom::Told(CloseReason::Protocol(BAD_PUBLIC_VALUE)));
            return None;
        };
        let (spi, nonce_r) = (cx.fresh_ike_spi(), cx.nonce());
        let mut chain = Chain::new();
        chain.sa(&[Proposal { spi: spi.octets().to_vec(), ..proposal }]);
        chain.nonce(&nonce_r);
        chain.ke(suite.ke, &public);
        let nonces = (nonce_i, nonce_r.as_slice());
        let draft = IkeDraft::new(Origin::Remote, (spi, spi_i), suite, g_ir, nonces);
        let over = draft.rounds.are_over();
        let mut finished = Some(draft);
        if let Some(draft) = finished.take_if(|_| !over) {
            let link = self.await_followup(PassiveWork::Ike(draft), cx);
            chain.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, &link);
        }
        self.respond(message, &chain, cx);
        finished
    }

    /// The children move to the SA that we made; we delete the old one.
    fn move_to(self: Box<Self>, ours: Rival, cx: &mut Cx<'_>) -> State {
        let old = self.hand_over(ours, cx);
        State::Closing(Box::new(Closing::deleting(old, cx)))
    }

    /// The children move to the SA that the peer made; the peer deletes the old one.
    pub(super) fn yield_to(self: Box<Self>, theirs: Rival, cx: &mut Cx<'_>) -> State {
        let farewell = self.farewell();
        let untold = self.queue.iter().any(|task| task.is_about_addresses());
        let old = self.hand_over(theirs, cx);
        State::Closing(Box::new(Closing::replaced(old, farewell, untold, cx)))
    }

    /// The same, and the peer has deleted the old one already: what we have asked there nobody answers any more (RFC 7296 §2.25.2).
    pub(super) fn live_on(self: Box<Self>, theirs: Rival, cx: &mut Cx<'_>) -> State {
        let old = self.hand_over(theirs, cx);
        State::Closing(Box::new(Closing::lingering(old, cx)))
    }

    /// Whether this comes from the peer on the SA that it made while ours is under way, and is not the DELETE that says that ours stays.
    pub(super) fn is_of_rival(&self, header: &Header, datagram: &[u8]) -> bool {
        let Some(rival) = self.rival.as_ref().filter(|_| !header.flags.response) else {
            return false;
        };
        let mut copy = datagram.to_vec();
        let opened = rival.channel.open_outside_window(header, &mut copy);
        let body = opened.and_then(|opened| {
            Body::parse(opened.first, opened.plain).map_err(|_| DropReason::Malformed)
        });
        body.is_ok_and(|body| !body.deletes.iter().any(Delete::is_ike))
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
    pub(super) fn dismiss(&self, mut channel: Channel, ours: bool, cx: &mut Cx<'_>) {
        channel.catch_up(&self.channel);
        let spi = channel.ours;
        let closing =
            if ours { Closing::deleting(channel, cx) } else { Closing::lingering(channel, cx) };
        let sa = Box::new(IkeSa::new(spi, State::Closing(Box::new(closing)), cx.now));
        cx.news(News::Born { sa, peer: self.peer, replaces: self.channel.ours });
    }
}

/// Checks the answer.
fn successor(offer: &IkeOffer, body: &Body<'_>) -> Option<IkeDraft> {
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
    Some(IkeDraft::new(Origin::Local, (offer.spi, theirs), suite, g_ir, nonces))
}

impl IkeDraft {
    fn new(
        origin: Origin,
        spis: (IkeSpi, IkeSpi),
        suite: IkeSuite,
        g_ir: Zeroizing<Vec<u8>>,
        (ni, nr): (&[u8], &[u8]),
    ) -> Self {
        let rounds = Rounds::of(&suite.additional);
        Self { origin, spis, suite, g_ir, nonces: (ni.to_vec(), nr.to_vec()), rounds }
    }

    pub(super) fn lowest_nonce(&self) -> &[u8] {
        self.nonces.0.as_slice().min(&self.nonces.1)
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
