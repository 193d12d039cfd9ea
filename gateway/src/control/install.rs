//! Where negotiated SAs become installed ones: the one place that knows both `ikev2` and `esp`.
//!
//! ```text
//!   ikev2::ChildSa ──► esp::InboundSa  ──RxCommand::Install──► rx pump      first: the peer may send as soon as it has our answer,
//!                  │                                                        or our first packet
//!                  └─► esp::OutboundSa ──TxCommand::Install──► tx pump      held while the peer may not be ready (RFC 7296 §2.8)
//!   FirstInbound, ChildConfirmed ──► TxCommand::Activate
//!   worker         =   family of the inbound SPI % workers, for SAs of which each worker has its own (RFC 9611)
//!   ChildDown      ──► TxCommand::Remove at once, RxCommand::Remove at once or, after a rekey, when the packets in flight are in
//!   PeerMoved      ──► TxCommand::Move for every child that moves
//!   path MTU       ──► TxCommand::Mtu, RxCommand::Mtu for every child whose packets have another room now
//! ```

mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use esp::{InboundSa, OutboundSa, Quote, SaParams, Selector, Selectors, Suite};
use ikev2::{
    ChildId, ChildKeys, ChildSa, ChildSuite, ChildUsage, CloseReason, EspSpi, Path, PeerId,
    SendWhen, TrafficSelector,
};

use super::path_mtu::Room;
use super::retiring::Retiring;
use crate::config::MssClamp;
use crate::dataplane::{
    ChildCounters, Dataplane, Destination, RxCommand, SaUsage, SlotId, Transport, TxCommand,
};

pub(super) use suite::possible_suites;

/// An SA pair could not be installed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// The data plane does not know the algorithms.
    #[error("the data plane cannot do {0}")]
    Suite(ChildSuite),
    /// The keys do not fit.
    #[error(transparent)]
    Key(#[from] esp::KeyError),
}

/// What does not depend on one SA: the configured child that it serves.
#[derive(Debug)]
pub(super) struct Place<'c> {
    /// Its slot in the data plane.
    pub(super) slot: SlotId,
    /// Packets.
    pub(super) replay_window: u32,
    /// Octets of the longest inner packet.
    pub(super) mtu: u16,
    /// What TCP is told.
    pub(super) mss_clamp: MssClamp,
    /// Shared by all SAs of the slot.
    pub(super) counters: &'c Arc<ChildCounters>,
}

/// Every installed SA pair, found in the same time however many there are.
#[derive(Debug, Default)]
pub(super) struct Installer {
    installed: BTreeMap<ChildId, Installed>,
    by_slot: BTreeSet<(SlotId, ChildId)>,
    by_peer: BTreeSet<(PeerId, ChildId)>,
    by_spi_in: BTreeSet<(NonZeroU32, ChildId)>,
    /// Peers choose these, so that several may be the same.
    by_spi_out: BTreeSet<(NonZeroU32, ChildId)>,
    retiring: Retiring,
    /// Whether the keys of SAs are kept, to be given away.
    keeps_keys: bool,
}

/// One installed SA pair.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) peer: PeerId,
    pub(super) slot: SlotId,
    /// The worker that sends on it; `None`: whichever has none of its own.
    pub(super) worker: Option<usize>,
    pub(super) spi_in: EspSpi,
    pub(super) spi_out: EspSpi,
    pub(super) suite: ChildSuite,
    /// The data plane's word for it.
    pub(super) algorithms: Suite,
    pub(super) udp_encap: bool,
    pub(super) local_ts: Vec<TrafficSelector>,
    pub(super) remote_ts: Vec<TrafficSelector>,
    pub(super) more_possible: bool,
    pub(super) rekey_at: Instant,
    /// Of packets to us and to the peer, if they are kept.
    pub(super) keys: Option<(ChildKeys, ChildKeys)>,
    /// What the pumps know of the path.
    room: Room,
    mss_clamp: MssClamp,
    counters: Arc<ChildCounters>,
    usage: Arc<SaUsage>,
}

