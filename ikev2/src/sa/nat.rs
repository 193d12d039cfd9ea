//! NAT detection and the move to port 4500 (RFC 7296 §2.23).
//!
//! ```text
//!   N(NAT_DETECTION_SOURCE_IP)       sha1(SPIi | SPIr | our address   | our port)       differs at the peer: we are behind a NAT
//!   N(NAT_DETECTION_DESTINATION_IP)  sha1(SPIi | SPIr | their address | their port)     differs at the peer: it is behind one
//! ```
//!
//! With forced encapsulation our source hash is false on purpose (that of port 0, which nobody sends from, and the same
//! every time, since a request that is repeated with a cookie must not change otherwise, RFC 7296 §2.6), so that the peer puts ESP in UDP even without a NAT.

use crate::config::Encap;
use crate::crypto::natd::nat_detection_hash;
use crate::event::Path;
use crate::registry::NotifyType;
use crate::wire::header::IkeSpi;
use crate::wire::message::{Body, Chain};

/// What the two hashes of the peer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NatFound {
    /// The peer knows NAT traversal.
    pub(super) traversal: bool,
    /// A NAT stands before us.
    pub(super) local: bool,
    /// A NAT stands before the peer, or it says so.
    pub(super) remote: bool,
}

/// Adds both notifications for a message that leaves by `path`.
pub(super) fn announce(chain: &mut Chain, spis: (IkeSpi, IkeSpi), path: Path, encap: Encap) {
    let port = if encap == Encap::Force { 0 } else { path.local.port() };
    let source = nat_detection_hash(spis.0, spis.1, path.local.ip(), port);
    let destination = nat_detection_hash(spis.0, spis.1, path.remote.ip(), path.remote.port());
    chain.notify(NotifyType::NAT_DETECTION_SOURCE_IP, &source);
    chain.notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &destination);
}

/// Compares the peer's notifications with the path on which its message came. Several source hashes mean several
/// addresses; one match is enough.
pub(super) fn detect(body: &Body<'_>, spis: (IkeSpi, IkeSpi), path: Path) -> NatFound {
    let hashes = |kind| body.notifies.iter().filter(move |n| n.kind == kind).map(|n| n.data);
    let expected = |ip, port| nat_detection_hash(spis.0, spis.1, ip, port);
    let theirs = expected(path.remote.ip(), path.remote.port());
    let ours = expected(path.local.ip(), path.local.port());
    let mut sources = hashes(NotifyType::NAT_DETECTION_SOURCE_IP).peekable();
    let mut destinations = hashes(NotifyType::NAT_DETECTION_DESTINATION_IP).peekable();
    let traversal = sources.peek().is_some() && destinations.peek().is_some();
    NatFound {
        traversal,
        local: traversal && !destinations.any(|hash| hash == ours),
        remote: traversal && !sources.any(|hash| hash == theirs),
    }
}

/// The path after the move to the NAT port. A peer port that was configured by hand stays.
pub(super) fn float(path: Path, ike_port: u16, nat_port: u16) -> Path {
    let mut floated = path;
    floated.local.set_port(nat_port);
    if path.remote.port() == ike_port {
        floated.remote.set_port(nat_port);
    }
    floated
}
