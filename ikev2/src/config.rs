//! What an embedder configures: one [`EndpointConfig`] for all, one [`PeerConfig`] per peer, one [`ChildConfig`] per
//! pair of selector lists. Plain structs; required fields are constructor arguments.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::event::{EspSpi, Path};
use crate::pki::{CertificateTrust, Credential, PublicKey};
use crate::wire::identity::Identity;
use crate::wire::ppk::PpkId;
use crate::wire::proposal::Proposal;
use crate::wire::redirect::GatewayId;
use crate::wire::selector::TrafficSelector;

/// Settings shared by every peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// UDP port of plain IKE. Default 500.
    pub ike_port: u16,
    /// UDP port of IKE and ESP with NAT traversal (RFC 7296 §2.23). Default 4500.
    pub nat_port: u16,
    /// The most half-open SAs (IKE_SA_INIT answered, IKE_AUTH not yet seen) that are kept. Default 1000. Each holds its
    /// request (`max_init_octets`) and as much of an incomplete IKE_AUTH request as `max_half_open_octets` says.
    pub max_half_open: usize,
    /// From how many half-open SAs that others began on an IKE_SA_INIT has to carry a cookie (RFC 7296 §2.6); a quarter
    /// of it for those of one network (IPv4 /24, IPv6 /48). 0: always.
    ///
    /// Default 64: an honest SA is half open for a round trip, so that only an attack or hundreds of peers that begin
    /// in the same moment reach it, and the latter lose one round trip. Until then a flood costs 64 key exchanges for
    /// each 30 s.
    pub cookie_threshold: usize,
    /// How long a half-open SA may wait for IKE_AUTH; a third of it while cookies are asked for. Default 30 s.
    pub half_open_time: Duration,
    /// The most octets of a first IKE_SA_INIT request, which is kept for AUTH; a longer one is dropped. Default 8192, where
    /// proposals with every algorithm and the longest public value have less than half of it.
    pub max_init_octets: usize,
    /// The most octets of an incomplete request in fragments that a half-open SA holds (RFC 7383 §5). Default 16 384; more than
    /// 65 531 counts as that, the most that an Encrypted payload has (RFC 9242 §3.3.2).
    pub max_half_open_octets: usize,
    /// The same for an established SA, for a request and for a response. Default 65 536: no IKE message is longer.
    pub max_message_octets: usize,
    /// How many requests a second that cannot be served, and carry no cookie, are answered before cookies are asked for.
    /// Default 50.
    pub max_refusals: u32,
    /// The most child SAs that a peer may have for each that is configured. Default 8: one, and others for a while that
    /// replace it or cross it.
    pub max_children: usize,
    /// The most IKE SAs that are up with one peer, and as many that were replaced and wait for their end. Default 16.
    pub max_ike_sas: usize,
    /// How many SAs a peer may ask for in a second (CREATE_CHILD_SA), beyond as many as it may have at once; each may cost
    /// a key exchange. Others are put off with TEMPORARY_FAILURE. Default 20.
    pub max_exchanges: u32,
    /// Whether each IKE SA keeps its keys as octets, for [`Endpoint::exposed_keys`](crate::Endpoint::exposed_keys) to give away.
    /// Default `false`. For those who look into recorded messages; an endpoint in earnest use has no need of it.
    pub expose_keys: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            ike_port: 500,
            nat_port: 4500,
            max_half_open: 1000,
            cookie_threshold: 64,
            half_open_time: Duration::from_secs(30),
            max_init_octets: 8 * 1024,
            max_half_open_octets: 16 * 1024,
            max_message_octets: 64 * 1024,
            max_refusals: 50,
            max_children: 8,
            max_ike_sas: 16,
            max_exchanges: 20,
            expose_keys: false,
        }
    }
}

