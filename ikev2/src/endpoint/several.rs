//! Several IKE SAs with one peer: which of them stays.
//!
//! ```text
//!   comes up     made to take the place of others        those go a moment later (`retire_earlier`)
//!                crossed one of the peer's (§2.8.1)      the one with the lowest nonce goes, once it is known that both have the other
//!                the peer has no other                   INITIAL_CONTACT (§2.4): the others go without a word
//!                one more than there may be              the oldest goes
//!   speaks       waits for the end of a rekey of ours     the peer goes on with it, and so do we (§2.8.2)
//!   is lost      others are there                        the newest of those that were to go stays
//!                none is                                 PeerDown, and the next attempt
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Endpoint;
use crate::error::CloseReason;
use crate::event::{Event, PeerId};
use crate::sa::collision::ours_goes;
use crate::sa::{IkeSa, Origin, Stage};
use crate::shared::Cx;
use crate::timers::Timer;
use crate::wire::header::{Header, IkeSpi};

impl Endpoint {
    /// The one in use: the newest that is up, and one whose place another took only if there is no other.
    pub(super) fn in_use(&self, id: PeerId) -> Option<IkeSpi> {
        let sas = &self.peers.get(id)?.sas;
        let up = || {
            sas.iter()
                .rev()
                .filter_map(|spi| self.sas.get(spi))
                .filter(|sa| sa.stage() == Stage::Up)
        };
        up().find(|sa| !sa.is_retiring()).or_else(|| up().next()).map(|sa| sa.spi)
    }

    pub(super) fn on_up(&mut self, now: Instant, spi: IkeSpi, id: PeerId) {
        self.peers.own(id, spi);
        let Ok(peer) = self.peers.one(id) else { return };
        if peer.barred {
            // It was taken down while its IKE_AUTH was on the way.
            return self.close(now, spi, CloseReason::Local);
        }
        peer.is_up(self.sas.get(&spi).and_then(IkeSa::path).map(|path| path.remote.ip()));
        self.beside.remove(&spi);
        self.retire_earlier(now, spi, id);
        let Ok(peer) = self.peers.one(id) else { return };
        let others: Vec<IkeSpi> = peer.sas.iter().copied().filter(|other| *other != spi).collect();
        self.timers.clear(Timer::Peer(id));
        for other in others {
            match self.sas.get(&other).map(IkeSa::stage) {
                // The peer was faster; our own attempt is not needed.
                Some(Stage::Knocking) => self.close(now, other, CloseReason::Local),
                Some(Stage::Up) => self.on_second(now, spi, other),
                Some(Stage::HalfOpen | Stage::Closing | Stage::Closed) | None => {}
            }
        }
        self.bound_up(now, id);
    }

    /// A new SA of ours that is to take the place of another takes that of all that were up when it began: which one was in use
    /// then may have gone since, as one of two that crossed, and the other stayed.
    fn retire_earlier(&mut self, now: Instant, new: IkeSpi, id: PeerId) {
        let Some(sa) = self.sas.get(&new) else { return };
        let (Some(named), born) = (sa.supersedes, sa.born()) else { return };
        let Ok(peer) = self.peers.one(id) else { return };
        for old in peer.sas.clone().into_iter().filter(|old| *old != new) {
            let earlier = |sa: &&mut IkeSa| {
                let before = sa.up_since().is_some_and(|since| since < born);
                sa.stage() == Stage::Up && (old == named || before)
            };
            if let Some(sa) = self.sas.get_mut(&old).filter(earlier) {
                sa.retire(&Cx { now, shared: &mut self.shared });
            }
            self.refresh(old);
        }
    }

    /// A peer that begins one SA after the other without INITIAL_CONTACT keeps the newest.
    fn bound_up(&mut self, now: Instant, id: PeerId) {
        let Ok(peer) = self.peers.one(id) else { return };
        let stays = |spi: &IkeSpi| {
            let sa = self.sas.get(spi)?;
            let counts = sa.stage() == Stage::Up && !sa.is_retiring();
            counts.then_some((sa.up_since()?, *spi))
        };
        let mut up: Vec<(Instant, IkeSpi)> = peer.sas.iter().filter_map(stays).collect();
        up.sort_by_key(|(since, _)| *since);
        // One, and for a while two that cross and are to take its place.
        let most = self.shared.config.max_ike_sas.max(3);
        for (_, oldest) in up.iter().take(up.len().saturating_sub(most)) {
            self.close(now, *oldest, CloseReason::Rekeyed);
        }
    }

    /// A second SA with the same peer. If both sides began one at once, the one with the lowest nonce goes, as for a
    /// rekey (RFC 7296 §2.8.1): deleted by whoever made it.
    fn on_second(&mut self, now: Instant, new: IkeSpi, old: IkeSpi) {
        let (Some(first), Some(second)) = (self.sas.get(&old), self.sas.get(&new)) else { return };
        if !crossed(first, second) {
            return;
        }
        let (Some(a), Some(b)) = (first.lowest_nonce(), second.lowest_nonce()) else { return };
        let (ours, theirs, ours_goes) = match (a, b) {
            // Both are ours: the one that was begun later is the one that we want.
            ((_, Origin::Local), (_, Origin::Local)) => {
                let earlier = if first.born() < second.born() { old } else { new };
                return self.close(now, earlier, CloseReason::Rekeyed);
            }
            ((a, Origin::Local), (b, Origin::Remote)) => (old, new, ours_goes(a, b)),
            ((a, Origin::Remote), (b, Origin::Local)) => (new, old, ours_goes(b, a)),
            _ => return,
        };
        let Some(sa) = self.sas.get_mut(&theirs) else { return };
        // If the peer has given it up while our answer was lost, ours is the only one that both have.
        let known = sa.known_or_ask(&mut Cx { now, shared: &mut self.shared });
        self.refresh(theirs);
        if known && ours_goes {
            self.close(now, ours, CloseReason::Rekeyed);
        }
    }

