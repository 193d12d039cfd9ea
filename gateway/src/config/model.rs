//! The configuration as the rest of the gateway sees it: checked, resolved, without positions.
//!
//! ```text
//!   Config ─┬─ gateway: Gateway            the program itself
//!           ├─ connections: [Connection]   in the order of the file
//!           │     ├─ peer: Peer            whom, where
//!           │     ├─ auth, local_id, peer_id  auth.rs: keys and certificates
//!           │     ├─ policy: Policy        proposals, lifetimes, dead peer detection (overrides applied)
//!           │     └─ children: [Child]     one CHILD_SA each, of one address family
//!           ├─ log, security                what belongs to no connection either
//!           ├─ warnings: [Diagnostic]      worth a look, no reason to refuse
//!           └─ files: [PathBuf]            everything that was read, and the patterns that named it
//! ```
//!
//! Invariants (what `load` refused is not here): names are unique; every child has at least one network on each side and
//! all of one family; every proposal has algorithms that this build supports; `dpd.timeout > dpd.interval`;
//! `Peer::Hosts` is not empty; `Peer::Any` comes with a `peer_id`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ikev2::keyword::Allow;
use ikev2::{
    Childless, Dpd, Encap, Fragmentation, Identity, Lifetime, Pairing, PpkMix, Proposal, Start,
};
use ipnet::IpNet;

use super::auth::Auth;
use super::load::expand;
use super::report::Diagnostic;
use super::secret::PresharedKey;

/// A whole configuration that is fit to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[log]`.
    pub log: Log,
    /// `[security]`.
    pub security: Security,
    /// `[connection.NAME]`, in the order of the files; disabled ones too.
    pub connections: Vec<Connection>,
    /// What the operator should look at although the configuration works.
    pub warnings: Vec<Diagnostic>,
    /// Every file that was read as configuration, the main one first. Key files are not in it.
    pub files: Vec<PathBuf>,
    /// The patterns of `include`: a further file that fits one belongs to it.
    pub patterns: Vec<PathBuf>,
    /// The files with keys and certificates that it names.
    pub material: Vec<PathBuf>,
    /// Included files with errors, which [`Config::load_to_run`] goes on without. Nothing of them is in force.
    pub left_out_files: Vec<PathBuf>,
    /// The errors in those.
    pub left_out: Vec<Diagnostic>,
}

impl Config {
    /// The files that its patterns name at this moment, whether they were read or not.
    #[must_use]
    pub fn matching(patterns: &[PathBuf]) -> Vec<PathBuf> {
        // What cannot be looked at does not differ.
        patterns.iter().flat_map(|pattern| expand(pattern).unwrap_or_default()).collect()
    }

    /// The connection of this name.
    #[must_use]
    pub fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.name == name)
    }
}

/// `[gateway]`: what belongs to no connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Name in status, logs and metrics. Default: the host name.
    pub name: String,
    /// IKE identity for connections that set no `local_id`. `None`: our address on the path.
    pub id: Option<Identity>,
    /// Addresses for the UDP sockets. Empty: all addresses of both families.
    pub listen: Vec<IpAddr>,
    /// UDP port of plain IKE. Default 500.
    pub ike_port: u16,
    /// UDP port of IKE and ESP with NAT traversal. Default 4500; never equal to `ike_port`.
    pub nat_port: u16,
    /// Name of the TUN interface, 1 to 15 octets. Default `s2s0`.
    pub tun: String,
    /// MTU of the TUN interface in octets, 576 to 65535. `None`: computed from the path and the ESP overhead.
    pub mtu: Option<u16>,
    /// Path of the control socket. Default `/run/s2s-gw/control.sock`.
    pub control: PathBuf,
    /// File of what is kept over a restart. Default `/var/lib/s2s-gw/state.json`. `None`: nothing is.
    pub state: Option<PathBuf>,
    /// Who a gateway becomes that is started as root. `None`, the default: `s2s-gw`, or 65534 where there is no such user.
    /// `root`: it stays what it is.
    pub user: Option<String>,
    /// Whether it gives up the files and system calls that it does not need. Default `true`.
    pub sandbox: bool,
    /// Pairs of data-plane threads, 1 to 64. Default 1.
    pub workers: usize,
    /// From how many half-open IKE SAs on newcomers have to show a cookie (RFC 7296 §2.6). 0: always. Default 64.
    pub cookie_threshold: usize,
    /// The most half-open IKE SAs that are kept, at most 100 000. Default 1000.
    pub max_half_open: usize,
    /// What happens to packets for a remote network while no tunnel takes them. Default [`LeakProtection::Running`].
    pub leak_protection: LeakProtection,
    /// Whether `s2s-gw keys` gives the keys of SAs away. Default `false`.
    pub allow_key_export: bool,
    /// `[limits]`.
    pub limits: Limits,
    /// Source of monitors, pings and traces, inside the local networks of a connection; a connection may have another.
    /// Default `None`: what the kernel's route says.
    pub management_ip: Option<IpAddr>,
    /// Our addresses as peers see them, where a NAT is before us.
    pub public_addresses: Vec<IpAddr>,
    /// `[http]`. `None`: nothing is served.
    pub http: Option<Http>,
}

