//! An established IKE SA: what it is, what it does with each message, and how it ends.
//!
//! ```text
//!   request  in ─► create_child.rs | rekey_ike.rs | inform.rs ─► answer
//!   response in ─► the one that asked: tasks.rs has the queue, one request at a time (RFC 7296 §2.3)
//!   time        ─► upkeep.rs ─► what is due
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::child::{Agreed, Child, Phase, longest};
use super::closing::Closing;
use super::extensions::Extensions;
use super::followup::Passive;
use super::proof::Ends;
use super::rekey_ike::Rival;
use super::slot::Slot;
use super::tasks::{Pending, Task};
use super::wanted::Retry;
use super::{Cx, Message, Origin, State};
use crate::config::{Dpd, Encap, PeerConfig};
use crate::crypto::auth::PeerAuthenticated;
use crate::error::{CloseReason, Unknown};
use crate::event::{ChildId, ChildSa, Event, IkeSaInfo, Path, PeerId, SendWhen};
use crate::registry::{ExchangeType, NotifyType};
use crate::shared::News;
use crate::wire::message::Chain;

/// What we make of an answer with a payload that we do not know and must not pass over.
pub(super) const UNSUPPORTED_CRITICAL: &str =
    "the peer sent a critical payload that we do not know";

const ODD_EXCHANGE: &str = "the peer began an exchange that has no place in an established SA";

/// An IKE SA in use.
pub(super) struct Established {
    pub(super) channel: Channel,
    pub(super) peer: PeerId,
    pub(super) ends: Ends,
    pub(super) children: Vec<Child>,
    pub(super) queue: VecDeque<Task>,
    pub(super) pending: Option<Pending>,
    /// The IKE SA that the peer made while our own rekey was under way (RFC 7296 §2.8.2).
    pub(super) rival: Option<Box<Rival>>,
    /// What the peer is about to make by further key exchanges (RFC 9370).
    pub(super) passives: Vec<Passive>,
    pub(super) rekey_at: Instant,
    pub(super) expires_at: Instant,
    pub(super) last_inbound: Instant,
    pub(super) dpd: Option<Dpd>,
    pub(super) paused_until: Option<Instant>,
    pub(super) retries: Vec<Retry>,
    /// When to see whether a child that is missing is still missing.
    pub(super) look_at: Option<Instant>,
    /// Configurations of which the peer wants each pair of selectors in a child of its own.
    pub(super) split: Vec<usize>,
    /// Slots for which the peer wants no further child for resources of ours (RFC 9611).
    pub(super) enough: Vec<Slot>,
    /// When those that are missing are asked for, if the peer has not done so.
    pub(super) resources_at: Option<Instant>,
    /// What both sides can do beyond RFC 7296.
    pub(super) extensions: Extensions,
    /// Where the children run: behind `channel.path` while a move is under way (RFC 4555).
    pub(super) esp_path: Path,
    /// Before whom a NAT stands, us and the peer, as the data plane knows it.
    pub(super) esp_nat: (bool, bool),
    /// When it ends because another one took its place.
    pub(super) retires_at: Option<Instant>,
    /// SPIs that the peer deleted while its answer that speaks of them may have been on its way.
    pub(super) deleted_early: Vec<u32>,
    /// Why it has to end when the message at hand is dealt with.
    pub(super) doom: Option<Doom>,
    /// Since when, and when last, the peer put us off (TEMPORARY_FAILURE) without granting anything.
    pub(super) put_off: Option<(Instant, Instant)>,
    first: First,
    /// Only `crypto/auth.rs` makes one: without it there is no such state.
    proof: PeerAuthenticated,
}

/// The IKE_SA_INIT exchange that it goes back to, however often it was rekeyed since: settles which of two SAs stays that
/// both sides began at once.
pub(super) struct First {
    pub(super) lowest_nonce: Vec<u8>,
    pub(super) origin: Origin,
    known: Known,
}

/// Whether the peer is known to have the SA: our answer to its IKE_AUTH may be lost, and the peer may have given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Surely,
    NotYet,
    /// Not yet, and it is to be told.
    Awaited,
}

/// What ends an SA in the midst of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doom {
    /// Our INVALID_SYNTAX has told the peer, which ends it, too, without a DELETE (RFC 7296 §2.21.3).
    Told(CloseReason),
    /// The peer has to be told with a DELETE.
    Untold(CloseReason),
}

