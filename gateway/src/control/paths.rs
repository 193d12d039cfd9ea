//! From a configured connection to a peer of `ikev2`: its identities, its children, and the paths by which it is reached.
//!
//! ```text
//!   peer = ["ber-a.example.com", "198.51.100.20:4500"]
//!     ber-a.example.com ──resolver──► 198.51.100.19 ──route──► 203.0.113.10:500  -> 198.51.100.19:500
//!     198.51.100.20:4500 ─────────────────────────────route──► 203.0.113.10:4500 -> 198.51.100.20:4500
//! ```

use std::net::{IpAddr, SocketAddr};

use ikev2::{ChildConfig, Path, PeerConfig, PpkId, RemoteId, TrafficSelector};
use ipnet::IpNet;

use super::resolver::Resolver;
use crate::config::{Child, Connection, Gateway, Host, HostName, Peer};
use crate::io::source_for;

/// The paths to a peer that can be used at this moment, and why the others cannot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    /// In order of preference.
    pub(super) usable: Vec<Path>,
    /// For each of them the place of its host in the configuration.
    pub(super) ranks: Vec<usize>,
    /// One sentence for each host that has none.
    pub(super) failures: Vec<String>,
}

impl Paths {
    /// Looks up names and routes for every host of the connection. Nothing is sent and nothing waits.
    pub(super) fn find(gateway: &Gateway, connection: &Connection, resolver: &Resolver) -> Self {
        let mut paths = Self::default();
        let Peer::Hosts(hosts) = &connection.peer else { return paths };
        for (rank, host) in hosts.iter().enumerate() {
            let (addresses, mut failure) = addresses(host, resolver);
            let before = paths.usable.len();
            for address in addresses {
                match path(gateway, host, address) {
                    Ok(path) => {
                        paths.usable.push(path);
                        paths.ranks.push(rank);
                    }
                    Err(why) => failure = Some(why),
                }
            }
            if paths.usable.len() == before {
                paths.failures.extend(failure);
            }
        }
        paths
    }
}

/// The addresses of a host, or why it has none. While the first answer of the resolver is awaited it has neither.
fn addresses(host: &Host, resolver: &Resolver) -> (Vec<IpAddr>, Option<String>) {
    match &host.name {
        HostName::Address(address) => (vec![*address], None),
        HostName::Dns(name) => {
            (resolver.addresses(name).to_vec(), resolver.failure(name).map(str::to_owned))
        }
    }
}

/// The path to one address, from the address that the routing table prefers; where that is none that we listen on, from
/// the first one of its family that is.
fn path(gateway: &Gateway, host: &Host, address: IpAddr) -> Result<Path, String> {
    let remote = SocketAddr::new(address, host.port.unwrap_or(IKE_PORT));
    // Every port but the plain one expects the non-ESP marker, and so does the other end of the answer (RFC 7296 §2.23).
    let plain = remote.port() == IKE_PORT || remote.port() == gateway.ike_port;
    let local_port = if plain { gateway.ike_port } else { gateway.nat_port };
    let preferred = source_for(remote);
    let local = if gateway.listen.is_empty() {
        preferred.map_err(|error| format!("no route to {address}: {error}"))?
    } else {
        let of_family =
            || gateway.listen.iter().copied().find(|ours| ours.is_ipv4() == address.is_ipv4());
        let preferred = preferred.ok().filter(|ours| gateway.listen.contains(ours));
        preferred
            .or_else(of_family)
            .ok_or_else(|| format!("no address in `listen` is of the family of {address}"))?
    };
    Ok(Path { local: SocketAddr::new(local, local_port), remote })
}