impl Installed {
    /// What it has carried in both directions: packets and inner octets.
    pub(super) fn carried(&self) -> (u64, u64) {
        (self.usage.packets(), self.usage.octets())
    }

    /// The size of segments that TCP is told, octets; `None` if it is told nothing.
    pub(super) fn mss(&self) -> Option<u16> {
        let headers = if self.carries_v6() { 60 } else { 40 };
        match for_tcp(self.mss_clamp, self.room.mtu, self.carries_v6()) {
            0 => None,
            packet => Some(packet.saturating_sub(headers)),
        }
    }

    /// Whether IPv6 may be inside.
    pub(super) fn carries_v6(&self) -> bool {
        self.remote_ts.iter().any(|selector| selector.start.is_ipv6())
    }
}

/// The length of inner packets, octets, that the pumps make TCP fit in, where `mtu` is what fits the way. 0 leaves TCP alone.
fn for_tcp(clamp: MssClamp, mtu: u16, carries_v6: bool) -> u16 {
    let headers = if carries_v6 { 60 } else { 40 };
    match clamp {
        MssClamp::Auto => mtu,
        MssClamp::AtMost(segment) => mtu.min(segment.saturating_add(headers)),
        MssClamp::Off => 0,
    }
}

impl Installer {
    /// Nothing is installed. `keeps_keys` if the operator may ask for them: then they are kept as long as their SAs.
    pub(super) fn new(keeps_keys: bool) -> Self {
        Self { keeps_keys, ..Self::default() }
    }

    /// Installs both directions of `child`, inbound first.
    ///
    /// # Errors
    /// [`InstallError`] if the data plane cannot carry what was negotiated; nothing is installed then.
    pub(super) fn install(
        &mut self,
        dataplane: &Dataplane,
        child: ChildSa,
        place: &Place<'_>,
    ) -> Result<(), InstallError> {
        let suite = suite::of(&child.suite).ok_or(InstallError::Suite(child.suite))?;
        let selectors = Arc::new(selectors(&child.local_ts, &child.remote_ts));
        let inbound = SaParams {
            spi: child.spi_in.0,
            suite,
            encr_key: &child.keys_in.encr,
            integ_key: &child.keys_in.integ,
            esn: child.suite.esn,
            selectors: Arc::clone(&selectors),
            replay_window: place.replay_window,
        };
        let outbound = SaParams {
            spi: child.spi_out.0,
            encr_key: &child.keys_out.encr,
            integ_key: &child.keys_out.integ,
            selectors,
            ..inbound.clone()
        };
        let inbound = Box::new(InboundSa::new(inbound)?);
        let outbound = Box::new(OutboundSa::new(outbound)?);
        let counters = place.counters;
        let carries_v6 = child.remote_ts.iter().any(|selector| selector.start.is_ipv6());
        let mtu = for_tcp(place.mss_clamp, place.mtu, carries_v6);
        let workers = u32::try_from(dataplane.workers()).unwrap_or(1);
        let worker = child.resource.then(|| child.spi_in.resource(workers) as usize);
        let usage = Arc::new(SaUsage::default());
        self.retiring.reuse(child.spi_in.0);
        let receive = RxCommand::Install {
            slot: place.slot,
            sa: inbound,
            mtu,
            counters: Arc::clone(counters),
            usage: Arc::clone(&usage),
        };
        let send = TxCommand::Install {
            slot: place.slot,
            sa: outbound,
            owner: worker,
            to: destination(&child.path, child.udp_encap),
            mtu,
            hold: child.send == SendWhen::AfterInbound,
            counters: Arc::clone(counters),
            usage: Arc::clone(&usage),
            hard: child.hard,
        };
        dataplane.install(receive, send);
        let installed = Installed {
            peer: child.peer,
            slot: place.slot,
            worker,
            spi_in: child.spi_in,
            spi_out: child.spi_out,
            suite: child.suite,
            algorithms: suite,
            udp_encap: child.udp_encap,
            local_ts: child.local_ts,
            remote_ts: child.remote_ts,
            more_possible: child.more_possible,
            rekey_at: child.rekey_at,
            keys: self.keeps_keys.then_some((child.keys_in, child.keys_out)),
            room: Room::all(place.mtu),
            mss_clamp: place.mss_clamp,
            counters: Arc::clone(counters),
            usage,
        };
        self.by_slot.insert((installed.slot, child.id));
        self.by_peer.insert((installed.peer, child.id));
        self.by_spi_in.insert((installed.spi_in.0, child.id));
        self.by_spi_out.insert((installed.spi_out.0, child.id));
        self.installed.insert(child.id, installed);
        Ok(())
    }