/// One peer: who it is, where it is, and what we agree to with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerConfig {
    /// Name in logs and events.
    pub name: String,
    /// Where to reach the peer, in order of preference. Empty: we can only respond.
    pub paths: Vec<Path>,
    /// Whether a request from an address that is in no path may belong to this peer (`peer = "any"`, or a peer whose
    /// address changes). The identity decides then.
    pub any_address: bool,
    /// Our identity (IDi as initiator, IDr as responder). `None`: the subject of our certificate, or our address on the path
    /// if we have none. A peer that checks certificates refuses an identity that is not in ours.
    pub local_id: Option<Identity>,
    /// The identity that the peer has to prove.
    pub remote_id: RemoteId,
    /// How we prove our identity.
    pub local_auth: LocalAuth,
    /// How the peer has to prove its own. The two sides may differ (RFC 7296 §2.15).
    pub remote_auth: RemoteAuth,
    /// The post-quantum pre-shared key (RFC 8784, RFC 9867), beside whatever authenticates. Default `None`.
    pub ppk: Option<Ppk>,
    /// IKE proposals, in order of preference.
    pub proposals: Vec<Proposal>,
    /// The child SAs to have with this peer. The first is negotiated in IKE_AUTH, the others after it.
    pub children: Vec<ChildConfig>,
    /// When to bring the peer up. Default [`Start::Always`].
    pub start: Start,
    /// Whether ESP travels in UDP. Default [`Encap::Force`].
    pub encap: Encap,
    /// Dead peer detection; `None` switches it off. Default 30 s, 120 s, restart.
    pub dpd: Option<Dpd>,
    /// When to rekey the IKE SA. Default 8 h.
    pub lifetime: Lifetime,
    /// Whether the SAs may move to other addresses without being made anew (RFC 4555), if the peer can. Default true.
    pub mobike: bool,
    /// Whether a redirect of the peer to another gateway is followed (RFC 5685); that one has to prove the same identity
    /// with the same key. Default true.
    pub follow_redirects: bool,
    /// Whether the IKE SA may begin without a child (RFC 6023). Default [`Childless::Allow`].
    pub childless: Childless,
    /// As responder: how long an authentication is good for. The peer is told (RFC 4478) and has to authenticate anew
    /// before that; if it does not, its SAs are deleted. Default `None`: for ever.
    pub auth_lifetime: Option<Duration>,
    /// As responder: the gateway that the peer is sent to when it has authenticated (RFC 5685 §6), if it follows. Set by
    /// [`Endpoint::redirect`](crate::Endpoint::redirect). Default `None`.
    pub redirect_to: Option<GatewayId>,
    /// Whether large IKE messages are sent in fragments. Default [`Fragmentation::On`] with the default sizes.
    pub fragmentation: Fragmentation,
}

impl PeerConfig {
    /// A peer that shares a key with us, with defaults for everything that has a safe one.
    #[must_use]
    pub fn new(name: impl Into<String>, psk: Psk, proposals: Vec<Proposal>) -> Self {
        let auth = (LocalAuth::Psk(psk.clone()), RemoteAuth::Psk(psk));
        Self::with_auth(name, auth.0, auth.1, proposals)
    }

    /// The same for any way of authentication.
    #[must_use]
    pub fn with_auth(
        name: impl Into<String>,
        local_auth: LocalAuth,
        remote_auth: RemoteAuth,
        proposals: Vec<Proposal>,
    ) -> Self {
        Self {
            name: name.into(),
            paths: Vec::new(),
            any_address: false,
            local_id: None,
            remote_id: RemoteId::PeerAddress,
            local_auth,
            remote_auth,
            ppk: None,
            proposals,
            children: Vec::new(),
            start: Start::Always,
            encap: Encap::Force,
            dpd: Some(Dpd::default()),
            lifetime: Lifetime::of(Duration::from_hours(8)),
            mobike: true,
            follow_redirects: true,
            childless: Childless::Allow,
            auth_lifetime: None,
            redirect_to: None,
            fragmentation: Fragmentation::default(),
        }
    }

    /// From here on both sides prove themselves by this key.
    pub fn set_psk(&mut self, psk: Psk) {
        self.local_auth = LocalAuth::Psk(psk.clone());
        self.remote_auth = RemoteAuth::Psk(psk);
    }