/// The peer as `ikev2` wants it, with a child SA for each of so many workers if the peer takes part in that (RFC 9611).
pub(super) fn peer_config(connection: &Connection, paths: Vec<Path>, workers: usize) -> PeerConfig {
    let policy = &connection.policy;
    let auth = &connection.auth;
    let (local, remote) = (auth.local(), auth.remote());
    let mut peer =
        PeerConfig::with_auth(connection.name.as_str(), local, remote, policy.ike.clone());
    peer.ppk = connection.ppk.as_ref().map(|ppk| {
        let others = ppk
            .others
            .iter()
            .map(|(id, key)| ikev2::PpkKey { id: PpkId::fixed(id.clone()), key: key.psk() });
        let mut whole = ikev2::Ppk::new(PpkId::fixed(ppk.id.clone()), ppk.key.psk(), ppk.required);
        (whole.mix, whole.others) = (ppk.mix, others.collect());
        whole
    });
    peer.paths = paths;
    peer.any_address = any_address(connection);
    peer.local_id.clone_from(&connection.local_id);
    peer.remote_id = match &connection.peer_id {
        Some(id) => RemoteId::Exact(id.clone()),
        None => RemoteId::PeerAddress,
    };
    let children = connection.children.iter();
    peer.children = children.map(|child| child_config(connection, child, workers)).collect();
    peer.start = connection.start;
    peer.encap = connection.encap;
    peer.mobike = connection.extensions.mobike;
    peer.follow_redirects = connection.extensions.follow_redirects;
    peer.auth_lifetime = connection.extensions.auth_lifetime;
    peer.fragmentation = connection.extensions.fragmentation;
    peer.childless = connection.extensions.childless;
    peer.dpd = policy.dpd;
    peer.lifetime = policy.ike_lifetime;
    peer
}

/// Whether the peer may come from an address that we do not know: there is none, or the name may have moved before our
/// resolver saw it. Then its identity alone decides, so it has to have one.
fn any_address(connection: &Connection) -> bool {
    match &connection.peer {
        Peer::Any => true,
        Peer::Hosts(hosts) => {
            connection.peer_id.is_some()
                && hosts.iter().any(|host| matches!(host.name, HostName::Dns(_)))
        }
    }
}

/// One child of it as `ikev2` wants it.
pub(super) fn child_config(connection: &Connection, child: &Child, workers: usize) -> ChildConfig {
    let mut config = ChildConfig::new(
        child.name.as_str(),
        child.local.iter().map(selector).collect(),
        child.remote.iter().map(selector).collect(),
        connection.policy.esp.clone(),
    );
    config.lifetime = connection.policy.esp_lifetime;
    config.pairing = connection.pairing;
    config.resources = u32::try_from(workers).unwrap_or(1);
    config.most_for_resources = config.most_for_resources.max(2 * config.resources);
    config
}

/// Every protocol and port of a network.
pub(super) fn selector(network: &IpNet) -> TrafficSelector {
    TrafficSelector::subnet(network.network(), network.prefix_len())
}

/// The IKE port of a peer that names none (RFC 7296 §2).
const IKE_PORT: u16 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_peer_is_called_from_the_address_that_the_routing_table_prefers() {
        let config = Config::load_text(std::path::Path::new("s2s-gw.toml"), "");
        let defaults = config.expect("nothing is wrong with nothing").gateway;
        let host = Host { name: HostName::Address([127, 0, 0, 9].into()), port: None };
        let called_from = |listen: &[&str]| {
            let listen = listen.iter().map(|text| text.parse().expect("an address")).collect();
            let gateway = Gateway { listen, ..defaults.clone() };
            let found = path(&gateway, &host, [127, 0, 0, 9].into());
            found.map(|path| path.local.to_string())
        };
        // The kernel would take 127.0.0.1.
        let ours = |text: &str| Ok(text.to_owned());
        assert_eq!(called_from(&["192.0.2.1", "127.0.0.1"]), ours("127.0.0.1:500"));
        assert_eq!(called_from(&[]), ours("127.0.0.1:500"));
        assert_eq!(called_from(&["::1", "192.0.2.1"]), ours("192.0.2.1:500"), "the only one");
        assert!(called_from(&["::1"]).is_err());
    }
}
