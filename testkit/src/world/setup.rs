//! Configurations for a [`World`](super::World): two peers that fit each other, as strict as they can be.
//!
//! ```text
//!   left 192.0.2.1, left.test, 10.1.0.0/16 ══════ right 198.51.100.1, right.test, 10.2.0.0/16
//!        connects                                       responds only
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ikev2::keyword::Allow;
use ikev2::{
    ChildConfig, Identity, Path, PeerConfig, Proposal, Psk, RemoteId, Start, TrafficSelector,
};

/// Index of the first host of [`World::peers`](super::World::peers).
pub const LEFT: usize = 0;
/// Index of the second host of [`World::peers`](super::World::peers).
pub const RIGHT: usize = 1;
/// Address of the left host.
pub const LEFT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Address of the right host.
pub const RIGHT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// A path from a port 500 to a port 500.
#[must_use]
pub fn path(local: IpAddr, remote: IpAddr) -> Path {
    Path { local: SocketAddr::new(local, 500), remote: SocketAddr::new(remote, 500) }
}

/// The subnet `10.number.0.0/16`.
#[must_use]
pub fn subnet(number: u8) -> TrafficSelector {
    TrafficSelector::subnet(IpAddr::V4(Ipv4Addr::new(10, number, 0, 0)), 16)
}

/// A pair of configurations that fit each other: pre-shared key, one child between `10.1.0.0/16` and `10.2.0.0/16`.
/// The left one connects, the right one waits.
#[must_use]
pub fn psk_pair() -> [PeerConfig; 2] {
    pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-noesn")
}

/// [`psk_pair`] with these proposals, in keywords.
///
/// # Panics
/// If the keywords are not understood.
#[must_use]
pub fn pair_of(ike: &str, esp: &str) -> [PeerConfig; 2] {
    let side = |name: &str, own: &str, other: &str, way: Path| {
        let proposal = Proposal::ike_from_keywords_allowing(ike, Allow::ALL)
            .expect("keywords of an IKE proposal");
        let psk = Psk::new(b"correct horse battery staple".to_vec());
        let mut config = PeerConfig::new(name, psk, vec![proposal]);
        config.paths = vec![way];
        config.local_id = Some(Identity::Fqdn(own.into()));
        config.remote_id = RemoteId::Exact(Identity::Fqdn(other.into()));
        config
    };
    let mut left = side("right", "left.test", "right.test", path(LEFT_ADDRESS, RIGHT_ADDRESS));
    let mut right = side("left", "right.test", "left.test", path(RIGHT_ADDRESS, LEFT_ADDRESS));
    right.start = Start::RespondOnly;
    left.children = vec![child_of("net", 1, 2, esp)];
    right.children = vec![child_of("net", 2, 1, esp)];
    [left, right]
}

/// A child between `10.local.0.0/16` and `10.remote.0.0/16`.
///
/// # Panics
/// If the keywords are not understood.
#[must_use]
pub fn child_of(name: &str, local: u8, remote: u8, esp: &str) -> ChildConfig {
    let proposal =
        Proposal::esp_from_keywords_allowing(esp, Allow::ALL).expect("keywords of an ESP proposal");
    ChildConfig::new(name, vec![subnet(local)], vec![subnet(remote)], vec![proposal])
}