    /// The peer has this SA, of which that was not known when another one crossed it.
    pub(super) fn on_known(&mut self, now: Instant, spi: IkeSpi, id: PeerId) {
        let others = self.peers.one(id).map_or_else(|_| Vec::new(), |peer| peer.sas.clone());
        let is_up = |sas: &HashMap<IkeSpi, IkeSa>, spi| {
            sas.get(&spi).is_some_and(|sa| sa.stage() == Stage::Up)
        };
        for other in others.into_iter().filter(|other| *other != spi) {
            if is_up(&self.sas, spi) && is_up(&self.sas, other) {
                self.on_second(now, spi, other);
            }
        }
    }

    /// The peer speaks on an SA that it made while our own rekey is under way: it goes on with that one, whatever became of our request.
    pub(super) fn follow_rival(
        &mut self,
        now: Instant,
        rival: IkeSpi,
        header: &Header,
        payload: &[u8],
    ) {
        let Some(of) = self.rivals.get(&rival).copied() else { return };
        if let Some(sa) = self.sas.get_mut(&of) {
            sa.follow_rival(header, payload, &mut Cx { now, shared: &mut self.shared });
            self.settle(now, of);
        }
    }

    /// The peer has forgotten every other SA with us: so do we, without a word. One that we were making at the same time
    /// is not meant, nor one that the peer began later, whose messages were faster.
    pub(super) fn on_initial_contact(&mut self, now: Instant, new: IkeSpi, id: PeerId) {
        let Ok(peer) = self.peers.one(id) else { return };
        let sas = peer.sas.clone();
        for old in sas.into_iter().filter(|spi| *spi != new) {
            let (Some(first), Some(second)) = (self.sas.get(&old), self.sas.get(&new)) else {
                continue;
            };
            let both_theirs = [first, second]
                .into_iter()
                .all(|sa| sa.lowest_nonce().is_some_and(|(_, origin)| origin == Origin::Remote));
            let meant =
                if both_theirs { first.born() <= second.born() } else { !crossed(first, second) };
            if first.stage() == Stage::Up && meant {
                if let Some(sa) = self.sas.get_mut(&old) {
                    let cx = &mut Cx { now, shared: &mut self.shared };
                    sa.forget(&CloseReason::InitialContact, cx);
                }
                self.refresh(old);
            }
        }
    }

    pub(super) fn on_lost(&mut self, now: Instant, spi: IkeSpi, id: PeerId, reason: CloseReason) {
        let was_up = self.sas.get(&spi).is_some_and(|sa| sa.up_since().is_some());
        let beside = self.beside.remove(&spi);
        self.refresh(spi);
        let Ok(peer) = self.peers.one(id) else { return };
        let sas = peer.sas.clone();
        let lives = |spi: &IkeSpi| {
            self.sas
                .get(spi)
                .is_some_and(|sa| !matches!(sa.stage(), Stage::Closing | Stage::Closed))
        };
        if sas.iter().any(lives) {
            self.keep_one(&sas);
            // Of two SAs that crossed one is gone; what the caller knows may be of that one.
            let survivor = self.ike_sa(id).filter(|_| was_up);
            if let Some(info) = survivor.map(Box::new) {
                self.shared.out.events.push_back(Event::PeerRekeyed { peer: id, info });
            }
            if beside && reason != CloseReason::Local {
                self.shared.out.events.push_back(Event::SwitchFailed { peer: id, reason });
            }
            return;
        }
        let config = Arc::clone(&Cx { now, shared: &mut self.shared }.peer(id));
        let Ok(peer) = self.peers.one(id) else { return };
        let mut cx = Cx { now, shared: &mut self.shared };
        peer.on_down(&reason, &config, &mut cx);
        let retry_at = peer.retry_at;
        cx.event(Event::PeerDown { peer: id, reason, retry_at });
        self.pursue(now, id);
    }

    /// What took the place of others is gone before they were: deleted by the peer, or as one of two that crossed. The newest of
    /// those others stays, lest there be none.
    fn keep_one(&mut self, sas: &[IkeSpi]) {
        let is_up = |spi: &&IkeSpi| self.sas.get(spi).is_some_and(|sa| sa.stage() == Stage::Up);
        let up: Vec<IkeSpi> = sas.iter().filter(is_up).copied().collect();
        let retires = |spi: &IkeSpi| self.sas.get(spi).is_some_and(IkeSa::is_retiring);
        if let Some(newest) = up.last().filter(|_| up.iter().all(retires)) {
            self.sas.get_mut(newest).map(IkeSa::stay);
            self.refresh(*newest);
        }
    }
}

/// Whether each SA was begun before the other one was up, so that neither side knew of the other's.
fn crossed(one: &IkeSa, other: &IkeSa) -> bool {
    one.up_since() >= Some(other.born()) && other.up_since() >= Some(one.born())
}