impl Established {
    /// An SA fresh out of IKE_AUTH; the proof says that the peer is who the second identity says.
    pub(super) fn begin(
        channel: Channel,
        peer: PeerId,
        (ends, extensions): (Ends, Extensions),
        nonces: &(Vec<u8>, Vec<u8>),
        proof: PeerAuthenticated,
        cx: &mut Cx<'_>,
    ) -> Self {
        let spi = channel.ours;
        let lowest_nonce = nonces.0.clone().min(nonces.1.clone());
        let known = match channel.origin {
            Origin::Local => Known::Surely,
            Origin::Remote => Known::NotYet,
        };
        let first = First { lowest_nonce, origin: channel.origin, known };
        let mut state = Self::assemble(channel, peer, ends, first, proof, cx);
        state.extensions = extensions;
        cx.event(Event::PeerUp { peer, info: Box::new(state.info()) });
        cx.news(News::Up { spi, peer });
        state
    }

    /// The SA that takes the place of `self`: same peer, same children, new keys (RFC 7296 §2.18).
    pub(super) fn succeed(mut self, mut channel: Channel, cx: &mut Cx<'_>) -> (Self, Channel) {
        channel.catch_up(&self.channel);
        self.drop_drafts(|_| true, cx);
        let mut state = Self::assemble(channel, self.peer, self.ends, self.first, self.proof, cx);
        for child in self.children.iter().filter(|child| !child.down) {
            cx.news(News::ChildOf { child: child.id, spi: state.channel.ours });
        }
        state.children = self.children;
        state.retries = self.retries;
        state.extensions = self.extensions;
        state.esp_path = self.esp_path;
        state.esp_nat = self.esp_nat;
        state.retires_at = self.retires_at;
        state.split = self.split;
        state.enough = self.enough;
        state.resources_at = self.resources_at;
        // The answer to what was asked finds the old SA, where nobody waits for it any more.
        let again = self.pending.as_ref().map(Pending::again).unwrap_or_default();
        state.queue = self
            .queue
            .into_iter()
            .chain(again)
            .filter(|task| !matches!(task, Task::RekeyIke(_)))
            .collect();
        // Of one whose place another took the caller has heard before.
        if state.retires_at.is_none() {
            cx.event(Event::PeerRekeyed { peer: state.peer, info: Box::new(state.info()) });
        }
        (state, self.channel)
    }

    fn assemble(
        mut channel: Channel,
        peer: PeerId,
        ends: Ends,
        first: First,
        proof: PeerAuthenticated,
        cx: &mut Cx<'_>,
    ) -> Self {
        let config = cx.peer(peer);
        let lifetime = config.lifetime.time;
        channel.fragments.trust(&proof);
        Self {
            extensions: Extensions::default(),
            esp_path: channel.path,
            esp_nat: (channel.nat_local, channel.nat_remote),
            retires_at: None,
            doom: None,
            put_off: None,
            channel,
            peer,
            ends,
            children: Vec::new(),
            queue: VecDeque::new(),
            pending: None,
            rival: None,
            passives: Vec::new(),
            rekey_at: cx.rekey_time(lifetime),
            expires_at: cx.now + longest(lifetime),
            last_inbound: cx.now,
            dpd: config.dpd,
            paused_until: None,
            retries: Vec::new(),
            split: Vec::new(),
            enough: Vec::new(),
            resources_at: None,
            look_at: None,
            deleted_early: Vec::new(),
            first,
            proof,
        }
    }

    /// What it is, for people.
    pub(super) fn info(&self) -> IkeSaInfo {
        let spis = match self.channel.origin {
            Origin::Local => (self.channel.ours.0, self.channel.theirs.0),
            Origin::Remote => (self.channel.theirs.0, self.channel.ours.0),
        };
        IkeSaInfo {
            initiator: self.channel.origin == Origin::Local,
            local_id: self.ends.local_id.clone(),
            remote_id: self.ends.remote_id.clone(),
            local_auth: self.ends.local_auth,
            remote_auth: self.ends.remote.method,
            remote_certificate: self.ends.remote.certificate.clone(),
            suite: self.channel.suite,
            path: self.channel.path,
            nat_local: self.channel.nat_local,
            nat_remote: self.channel.nat_remote,
            fragmentation: self.channel.fragments.are_agreed(),
            mobike: self.extensions.mobility.is_some(),
            redirect: self.check_redirectable().is_ok(),
            message_id_sync: self.extensions.message_id_sync,
            ppk: self.extensions.ppk.clone(),
            ppk_early: self.extensions.ppk_early,
            spis,
            rekey_at: self.rekey_at,
        }
    }