/// `[http]`: the status page and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; never empty but after an error. Default `127.0.0.1:9780`.
    pub listen: Vec<HttpListen>,
    /// Names by which it may be called beside its addresses, in lower case.
    pub names: Vec<String>,
    /// What whoever looks has to show. `None`: nothing.
    pub read_token: Option<PresharedKey>,
    /// What whoever acts has to show. `None`: nobody can act.
    pub admin_token: Option<PresharedKey>,
}

/// A place where the status page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpListen {
    /// `"127.0.0.1:9780"`
    Tcp(SocketAddr),
    /// `"unix:/run/s2s-gw/http.sock"`: an absolute path. Whoever may open it may look.
    Unix(PathBuf),
}

impl fmt::Display for HttpListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// When packets for a remote network go nowhere rather than out in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakProtection {
    /// From the first start on, also when the gateway was stopped.
    Always,
    /// Until somebody stops it: after a signal they go where other routes lead, after a crash nowhere.
    Running,
    /// Only while the TUN device is there.
    Off,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level or a list such as `info,ike=debug`; what the command line says goes before it. Default `info`.
    pub level: String,
    /// The form of its lines. Default [`LogFormat::Text`].
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `time LEVEL area key=value`.
    Text,
    /// One JSON object.
    Json,
}

/// `[limits]`: what strangers and peers can make us keep and compute, each as in [`ikev2::EndpointConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long a half-open IKE SA may wait, 3 s to 10 min. Default 30 s.
    pub half_open_time: Duration,
    /// Octets of an IKE_SA_INIT request, 1024 to 65 535. Default 8192.
    pub max_init_octets: usize,
    /// Octets of an incomplete message before authentication, 1024 to 65 536. Default 16 384.
    pub max_half_open_octets: usize,
    /// The same after it, 4096 to 65 536. Default 65 536.
    pub max_message_octets: usize,
    /// Refusals a second before cookies are wanted, 1 to 10 000. Default 50.
    pub max_refusals: u32,
    /// Child SAs of a peer for each that is configured, 3 to 1000. Default 8.
    pub max_children: usize,
    /// IKE SAs of a peer, 2 to 1000. Default 16.
    pub max_ike_sas: usize,
    /// SAs that a peer may ask for in a second, 1 to 10 000. Default 20.
    pub max_exchanges: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let defaults = ikev2::EndpointConfig::default();
        Self {
            half_open_time: defaults.half_open_time,
            max_init_octets: defaults.max_init_octets,
            max_half_open_octets: defaults.max_half_open_octets,
            max_message_octets: defaults.max_message_octets,
            max_refusals: defaults.max_refusals,
            max_children: defaults.max_children,
            max_ike_sas: defaults.max_ike_sas,
            max_exchanges: defaults.max_exchanges,
        }
    }
}

impl Limits {
    /// The keys by which these differ from others.
    pub fn apart<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static str> + 'a {
        let Self {
            half_open_time,
            max_init_octets,
            max_half_open_octets,
            max_message_octets,
            max_refusals,
            max_children,
            max_ike_sas,
            max_exchanges,
        } = other;
        let keys = [
            ("half_open_time", self.half_open_time != *half_open_time),
            ("max_init_octets", self.max_init_octets != *max_init_octets),
            ("max_half_open_octets", self.max_half_open_octets != *max_half_open_octets),
            ("max_message_octets", self.max_message_octets != *max_message_octets),
            ("max_refusals", self.max_refusals != *max_refusals),
            ("max_children", self.max_children != *max_children),
            ("max_ike_sas", self.max_ike_sas != *max_ike_sas),
            ("max_exchanges", self.max_exchanges != *max_exchanges),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
    }
}

