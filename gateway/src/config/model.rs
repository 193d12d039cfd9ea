//! The configuration as the rest of the gateway sees it: checked, resolved, without positions.
//!
//! ```text
//!   Config ─┬─ gateway: Gateway            the program itself
//!           ├─ connections: [Connection]   in the order of the file
//!           │     ├─ peer: Peer            whom, where
//!           │     ├─ psk, local_id, peer_id
//!           │     ├─ policy: Policy        proposals, lifetimes, dead peer detection (overrides applied)
//!           │     └─ children: [Child]     one CHILD_SA each, of one address family
//!           ├─ warnings: [Diagnostic]      worth a look, no reason to refuse
//!           └─ files: [PathBuf]            everything that was read
//! ```
//!
//! Invariants (what `load` refused is not here): names are unique; every child has at least one network on each side and
//! all of one family; every proposal has algorithms that this build supports; `dpd.timeout > dpd.interval`;
//! `Peer::Hosts` is not empty; `Peer::Any` comes with a `peer_id`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ikev2::{
    Childless, Dpd, Encap, Fragmentation, Identity, Lifetime, Pairing, Proposal, Psk, Start,
};
use ipnet::IpNet;

use super::report::Diagnostic;

/// A whole configuration that is fit to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[connection.NAME]`, in the order of the files; disabled ones too.
    pub connections: Vec<Connection>,
    /// What the operator should look at although the configuration works.
    pub warnings: Vec<Diagnostic>,
    /// Every file that was read as configuration, the main one first. Key files are not in it.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// The connection of this name.
    #[must_use]
    pub fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.name == name)
    }
}

/// `[gateway]`: what belongs to no connection.
#[derive(Debug, Clone)]
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
    /// Pairs of data-plane threads, 1 to 64. `None`: half as many as processors, at most 8. Default `None`.
    pub workers: Option<usize>,
    /// From how many half-open IKE SAs on newcomers have to show a cookie (RFC 7296 §2.6). 0: always. Default 64.
    pub cookie_threshold: usize,
    /// The most half-open IKE SAs that are kept, at most 100 000. Default 1000.
    pub max_half_open: usize,
}

/// `[connection.NAME]`: one peer and everything we have with it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `[a-z0-9-]{1,32}`, unique.
    pub name: String,
    /// Free text for people.
    pub description: Option<String>,
    /// `false`: known, shown, never brought up. Default `true`.
    pub enabled: bool,
    /// Whom we talk to.
    pub peer: Peer,
    /// Our identity; [`Gateway::id`] is filled in already. `None`: our address on the path.
    pub local_id: Option<Identity>,
    /// The identity that the peer has to prove. `None`: its address. Always set with [`Peer::Any`].
    pub peer_id: Option<Identity>,
    /// The pre-shared key, at least 16 octets.
    pub psk: Psk,
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
    /// Largest inner packet in octets, 576 to 65535. `None`: computed.
    pub mtu: Option<u16>,
    /// Which routes to install. Default [`Routes::Auto`].
    pub routes: Routes,
    /// Metric of those routes; the lower wins. Default 100.
    pub metric: u32,
    /// Time of silence after which a NAT keepalive is sent (RFC 3948 §4). Default 20 s.
    pub nat_keepalive: Duration,
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

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.name, self.port) {
            (HostName::Address(IpAddr::V6(address)), Some(port)) => write!(f, "[{address}]:{port}"),
            (name, Some(port)) => write!(f, "{name}:{port}"),
            (name, None) => write!(f, "{name}"),
        }
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