    /// Gate 3 for requests.
    pub(super) fn on_request(mut self: Box<Self>, message: &Message<'_>, cx: &mut Cx<'_>) -> State {
        self.heard_from(message, cx);
        // With a window of one, a new request says that our last answer arrived.
        self.confirm_children(cx);
        if let Some(kind) = message.body.unsupported_critical {
            let mut chain = Chain::new();
            chain.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind.0]);
            self.respond(message, &chain, cx);
            return self.pump(cx);
        }
        match message.exchange {
            ExchangeType::CREATE_CHILD_SA => self.on_create_child_request(message, cx),
            ExchangeType::INFORMATIONAL => self.on_informational_request(message, cx),
            ExchangeType::IKE_FOLLOWUP_KE => self.on_followup_request(message, cx),
            _ => self.fail_syntax(ODD_EXCHANGE, message, cx),
        }
    }

    /// Answers INVALID_SYNTAX, after which both sides are without the SA (RFC 7296 §2.21.3).
    pub(super) fn fail_syntax(
        mut self: Box<Self>,
        why: &'static str,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        self.refuse_syntax(message, cx);
        self.fail(CloseReason::Protocol(why), cx)
    }

    /// Gate 3 for responses: the window let it pass, so it answers the pending request.
    pub(super) fn on_response(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        self.heard_from(message, cx);
        if message.body.unsupported_critical.is_some() {
            // It must be rejected (RFC 7296 §2.5), and then we do not know what the peer believes in.
            return self.close(CloseReason::Protocol(UNSUPPORTED_CRITICAL), cx);
        }
        if message.body.notify(NotifyType::INVALID_SYNTAX).is_some() {
            // The peer has dropped the SA with this answer (RFC 7296 §2.21.3).
            return self.fail(CloseReason::Notified(NotifyType::INVALID_SYNTAX), cx);
        }
        if message.exchange == ExchangeType::CREATE_CHILD_SA
            && message.body.notify(NotifyType::TEMPORARY_FAILURE).is_none()
        {
            self.put_off = None;
        }
        match self.pending.take() {
            Some(Pending::NewChild(offer)) => self.on_new_child_response(offer, message, cx),
            Some(Pending::RekeyChild(old, offer)) => {
                self.on_rekey_child_response(old, offer, message, cx)
            }
            Some(Pending::RekeyIke(offer)) => self.on_rekey_ike_response(&offer, message, cx),
            Some(Pending::FollowUp(followup)) => self.on_followup_response(*followup, message, cx),
            Some(Pending::DeleteChild(child)) => self.on_child_deleted(child, cx),
            Some(Pending::UpdateAddresses(probe)) => self.on_addresses_updated(&probe, message, cx),
            Some(Pending::VerifyPath(probe)) => self.on_path_verified(&probe, message, cx),
            Some(Pending::Liveness) => {
                self.on_nat_check(&message.body, cx);
                self.pump(cx)
            }
            Some(Pending::DeleteSpis(spis)) => {
                for spi in spis {
                    cx.release_esp_spi(spi);
                }
                self.pump(cx)
            }
            Some(Pending::AnnounceAddresses | Pending::Redirect) | None => self.pump(cx),
        }
    }

    /// Authentic and new: the peer lives, and if it moved it may have to be followed.
    fn heard_from(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        self.last_inbound = cx.now;
        if std::mem::replace(&mut self.first.known, Known::Surely) == Known::Awaited {
            cx.news(News::Known { spi: self.channel.ours, peer: self.peer });
        }
        if message.path != self.channel.path {
            self.on_other_way(message, cx);
        }
    }

    /// Whether the peer is known to have it. If not it is asked, and [`News::Known`] tells of its answer.
    pub(super) fn known_or_ask(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.first.known == Known::NotYet {
            self.first.known = Known::Awaited;
            self.want(Task::Liveness);
            self.ask(cx);
        }
        self.first.known == Known::Surely
    }

    /// Answers a request.
    pub(super) fn respond(&mut self, message: &Message<'_>, chain: &Chain, cx: &mut Cx<'_>) {
        self.channel.respond(message, chain, cx);
    }

    /// Answers a request that makes no sense.
    pub(super) fn refuse_syntax(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        let mut chain = Chain::new();
        chain.notify(NotifyType::INVALID_SYNTAX, &[]);
        self.respond(message, &chain, cx);
    }

    /// Hands a child to the data plane and keeps it.
    pub(super) fn install(
        &mut self,
        agreed: Agreed,
        send: SendWhen,
        replaces: Option<ChildId>,
        cx: &mut Cx<'_>,
    ) {
        let Agreed { mut child, keys_in, keys_out } = agreed;
        child.resource = self.is_beside_another(&child);
        let config = cx.peer(self.peer);
        // The peer may have deleted the old one meanwhile, or its time is over.
        let there = |old: &ChildId| self.children.iter().any(|c| c.id == *old && !c.down);
        let replaces = replaces.filter(there);
        if !self.is_wanted(&child, cx) {
            return;
        }
        cx.news(News::ChildOf { child: child.id, spi: self.channel.ours });
        let sa = ChildSa {
            id: child.id,
            peer: self.peer,
            config: child.slot.config,
            resource: child.resource,
            spi_in: child.spi_in,
            spi_out: child.spi_out,
            suite: child.suite,
            keys_in,
            keys_out,
            local_ts: child.traffic.local.clone(),
            remote_ts: child.traffic.remote.clone(),
            path: self.esp_path,
            udp_encap: self.encapsulates(&config, cx),
            send,
            tfc_padding: child.remarks.tfc_padding,
            more_possible: child.remarks.more_possible,
            rekey_at: child.rekey_at,
            hard: child.hard,
        };
        cx.event(Event::ChildUp { child: Box::new(sa), replaces });
        let (slot, resource) = (child.slot, child.resource);
        self.children.push(child);
        if !resource {
            self.want_resources(slot, cx);
        }
    }

    pub(super) fn encapsulates(&self, config: &PeerConfig, cx: &Cx<'_>) -> bool {
        let channel = &self.channel;
        let wanted = channel.nat_local || channel.nat_remote || config.encap == Encap::Force;
        // RFC 7296 §2.23: never on the port of plain IKE, where nothing tells ESP from IKE.
        let on_nat_port = channel.path.local.port() != cx.shared.config.ike_port;
        channel.nat_traversal && wanted && on_nat_port
    }

    /// Takes a child out and tells the data plane.
    pub(super) fn remove(&mut self, child: ChildId, reason: CloseReason, cx: &mut Cx<'_>) {
        let Some(index) = self.children.iter().position(|c| c.id == child) else { return };
        let mut gone = self.children.swap_remove(index);
        cx.release_esp_spi(gone.spi_in);
        gone.take_down(reason, cx);
        self.drop_drafts_of(child, cx);
    }

    /// Removes all children at once.
    pub(super) fn take_children_down(&mut self, reason: &CloseReason, cx: &mut Cx<'_>) {
        while let Some(child) = self.children.first().map(|child| child.id) {
            self.remove(child, reason.clone(), cx);
        }
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.channel.rtt()
    }

    pub(super) fn rekey_child(&mut self, child: ChildId, cx: &mut Cx<'_>) -> Result<(), Unknown> {
        let known = self.children.iter().any(|c| c.id == child && c.phase == Phase::Up);
        if !known {
            return Err(Unknown);
        }
        self.want(Task::RekeyChild(child, None));
        self.ask(cx);
        Ok(())
    }

    pub(super) fn rekey_self(&mut self, cx: &mut Cx<'_>) {
        self.want(Task::RekeyIke(None));
        self.ask(cx);
    }

    pub(super) const fn origin(&self) -> Origin {
        self.channel.origin
    }

    pub(super) const fn first(&self) -> &First {
        &self.first
    }

    /// Ends the SA because it cannot go on; the peer is not asked.
    pub(super) fn fail(mut self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        self.end(reason, cx);
        State::Closing(Box::new(Closing::lingering(self.channel, cx)))
    }

    /// Ends the SA of a peer that counts as dead (RFC 7296 §2.4).
    pub(super) fn bury(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        self.end(CloseReason::DpdTimeout, cx);
        State::Closing(Box::new(Closing::silent(self.channel, cx)))
    }

    /// Ends the SA with a DELETE (RFC 7296 §1.4.1). If a request still waits, the DELETE goes out after its answer.
    /// So does the one for an SA that the peer made in place of this one and that we have not moved to.
    pub(super) fn close(mut self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        if let Some(rival) = self.rival.take() {
            self.dismiss(rival.into_channel(), true, cx);
        }
        self.end(reason, cx);
        State::Closing(Box::new(Closing::deleting(self.channel, cx)))
    }

    /// Gives back the SPIs of pairs that never came to be.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>) {
        let asked = self.pending.take().as_ref().map(Pending::again).unwrap_or_default();
        self.drop_drafts(|_| true, cx);
        for task in self.queue.drain(..).chain(asked) {
            if let Task::DeleteSpi(spi) = task {
                cx.release_esp_spi(spi);
            }
        }
    }

    /// Takes everything down and tells the endpoint.
    pub(super) fn end(&mut self, reason: CloseReason, cx: &mut Cx<'_>) {
        self.take_children_down(&reason, cx);
        self.release(cx);
        cx.news(News::Lost { spi: self.channel.ours, peer: self.peer, reason });
    }
}