/// `[security]`: keywords of algorithms, each by the word that is printed for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Those whose use is reported (W0301).
    pub warn: Vec<String>,
    /// Those that no proposal may have (E0137).
    pub forbid: Vec<String>,
}

/// `[connection.NAME]`: one peer and everything we have with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// `[a-z0-9-]{1,32}`, unique.
    pub name: String,
    /// Free text for people.
    pub description: Option<String>,
    /// `false`: known, shown, never brought up. Default `true`.
    pub enabled: bool,
    /// Whom we talk to.
    pub peer: Peer,
    /// Our identity; [`Gateway::id`] and what our certificate says are filled in already. `None`: our address on the path.
    pub local_id: Option<Identity>,
    /// The identity that the peer has to prove. `None`: its address. Always set with [`Peer::Any`].
    pub peer_id: Option<Identity>,
    /// How both sides prove their identities.
    pub auth: Auth,
    /// The post-quantum pre-shared key beside it (RFC 8784). Default `None`.
    pub ppk: Option<Ppk>,
    /// Algorithms, lifetimes and dead peer detection, with this connection's overrides applied.
    pub policy: Policy,
    /// The CHILD_SAs to have, never empty. The first is negotiated in IKE_AUTH.
    pub children: Vec<Child>,
    /// Whether a child may become one for each pair of its networks. Default [`Pairing::Auto`]; [`Pairing::Combined`] where
    /// the configuration split them itself, so that each has a name.
    pub pairing: Pairing,
    /// When to bring the connection up. Default [`Start::Always`]; [`Start::RespondOnly`] with [`Peer::Any`].
    pub start: Start,
    /// Whether ESP always travels in UDP. Default [`Encap::Force`].
    pub encap: Encap,
    /// What IKE may do beyond RFC 7296.
    pub extensions: Extensions,
    /// Size of the anti-replay window in packets, 32 to 65536. Default 4096.
    pub replay_window: u32,
    /// Largest inner packet in octets, 576 to 65535, at most [`Gateway::mtu`]. `None`: computed.
    pub mtu: Option<u16>,
    /// Whether TCP is told how much the tunnel carries. Default [`MssClamp::Auto`].
    pub mss_clamp: MssClamp,
    /// Which routes to install. Default [`Routes::Auto`].
    pub routes: Routes,
    /// Metric of those routes; the lower wins. Default 100.
    pub metric: u32,
    /// Time of silence after which a NAT keepalive is sent (RFC 3948 §4). Default 20 s.
    pub nat_keepalive: Duration,
    /// Whether packets may go from this tunnel into that of another connection with `relay`. Default `false`.
    pub relay: bool,
    /// In place of [`Gateway::management_ip`], which is filled in already where it fits.
    pub management_ip: Option<IpAddr>,
    /// What is logged about this connection; `None`: as about others.
    pub log: Option<tracing::Level>,
    /// How endpoints are watched and chosen. `None`: the next one is tried when the one in use fails, and kept.
    pub failover: Option<Failover>,
    /// Hosts behind the peer that have to answer.
    pub monitors: Vec<Monitor>,
}

/// What TCP is told about the size of its segments when a connection begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MssClamp {
    /// What fits the tunnel.
    #[default]
    Auto,
    /// What fits the tunnel, and at most so many octets.
    AtMost(u16),
    /// Nothing: it has to find out.
    Off,
}

/// `[connection.NAME.failover]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// When to go back to an endpoint that is preferred. Default [`Failback::Auto`].
    pub failback: Failback,
    /// How often the endpoints that are not in use are asked whether they live, 1 s to 1 h. Default 10 s.
    pub probe: Duration,
}

/// When to go back to a preferred endpoint that answers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// At once.
    Auto,
    /// By command only.
    Manual,
    /// When it has answered for so long, 1 s to 24 h.
    After(Duration),
}

/// `[[connection.NAME.monitor]]`: a host behind the peer that has to answer, or the connection counts as degraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// What is asked.
    pub kind: MonitorKind,
    /// The host, inside the remote networks.
    pub target: IpAddr,
    /// Between two questions, 1 s to 1 h. Default 5 s.
    pub interval: Duration,
    /// After how many questions without an answer it has failed, 1 to 100. Default 3.
    pub fail_after: u32,
    /// An answer that takes longer is none, 1 ms to 1 min. Default 1 s.
    pub max_latency: Duration,
}