    /// The same, with durations that the clock can be asked to add (more than a century counts as a century) and that
    /// leave time for an exchange, and fragments that have room for something.
    pub(crate) fn bounded(mut self) -> Self {
        if let Fragmentation::On(sizes) = &mut self.fragmentation {
            sizes.v4 = sizes.v4.max(MIN_DATAGRAM);
            sizes.v6 = sizes.v6.max(MIN_DATAGRAM);
        }
        self.lifetime.time = self.lifetime.time.clamp(SHORTEST_LIFE, CENTURY);
        self.children = self.children.into_iter().map(ChildConfig::bounded).collect();
        self.auth_lifetime = self.auth_lifetime.map(|time| time.min(CENTURY));
        if let Some(dpd) = &mut self.dpd {
            dpd.interval = dpd.interval.clamp(SHORTEST_WAIT, CENTURY);
            dpd.timeout = dpd.timeout.clamp(dpd.interval + SHORTEST_WAIT, CENTURY + SHORTEST_WAIT);
        }
        self
    }

    /// The children that were not removed, with their indices.
    pub(crate) fn live_children(&self) -> impl Iterator<Item = (usize, &ChildConfig)> {
        self.children.iter().enumerate().filter(|(_, child)| !child.removed)
    }

    /// One of them.
    pub(crate) fn child(&self, index: usize) -> Option<&ChildConfig> {
        self.children.get(index).filter(|child| !child.removed)
    }
}

/// One child SA: what may travel in it and how it is protected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildConfig {
    /// Name in logs and events, unique within the peer.
    pub name: String,
    /// Our side of the traffic.
    pub local: Vec<TrafficSelector>,
    /// The peer's side of the traffic.
    pub remote: Vec<TrafficSelector>,
    /// ESP proposals, in order of preference. A KE transform asks for a fresh key exchange on rekey.
    pub proposals: Vec<Proposal>,
    /// When to rekey. Default 1 h.
    pub lifetime: Lifetime,
    /// How several selectors become child SAs. Default [`Pairing::Auto`].
    pub pairing: Pairing,
    /// How many resources of ours, threads say, want a child SA of their own (RFC 9611), 1 to 64. Default 1.
    ///
    /// With more the first child is the fallback, and a further one is asked for, for each of the other resources, if the peer
    /// announced that it knows what that means. The resource of a child is the [family](crate::EspSpi::family) of its
    /// inbound SPI modulo this number. The peer has its own number: there may be children for which we have no resource.
    pub resources: u32,
    /// The most children with the same selectors that there may be for the peer's resources and ours together, the fallback
    /// among them; further requests are refused with TS_MAX_QUEUE. Default 64; 1 switches RFC 9611 off. RFC 9611 §6 wants
    /// twice as many as there are resources at the least.
    pub most_for_resources: u32,
    /// It was taken out at run time; its index stays taken.
    pub(crate) removed: bool,
}

impl ChildConfig {
    /// A child with the default lifetime.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        local: Vec<TrafficSelector>,
        remote: Vec<TrafficSelector>,
        proposals: Vec<Proposal>,
    ) -> Self {
        let lifetime = Lifetime::of(Duration::from_hours(1));
        Self {
            name: name.into(),
            local,
            remote,
            proposals,
            lifetime,
            pairing: Pairing::default(),
            resources: 1,
            most_for_resources: 64,
            removed: false,
        }
    }

    /// The same, with a lifetime that the clock can be asked to add, and no more resources than there are families of SPIs.
    pub(crate) fn bounded(mut self) -> Self {
        self.resources = self.resources.clamp(1, EspSpi::FAMILIES);
        self.most_for_resources = self.most_for_resources.max(1);
        self.lifetime.time = self.lifetime.time.clamp(SHORTEST_LIFE, CENTURY);
        self
    }
}

/// How the selectors of a [`ChildConfig`] become child SAs, if one side has several (RFC 7296 §2.9).
///
/// The standard lets one child carry any local selector with any remote one. Some gateways keep one pair of networks in
/// each child (Cisco's crypto maps, Fortinet's phase 2): they refuse more, or take the first pair and drop the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pairing {
    /// One child for all, whatever the peer leaves of it.
    Combined,
    /// One child for each pair of a local and a remote selector, the first 1024 of them; a peer that wants more in one
    /// child gets one pair, and is told that it may ask for others.
    Single,
    /// One child for all, until the peer shows that it does not want that; then one for each pair that is missing.
    ///
    /// It shows that by SINGLE_PAIR_REQUIRED, by taking only some of the pairs, or by TS_UNACCEPTABLE: the gateways in
    /// question rarely know the first and say the last. If the networks do differ, the refusals of the pairs then tell
    /// which ones.
    #[default]
    Auto,
}