    /// Removes a child. After a rekey its inbound half stays for a while, see retiring.rs.
    pub(super) fn remove(
        &mut self,
        dataplane: &Dataplane,
        now: Instant,
        child: ChildId,
        reason: &CloseReason,
    ) -> Option<Installed> {
        let gone = self.installed.remove(&child)?;
        self.by_slot.remove(&(gone.slot, child));
        self.by_peer.remove(&(gone.peer, child));
        self.by_spi_in.remove(&(gone.spi_in.0, child));
        self.by_spi_out.remove(&(gone.spi_out.0, child));
        dataplane.tx(TxCommand::Remove { slot: gone.slot, spi: gone.spi_out.0 });
        if let Some(spi) = self.retiring.leave(now, (gone.slot, gone.spi_in.0), reason) {
            let is_last = of(&self.by_slot, gone.slot).next().is_none();
            let retiring = if is_last { self.retiring.close(gone.slot) } else { Vec::new() };
            for spi in retiring.into_iter().chain([spi]) {
                dataplane.rx(RxCommand::Remove { spi });
            }
        }
        Some(gone)
    }

    /// The peer uses an SA: we may, too (RFC 7296 §2.8).
    pub(super) fn on_first_inbound(&self, dataplane: &Dataplane, slot: SlotId, spi: NonZeroU32) {
        let heard = self.receiver(spi).and_then(|id| self.installed.get(&id));
        if let Some(sa) = heard.filter(|sa| sa.slot == slot) {
            dataplane.tx(TxCommand::Activate { slot, spi: sa.spi_out.0 });
        }
    }

    /// The peer is known to have a child: we may send on it.
    pub(super) fn on_confirmed(&self, dataplane: &Dataplane, child: ChildId) {
        if let Some(sa) = self.installed.get(&child) {
            dataplane.tx(TxCommand::Activate { slot: sa.slot, spi: sa.spi_out.0 });
        }
    }

    /// The worker that a child is for.
    pub(super) fn worker(&self, child: ChildId) -> Option<usize> {
        self.installed.get(&child)?.worker
    }

    /// The child that receives on this SPI.
    pub(super) fn receiver(&self, spi: NonZeroU32) -> Option<ChildId> {
        of(&self.by_spi_in, spi).next()
    }

    /// The child that sends on this SPI.
    pub(super) fn sender(&self, slot: SlotId, spi: NonZeroU32) -> Option<ChildId> {
        of(&self.by_spi_out, spi).find(|id| self.by_slot.contains(&(slot, *id)))
    }

    /// Sends the packets of these children elsewhere.
    pub(super) fn relocate(
        &mut self,
        dataplane: &Dataplane,
        children: &[ChildId],
        path: &Path,
        udp_encap: bool,
        mtu: u16,
    ) {
        for child in children {
            let Some(sa) = self.installed.get_mut(child) else { continue };
            sa.udp_encap = udp_encap;
            sa.room = Room::all(mtu);
            let to = destination(path, sa.udp_encap);
            let mtu = for_tcp(sa.mss_clamp, mtu, sa.carries_v6());
            dataplane.tx(TxCommand::Move { slot: sa.slot, spi: sa.spi_out.0, to, mtu });
            dataplane.rx(RxCommand::Mtu { spi: sa.spi_in.0, mtu });
        }
    }

