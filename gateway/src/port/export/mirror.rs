//! A connection as the other side sees it.
//!
//! ```text
//!   ours    local_subnets  remote_subnets  local_id  peer_id  start = "respond-only"
//!   Mirror  remote         local           their     own      calls
//! ```

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ikev2::{Dpd, Identity, Proposal, Start};
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::Wanted;
use crate::config::{Connection, Gateway, HostName, OurProof, Peer, Policy, TheirProof};

/// Everything that an exporter needs.
#[derive(Debug)]
pub(super) struct Mirror<'c> {
    /// What the other side calls us.
    pub(super) name: String,
    /// What we call it.
    pub(super) peer_name: &'c str,
    pub(super) gateway: &'c str,
    /// The other side's own addresses; none: it has none that is known.
    pub(super) own: Vec<String>,
    /// Ours.
    pub(super) remote: String,
    pub(super) remote_port: u16,
    pub(super) own_id: String,
    pub(super) remote_id: String,
    /// How the other side proves its identity, and how we do: `psk`, `certificate`, `public-key`.
    pub(super) own_proof: &'static str,
    pub(super) remote_proof: &'static str,
    pub(super) children: Vec<Child<'c>>,
    pub(super) policy: &'c Policy,
    pub(super) dpd: Option<Dpd>,
    /// Whether the other side has to begin, because we do not.
    pub(super) calls: bool,
    pub(super) connection: &'c Connection,
    /// The key as `0s` and base64, if it may be shown.
    pub(super) key: Option<Zeroizing<String>>,
    /// The same as text, if it is text.
    pub(super) key_text: Option<Zeroizing<String>>,
    pub(super) has_psk: bool,
    pub(super) notes: Vec<String>,
}

/// Networks of the other side, and ours.
#[derive(Debug)]
pub(super) struct Child<'c> {
    pub(super) name: &'c str,
    pub(super) own: &'c [IpNet],
    pub(super) remote: &'c [IpNet],
}

impl<'c> Mirror<'c> {
    pub(super) fn new(
        gateway: &'c Gateway,
        connection: &'c Connection,
        wanted: &Wanted,
    ) -> Result<Self, String> {
        let mut notes = Vec::new();
        let own = hosts(connection);
        let remote = our_address(gateway, connection, wanted, &mut notes)?;
        let id = |identity: Option<&Identity>, otherwise: Option<&String>| {
            identity.map(Identity::to_string).or_else(|| otherwise.cloned())
        };
        let own_id = id(connection.peer_id.as_ref(), own.first()).unwrap_or_default();
        let remote_id = id(connection.local_id.as_ref(), Some(&remote)).unwrap_or_default();
        let children = connection.children.iter().map(|child| Child {
            name: &child.name,
            own: &child.remote,
            remote: &child.local,
        });
        let key = match (&connection.auth.ours, &connection.auth.theirs) {
            (OurProof::Psk(key), _) | (_, TheirProof::Psk(key)) => Some(key),
            _ => None,
        };
        let encoded = |octets: &[u8]| Zeroizing::new(format!("0s{}", STANDARD.encode(octets)));
        Ok(Self {
            name: plain_name(&gateway.name),
            peer_name: &connection.name,
            gateway: &gateway.name,
            own,
            remote,
            remote_port: gateway.ike_port,
            own_id,
            remote_id,
            own_proof: connection.auth.their_word(),
            remote_proof: connection.auth.our_word(),
            children: children.collect(),
            policy: &connection.policy,
            dpd: connection.policy.dpd,
            calls: matches!(connection.start, Start::RespondOnly | Start::Manual),
            connection,
            key_text: key.filter(|_| wanted.with_psk).and_then(|key| plain_text(key.octets())),
            key: key.filter(|_| wanted.with_psk).map(|key| encoded(key.octets())),
            has_psk: key.is_some(),
            notes,
        })
    }

    /// Whether both sides have a key and nothing else.
    pub(super) fn is_psk(&self) -> bool {
        self.own_proof == "psk" && self.remote_proof == "psk"
    }

    /// The first line of what is made.
    pub(super) fn headline(&self) -> String {
        format!(
            "made by s2s-gw export from connection \"{}\" of gateway \"{}\": for the OTHER side",
            self.peer_name, self.gateway
        )
    }
}

/// Proposals in the words of strongSwan 5, and those that it does not know.
pub(super) fn proposals(all: &[Proposal]) -> (Vec<String>, Vec<String>) {
    all.iter().map(ToString::to_string).partition(|words| {
        let unknown = |word: &str| {
            word.starts_with("ke") || word.starts_with("mlkem") || word.ends_with("iiv")
        };
        !words.split('-').any(unknown)
    })
}

/// For programs that take no other keys.
fn plain_text(octets: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(octets).ok()?;
    let plain = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    plain.then(|| Zeroizing::new(text.to_owned()))
}

fn hosts(connection: &Connection) -> Vec<String> {
    match &connection.peer {
        Peer::Any => Vec::new(),
        Peer::Hosts(hosts) => hosts.iter().map(|host| host.name.to_string()).collect(),
    }
}

/// What the peer calls us at.
fn our_address(
    gateway: &Gateway,
    connection: &Connection,
    wanted: &Wanted,
    notes: &mut Vec<String>,
) -> Result<String, String> {
    if let Some(address) = &wanted.address {
        return Ok(address.clone());
    }
    let peer = match &connection.peer {
        Peer::Hosts(hosts) => hosts.iter().find_map(|host| match host.name {
            HostName::Address(address) => Some(address),
            HostName::Dns(_) => None,
        }),
        Peer::Any => None,
    };
    let fits = |ours: &&IpAddr| peer.is_none_or(|peer| peer.is_ipv4() == ours.is_ipv4());
    if let Some(public) = gateway.public_addresses.iter().chain(&gateway.listen).find(fits) {
        return Ok(public.to_string());
    }
    let Some(guess) = &wanted.guess else {
        return Err("our address as the peer sees it is not known: name it with --address".into());
    };
    notes.push(format!(
        "{guess} is where this host would call the peer from; if the peer sees another address (NAT), give it with --address"
    ));
    Ok(guess.clone())
}

/// `[a-z0-9-]{1,32}`, which every program takes as a name.
fn plain_name(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let plain: String = name.chars().map(fits).take(32).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "s2s-gw".to_owned() } else { plain.to_owned() }
}

pub(super) fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// Seconds, as every program takes them.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}