/// A pre-shared key. Wiped on drop, never printed.
#[derive(Clone)]
pub struct Psk(Zeroizing<Vec<u8>>);

impl Psk {
    /// Takes the octets of the key.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Psk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Psk(hidden)")
    }
}

/// How we prove our identity (RFC 7296 §2.15).
#[derive(Debug, Clone)]
pub enum LocalAuth {
    /// By a key that the peer has too.
    Psk(Psk),
    /// By a signature. Its algorithm follows from our key and from the hashes that the peer announced (RFC 7427).
    Signature(Arc<Credential>),
}

/// How a peer has to prove its identity (RFC 7296 §2.15).
#[derive(Debug, Clone)]
pub enum RemoteAuth {
    /// By a key that we have too.
    Psk(Psk),
    /// By a signature with a certified key.
    Certificate(Arc<CertificateTrust>),
    /// By a signature with this very key (RFC 7670), whatever certificates it sends.
    PublicKey(PublicKey),
}

/// A key that both sides were given and that is mixed into SK_d, so that whoever records the traffic and breaks the key
/// exchange one day, say with a quantum computer, still cannot read it. It should have 256 bits of entropy.
#[derive(Debug, Clone)]
pub struct Ppk {
    /// Its name, which the initiator sends.
    pub id: PpkId,
    /// The key.
    pub key: Psk,
    /// Whether a peer that has no key of these names is refused. If not, the SA is made without.
    pub required: bool,
    /// When it is mixed in. Default [`PpkMix::Auto`].
    pub mix: PpkMix,
    /// Further keys that are as good, say while one takes the place of another. An initiator names all of them, this one
    /// first, in IKE_INTERMEDIATE, and only this one in IKE_AUTH; a responder takes any. Default none.
    pub others: Vec<PpkKey>,
}

/// A further post-quantum pre-shared key.
#[derive(Debug, Clone)]
pub struct PpkKey {
    /// Its name.
    pub id: PpkId,
    /// The key.
    pub key: Psk,
}

/// When a post-quantum pre-shared key is mixed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PpkMix {
    /// As [`Self::Intermediate`] with peers that can, as [`Self::Auth`] with others.
    #[default]
    Auto,
    /// Before IKE_AUTH (RFC 9867), so that it also protects the IKE SA with the identities in it. A peer that cannot do that
    /// is one without the key.
    Intermediate,
    /// In IKE_AUTH (RFC 8784).
    Auth,
}

impl Ppk {
    /// A key with the defaults.
    #[must_use]
    pub const fn new(id: PpkId, key: Psk, required: bool) -> Self {
        Self { id, key, required, mix: PpkMix::Auto, others: Vec::new() }
    }

    /// All keys, the first choice first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&PpkId, &Psk)> {
        let others = self.others.iter().map(|other| (&other.id, &other.key));
        std::iter::once((&self.id, &self.key)).chain(others)
    }

    /// The key of this name, as notification data has it.
    pub(crate) fn named(&self, name: &[u8]) -> Option<(&PpkId, &Psk)> {
        self.all().find(|(id, _)| id.emit() == name)
    }
}

/// The identity that a peer has to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteId {
    /// Exactly this one.
    Exact(Identity),
    /// The address of the peer in the path in use.
    PeerAddress,
}

/// When a peer is brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At once, and again for ever.
    #[default]
    Always,
    /// When a packet asks for it ([`crate::Endpoint::connect`]).
    OnDemand,
    /// Never by us.
    RespondOnly,
    /// By command only.
    Manual,
}

/// Whether ESP travels in UDP (RFC 3948).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encap {
    /// Always: a false NAT_DETECTION_SOURCE_IP makes the peer see a NAT.
    #[default]
    Force,
    /// Only when a NAT is found on the path.
    Auto,
}