    /// Tells the pumps what the path of this peer's SAs leaves for inner packets, as far as they do not know it; says it
    /// for each of them.
    pub(super) fn resize(
        &mut self,
        dataplane: &Dataplane,
        peer: PeerId,
        room: impl Fn(&Installed) -> Room,
    ) -> Vec<Room> {
        let installed = &mut self.installed;
        let resized = of(&self.by_peer, peer).filter_map(|id| {
            let sa = installed.get_mut(&id)?;
            let Room { mtu, whole, .. } = room(sa);
            if (mtu, whole) != (sa.room.mtu, sa.room.whole) {
                let mtu = for_tcp(sa.mss_clamp, mtu, sa.carries_v6());
                dataplane.tx(TxCommand::Mtu { slot: sa.slot, spi: sa.spi_out.0, mtu, whole });
                dataplane.rx(RxCommand::Mtu { spi: sa.spi_in.0, mtu });
            }
            sa.room = room(sa);
            Some(sa.room)
        });
        resized.collect()
    }

    /// Tells the pumps of this peer's SAs what TCP is told from now on.
    pub(super) fn clamp(&mut self, dataplane: &Dataplane, peer: PeerId, clamp: MssClamp) {
        for id in of(&self.by_peer, peer) {
            let Some(sa) = self.installed.get_mut(&id) else { continue };
            if std::mem::replace(&mut sa.mss_clamp, clamp) == clamp {
                continue;
            }
            let Room { mtu, whole, .. } = sa.room;
            let mtu = for_tcp(clamp, mtu, sa.carries_v6());
            dataplane.tx(TxCommand::Mtu { slot: sa.slot, spi: sa.spi_out.0, mtu, whole });
            dataplane.rx(RxCommand::Mtu { spi: sa.spi_in.0, mtu });
        }
    }

    /// The moment when a child is rekeyed is another one now.
    pub(super) fn reschedule(&mut self, child: ChildId, at: Instant) {
        if let Some(sa) = self.installed.get_mut(&child) {
            sa.rekey_at = at;
        }
    }

    /// The peers with an SA that sent this packet not long ago: one, or none if somebody made it up.
    pub(super) fn senders(&self, quote: Quote) -> impl Iterator<Item = PeerId> + '_ {
        let named = of(&self.by_spi_out, quote.spi).filter_map(|id| self.installed.get(&id));
        let sent = move |sa: &&Installed| quote.is_recent(sa.usage.sequence(), RECENT);
        named.filter(sent).map(|sa| sa.peer)
    }

    /// Removes the inbound SAs whose time is over.
    pub(super) fn handle_timeout(&mut self, dataplane: &Dataplane, now: Instant) {
        while let Some(spi) = self.retiring.take_due(now) {
            dataplane.rx(RxCommand::Remove { spi });
        }
    }

    /// When `handle_timeout` has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retiring.deadline()
    }

    /// What each child has carried since it was installed, and when it last showed that its peer lives, if that is since the last
    /// time that this was asked.
    pub(super) fn usages(&self) -> impl Iterator<Item = (ChildId, ChildUsage)> + '_ {
        self.installed.iter().map(|(id, sa)| {
            let usage = ChildUsage {
                octets: sa.usage.octets(),
                packets: sa.usage.packets(),
                last_inbound: sa.counters.last_inbound().filter(|_| sa.usage.was_alive()),
            };
            (*id, usage)
        })
    }

    /// The children of a slot, oldest first; two while one replaces the other.
    pub(super) fn of_slot(&self, slot: SlotId) -> impl Iterator<Item = (ChildId, &Installed)> {
        of(&self.by_slot, slot).filter_map(|id| Some((id, self.installed.get(&id)?)))
    }

    /// Whether an SA of the slot carries the same traffic as this one.
    pub(super) fn has_twin(&self, slot: SlotId, child: &ChildSa) -> bool {
        let alike =
            |sa: &Installed| sa.local_ts == child.local_ts && sa.remote_ts == child.remote_ts;
        self.of_slot(slot).any(|(_, sa)| alike(sa))
    }

    /// The children of a peer, or those of one slot.
    pub(super) fn of_peer(&self, peer: PeerId, only: Option<SlotId>) -> Vec<ChildId> {
        let is_meant = |id: &ChildId| {
            only.is_none_or(|slot| self.installed.get(id).is_some_and(|sa| sa.slot == slot))
        };
        of(&self.by_peer, peer).filter(is_meant).collect()
    }

    /// Whose child it is.
    pub(super) fn peer(&self, child: ChildId) -> Option<PeerId> {
        self.installed.get(&child).map(|sa| sa.peer)
    }
}