/// How a monitor asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorKind {
    /// ICMP echo, of either version.
    Icmp,
    /// A TCP connection to this port.
    Tcp(u16),
}

/// What IKE may do with a peer beyond RFC 7296.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    /// Whether the SAs may move to other addresses as they are (RFC 4555). Default `true`.
    pub mobike: bool,
    /// Whether we go where the peer redirects us (RFC 5685). Default `true`.
    pub follow_redirects: bool,
    /// How long an authentication of the peer is good for, which it is told (RFC 4478). Default `None`: for ever.
    pub auth_lifetime: Option<Duration>,
    /// Whether large IKE messages are sent in fragments, and how large those are (RFC 7383). Default on.
    pub fragmentation: Fragmentation,
    /// Whether the IKE SA may begin without a child (RFC 6023). Default [`Childless::Allow`].
    pub childless: Childless,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            mobike: true,
            follow_redirects: true,
            auth_lifetime: None,
            fragmentation: Fragmentation::default(),
            childless: Childless::default(),
        }
    }
}

/// `ppk = { .. }`: a key that is mixed into those of the IKE SA (RFC 8784, RFC 9867).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ppk {
    /// Its name, 1 to 255 octets, the same on both sides; sent as PPK_ID_FIXED.
    pub id: String,
    /// The key, at least 16 octets.
    pub key: PresharedKey,
    /// Whether a peer without it is refused. Default `true`.
    pub required: bool,
    /// When it is mixed in. Default [`PpkMix::Auto`].
    pub mix: PpkMix,
    /// Names and keys that are as good, while one takes the place of another. Default none.
    pub others: Vec<(String, PresharedKey)>,
}

/// Whom a connection talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A peer at an unknown or changing address: it calls us and its identity decides.
    Any,
    /// Where to reach it, in order of preference; never empty.
    Hosts(Vec<Host>),
}

/// One endpoint of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Address or name.
    pub name: HostName,
    /// UDP port for IKE and ESP in UDP. `None`: 500, then 4500 as RFC 7296 §2.23 says.
    pub port: Option<u16>,
}

/// Address or name of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// A literal address.
    Address(IpAddr),
    /// A name to be resolved, again at every attempt; lower case, without trailing dot.
    Dns(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.port) {
            (HostName::Address(IpAddr::V6(address)), Some(port)) => write!(f, "[{address}]:{port}"),
            (name, Some(port)) => write!(f, "{name}:{port}"),
            (name, None) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

/// `[policy.NAME]` or a built-in one.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Name of the table or of the built-in policy.
    pub name: String,
    /// IKE proposals, in order of preference; never empty.
    pub ike: Vec<Proposal>,
    /// ESP proposals, in order of preference; never empty. A KE transform asks for PFS.
    pub esp: Vec<Proposal>,
    /// Life of the IKE SA. Default 8 h.
    pub ike_lifetime: Lifetime,
    /// Life of a CHILD_SA. Default 1 h, no limit of octets or packets.
    pub esp_lifetime: Lifetime,
    /// Dead peer detection. Default 30 s, 120 s, restart. `None`: off.
    pub dpd: Option<Dpd>,
    /// What [`Security::forbid`] has, so that a refusal can say why.
    pub forbidden: Vec<String>,
    /// Whether every connection to a peer is restarted when one finds it dead; `dpd.action` is `Restart` then.
    pub restart_peer: bool,
    /// Whether a child is rekeyed soon after its start to see that both sides agree on PFS. Default `true`.
    pub pfs_check: bool,
    /// What its proposals may have beyond what is good enough for everybody. Default nothing.
    pub allow: Allow,
}

/// One CHILD_SA to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Unique within the connection: `lan-1`, `lan-2` ... in the order of the file.
    pub name: String,
    /// Our networks; never empty, host bits zero, one family in the whole child.
    pub local: Vec<IpNet>,
    /// The peer's networks; never empty, of the family of `local`.
    pub remote: Vec<IpNet>,
}

/// Which routes a connection installs while it is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routes {
    /// One for every remote network.
    Auto,
    /// None at all.
    None,
    /// Exactly these.
    List(Vec<IpNet>),
}
