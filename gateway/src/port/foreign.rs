//! A tunnel as another program has it, in our terms and unchecked: what all parsers make and the writer takes.

use std::time::Duration;

use zeroize::Zeroizing;

use super::note::Note;
use crate::config::Place;

/// One connection.
#[derive(Debug, Clone, Default)]
pub struct Foreign {
    /// As the source calls it.
    pub name: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// Free text.
    pub description: String,
    /// Whether it is switched on.
    pub disabled: bool,
    /// We, then the peer.
    pub sides: [Side; 2],
    /// The pre-shared key.
    pub psk: Option<Secret>,
    /// Pairs of networks.
    pub pairs: Vec<Pair>,
    /// Whether each pair of networks has a tunnel of its own.
    pub split: bool,
    /// Routes into the tunnel, where the pairs do not say them; `None`: they do.
    pub routes: Option<Vec<String>>,
    /// Metric of these routes.
    pub metric: Option<u32>,
    /// A built-in policy to begin with; empty: `default`.
    pub policy: &'static str,
    /// Proposals in the words of strongSwan.
    pub ike: Vec<Offer>,
    /// The same for the tunnel.
    pub esp: Vec<Offer>,
    /// Lifetimes.
    pub ike_lifetime: Option<Duration>,
    /// Of the tunnel.
    pub esp_lifetime: Option<Duration>,
    /// Of the tunnel, octets.
    pub esp_lifebytes: Option<u64>,
    /// Dead peer detection: interval, timeout, and what then.
    pub dpd: Death,
    /// When it comes up, a word of ours.
    pub start: &'static str,
    /// Other keys of ours, each with its value as TOML.
    pub extra: Vec<(&'static str, String)>,
    /// What there is to say.
    pub notes: Vec<Note>,
    /// Why it cannot be had at all.
    pub impossible: Option<String>,
}

/// What belongs to one of the gateways.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Addresses or names; none: any.
    pub addresses: Vec<String>,
    /// The identity, as the source writes it.
    pub id: String,
    /// How it proves its identity, if by a certificate or a public key.
    pub proof: Option<Proof>,
}

/// The files that the source names for a proof by certificates, with their directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Where the source keeps such files.
    pub store: Store,
    /// Certificates of this side.
    pub certificates: Vec<String>,
    /// Those of authorities that this side's is issued by.
    pub authorities: Vec<String>,
    /// Public keys of this side, without certificates.
    pub keys: Vec<String>,
}

/// Directories of a program for certificates and keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Store {
    /// /etc/swanctl
    #[default]
    Swanctl,
    /// /etc/ipsec.d
    Ipsec,
}

impl Store {
    /// The path of a file that the source names: relative ones are below its own directories.
    pub(super) fn certificate(self, name: &str) -> String {
        self.below("x509", "certs", name)
    }

    pub(super) fn authority(self, name: &str) -> String {
        self.below("x509ca", "cacerts", name)
    }

    pub(super) fn public_key(self, name: &str) -> String {
        self.below("pubkey", "certs", name)
    }

    pub(super) fn private_key(self, name: &str) -> String {
        self.below("private", "private", name)
    }

    fn below(self, swanctl: &str, ipsec: &str, name: &str) -> String {
        match self {
            _ if name.starts_with('/') => name.to_owned(),
            Self::Swanctl => format!("/etc/swanctl/{swanctl}/{name}"),
            Self::Ipsec => format!("/etc/ipsec.d/{ipsec}/{name}"),
        }
    }
}

/// Networks of us and of the peer that may talk to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// We, then the peer.
    pub networks: [Vec<String>; 2],
    /// Where it stands.
    pub place: Option<Place>,
}

/// A proposal, and where it stands.
#[derive(Debug, Clone)]
pub struct Offer {
    /// In the words of strongSwan.
    pub words: String,
    /// Where it stands.
    pub place: Option<Place>,
}

/// Dead peer detection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Death {
    /// After this silence the peer is asked.
    pub interval: Option<Duration>,
    /// After this it is dead.
    pub timeout: Option<Duration>,
    /// A word of ours; empty: `restart`.
    pub action: &'static str,
}

/// A key: its octets, which no `Debug` prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<Vec<u8>>);

impl Secret {
    pub(super) fn of(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Foreign {
    /// The peer.
    pub(super) fn theirs(&mut self) -> &mut Side {
        let [_, theirs] = &mut self.sides;
        theirs
    }

    pub(super) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// The other side of the same tunnel.
    pub(super) fn mirror(&mut self) {
        self.sides.reverse();
        for pair in &mut self.pairs {
            pair.networks.reverse();
        }
        // Whoever waits for a call has a peer that calls, and one of two that call is enough.
        if self.start == "respond-only" {
            self.start = "always";
        }
    }

    /// Networks that the source does not say.
    pub(super) fn fill(&mut self, local: &[String], remote: &[String]) {
        if self.pairs.is_empty() {
            self.pairs.push(Pair::default());
        }
        for pair in &mut self.pairs {
            let [ours, theirs] = &mut pair.networks;
            for (mine, given) in [(ours, local), (theirs, remote)] {
                if mine.is_empty() {
                    mine.extend_from_slice(given);
                }
            }
        }
        if let Some(routes) = &mut self.routes
            && routes.is_empty()
        {
            routes.extend_from_slice(remote);
        }
    }
}