/// The children that an index has under `key`, oldest first.
fn of<K: Copy + Ord>(
    index: &BTreeSet<(K, ChildId)>,
    key: K,
) -> impl DoubleEndedIterator<Item = ChildId> + '_ {
    index.range((key, ChildId(0))..=(key, ChildId(u64::MAX))).map(|(_, child)| *child)
}

pub(super) fn selectors(local: &[TrafficSelector], remote: &[TrafficSelector]) -> Selectors {
    Selectors {
        local: local.iter().map(selector).collect(),
        remote: remote.iter().map(selector).collect(),
    }
}

/// One selector, field by field; both sides write ANY and OPAQUE ports alike.
pub(super) fn selector(selector: &TrafficSelector) -> Selector {
    Selector {
        protocol: selector.protocol,
        ports: selector.ports,
        start: selector.start,
        end: selector.end,
    }
}

/// Where ESP goes: the addresses of the IKE SA, and with UDP its ports.
const fn destination(path: &Path, udp_encap: bool) -> Destination {
    Destination {
        local: path.local.ip(),
        remote: path.remote,
        local_port: path.local.port(),
        transport: if udp_encap { Transport::Udp } else { Transport::Raw },
    }
}

/// Packets of an SA that a router may still talk about: more than a second of full speed.
const RECENT: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_the_children_of_one_key_oldest_first() {
        let entries = [(1, 9), (2, 7), (2, u64::MAX), (2, 0), (3, 1)];
        let index: BTreeSet<(u32, ChildId)> =
            entries.into_iter().map(|(key, child)| (key, ChildId(child))).collect();
        let children = |key| of(&index, key).map(|child| child.0).collect::<Vec<_>>();
        assert_eq!(children(2), [0, 7, u64::MAX]);
        assert_eq!((children(1), children(4)), (vec![9], vec![]));
    }

    #[test]
    fn esp_leaves_from_the_port_that_ike_uses() {
        let path = Path {
            local: "192.0.2.1:4500".parse().expect("an address"),
            remote: "192.0.2.2:61234".parse().expect("an address"),
        };
        let udp = destination(&path, true);
        assert_eq!(
            (udp.local_port, udp.remote, udp.transport),
            (4500, path.remote, Transport::Udp)
        );
        assert_eq!(destination(&path, false).transport, Transport::Raw);
    }

    #[test]
    fn tcp_is_told_what_fits_or_less_or_nothing() {
        for (clamp, v6, expected) in [
            (MssClamp::Auto, false, 1400),
            (MssClamp::AtMost(1200), false, 1240),
            (MssClamp::AtMost(1200), true, 1260),
            (MssClamp::AtMost(9000), false, 1400),
            (MssClamp::AtMost(u16::MAX), true, 1400),
            (MssClamp::Off, false, 0),
        ] {
            assert_eq!(for_tcp(clamp, 1400, v6), expected, "{clamp:?}");
        }
    }
}