/// Whether an IKE SA may begin without a child (RFC 6023): children are then asked for one by one, each with a key
/// exchange of its own if its proposals name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Childless {
    /// The first child is asked for in IKE_AUTH, if one is configured. A peer may do without.
    #[default]
    Allow,
    /// IKE_AUTH asks for no child if the peer allows that.
    Prefer,
    /// A peer that asks for no child is refused.
    Never,
}

/// Dead peer detection (RFC 7296 §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dpd {
    /// After this long without an authenticated message or packet from the peer, ask whether it lives. Less than half a second
    /// counts as half a second.
    pub interval: Duration,
    /// After this long without one it is dead. Larger than `interval`; if not, half a second larger is meant.
    pub timeout: Duration,
    /// What to do then.
    pub action: DpdAction,
}

impl Default for Dpd {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_mins(2),
            action: DpdAction::Restart,
        }
    }
}

/// Whether IKE messages that are too long for one IP datagram are sent in fragments of their own (RFC 7383), which pass
/// where those of IP are dropped. Used only if the peer announces it too, and never for IKE_SA_INIT. Where several peers
/// may be at one address, it is announced to all if any has it on, with the smallest sizes of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragmentation {
    /// Not announced. A long message is one UDP datagram, which IP has to fragment.
    Off,
    /// Announced. A message that fits is sent whole.
    On(FragmentSizes),
}

impl Default for Fragmentation {
    fn default() -> Self {
        Self::On(FragmentSizes::default())
    }
}

/// The longest IP datagrams that carry our IKE messages, in octets, with IP and UDP header and non-ESP marker. Less than
/// 256 counts as 256.
///
/// A request that is not answered for 3.5 s is cut anew for the [`LEAST`](Self::LEAST) sizes, if they are smaller, as
/// RFC 7383 §2.5.2 finds the path MTU; once one was answered so, that SA and those that replace it go on with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentSizes {
    /// Over IPv4. Default 1280, though RFC 7383 §2.5.1 recommends 576: hardly a path has less than 1280 today, fewer
    /// fragments are less often lost, and where it is too much the repetitions find out.
    pub v4: u16,
    /// Over IPv6. Default 1280, which every IPv6 path carries.
    pub v6: u16,
}

impl FragmentSizes {
    /// What we go down to: the sizes of RFC 7383 §2.5.1.
    pub const LEAST: Self = Self { v4: 576, v6: 1280 };
}

impl Default for FragmentSizes {
    fn default() -> Self {
        Self { v4: 1280, v6: 1280 }
    }
}

impl Fragmentation {
    /// What to announce to somebody who may be any of those with these settings.
    pub(crate) fn common(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::Off, |sum, one| match (sum, one) {
            (Self::On(a), Self::On(b)) => {
                Self::On(FragmentSizes { v4: a.v4.min(b.v4), v6: a.v6.min(b.v6) })
            }
            (on @ Self::On(_), Self::Off) | (Self::Off, on) => on,
        })
    }
}

/// The least size of an IP datagram with a fragment: with every algorithm some of it is left for the content.
const MIN_DATAGRAM: u16 = 256;

/// Shorter lives would be nothing but rekeys.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);
/// Time for an answer.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
/// "Never", for a clock that must not overflow.
const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

/// What happens to the SAs of a dead peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DpdAction {
    /// Delete them and connect again at once, for ever; with [`Start::OnDemand`] when a packet asks for it.
    Restart,
    /// Delete them and wait for the peer or for a command.
    Clear,
    /// Delete them and connect again when a packet asks for it.
    Trap,
}

/// How long an SA lives before it is replaced, make before break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lifetime {
    /// Age at which it is replaced at the latest; the true moment is up to 10 % earlier, at random. More than a century
    /// counts as a century, less than 5 s as 5 s.
    pub time: Duration,
    /// Octets (children only), summed over both directions. Replaced between 80 and 90 % of it, at random.
    pub octets: Option<u64>,
    /// Packets (children only), summed over both directions. Replaced between 80 and 90 % of it, at random.
    pub packets: Option<u64>,
}

impl Lifetime {
    /// A lifetime that ends by age alone.
    #[must_use]
    pub const fn of(time: Duration) -> Self {
        Self { time, octets: None, packets: None }
    }
}
