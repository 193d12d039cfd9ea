//! How both sides of a connection prove who they are, as the rest of the gateway sees it: read, checked, in memory.
//!
//! ```text
//!   Auth ─┬─ ours:   Psk | Signature(OurKey)       by a certificate, or by the bare key (RFC 7670)
//!         ├─ theirs: Psk | Certificate(Trust) | PublicKey
//!         └─ dated:  [Dated]                       what of that has an end, and where it was read
//! ```
//!
//! Two are equal if their content is, wherever it was read: a reload finds a new certificate under an old name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ikev2::pki::{Certificate, CertificateTrust, Credential, PublicKey, RsaPadding};
use ikev2::{LocalAuth, RemoteAuth};

use super::secret::PresharedKey;
use crate::status::certificate::printable;

/// How both sides prove who they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// We.
    pub ours: OurProof,
    /// The peer.
    pub theirs: TheirProof,
    /// Certificates and lists in it that have an end.
    pub dated: Vec<Dated>,
}

/// How we prove who we are.
#[derive(Debug, Clone, PartialEq)]
pub enum OurProof {
    /// By a key that the peer has, too.
    Psk(PresharedKey),
    /// By a signature.
    Signature(OurKey),
}

/// How the peer has to.
#[derive(Debug, Clone, PartialEq)]
pub enum TheirProof {
    /// By a key that we have, too.
    Psk(PresharedKey),
    /// By a signature with a certified key.
    Certificate(Trust),
    /// By a signature with this very key.
    PublicKey(PublicKey),
}

/// Our private key, with its certificates unless it goes without.
#[derive(Clone)]
pub struct OurKey {
    pub(super) credential: Arc<Credential>,
    pub(super) padding: RsaPadding,
}

/// The authorities or certificates that we believe.
#[derive(Clone)]
pub struct Trust {
    pub(super) trust: Arc<CertificateTrust>,
    /// The lists as they were read.
    pub(super) lists: Arc<[Vec<u8>]>,
}

/// Something with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// What it is to us.
    pub part: Part,
    /// Where it was read.
    pub file: PathBuf,
    /// Whose certificate or list.
    pub name: String,
    /// From when on it is valid, seconds since 1970.
    pub from: u64,
    /// The last second of it.
    pub to: u64,
}

impl Dated {
    /// A certificate, as far as it ends.
    #[must_use]
    pub fn of(part: Part, file: &Path, certificate: &Certificate) -> Self {
        Self {
            part,
            file: file.to_owned(),
            name: printable(&certificate.subject().to_string()),
            from: certificate.not_before(),
            to: certificate.not_after(),
        }
    }
}

/// What a certificate is to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What the peer is shown: ours, or one above it in the chain.
    Ours,
    /// An authority that may have issued the peer's.
    Authority,
    /// The peer's own, pinned.
    Pinned,
    /// A revocation list.
    List,
    /// The one that the peer showed.
    Peers,
}

impl Part {
    /// In a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ours => "our certificate",
            Self::Authority => "the certificate of the authority",
            Self::Pinned => "the pinned certificate",
            Self::List => "the revocation list",
            Self::Peers => "the peer's certificate",
        }
    }
}

impl Auth {
    /// The same key on both sides.
    #[must_use]
    pub fn psk(key: PresharedKey) -> Self {
        let (ours, theirs) = (OurProof::Psk(key.clone()), TheirProof::Psk(key));
        Self { ours, theirs, dated: Vec::new() }
    }

    /// For the negotiation.
    #[must_use]
    pub fn local(&self) -> LocalAuth {
        match &self.ours {
            OurProof::Psk(key) => LocalAuth::Psk(key.psk()),
            OurProof::Signature(key) => LocalAuth::Signature(Arc::clone(&key.credential)),
        }
    }

    /// The same for the peer's side.
    #[must_use]
    pub fn remote(&self) -> RemoteAuth {
        match &self.theirs {
            TheirProof::Psk(key) => RemoteAuth::Psk(key.psk()),
            TheirProof::Certificate(trust) => RemoteAuth::Certificate(Arc::clone(&trust.trust)),
            TheirProof::PublicKey(key) => RemoteAuth::PublicKey(key.clone()),
        }
    }

    /// The certificate that we show.
    #[must_use]
    pub fn our_certificate(&self) -> Option<&Certificate> {
        match &self.ours {
            OurProof::Psk(_) => None,
            OurProof::Signature(key) => key.certificate(),
        }
    }

    /// How we do it, in a word: `psk`, `certificate`, `public-key`.
    #[must_use]
    pub fn our_word(&self) -> &'static str {
        match &self.ours {
            OurProof::Psk(_) => "psk",
            OurProof::Signature(key) if key.certificate().is_some() => "certificate",
            OurProof::Signature(_) => "public-key",
        }
    }

    /// How the peer has to do it.
    #[must_use]
    pub const fn their_word(&self) -> &'static str {
        match &self.theirs {
            TheirProof::Psk(_) => "psk",
            TheirProof::Certificate(_) => "certificate",
            TheirProof::PublicKey(_) => "public-key",
        }
    }

    /// The keys of the file that say something else in `other`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self.ours != other.ours {
            keys.extend(of_ours(&self.ours).iter().chain(of_ours(&other.ours)));
        }
        if self.theirs != other.theirs {
            match (&self.theirs, &other.theirs) {
                (TheirProof::Certificate(one), TheirProof::Certificate(two)) => {
                    keys.extend(one.differences(two));
                }
                (one, two) => keys.extend([of_theirs(one), of_theirs(two)]),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        keys.retain(|key| seen.insert(*key));
        keys
    }
}

const fn of_ours(proof: &OurProof) -> &'static [&'static str] {
    match proof {
        OurProof::Psk(_) => &["psk"],
        OurProof::Signature(_) => &["cert", "key"],
    }
}

fn of_theirs(proof: &TheirProof) -> &'static str {
    match proof {
        TheirProof::Psk(_) => "psk",
        TheirProof::Certificate(trust) if trust.trust.anchors.is_empty() => "peer_cert",
        TheirProof::Certificate(_) => "ca",
        TheirProof::PublicKey(_) => "peer_key",
    }
}

impl OurKey {
    /// How it signs, if it is an RSA key.
    #[must_use]
    pub const fn padding(&self) -> RsaPadding {
        self.padding
    }

    /// The certificate of the key, unless it goes without.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.credential.certificate()
    }
}

impl std::fmt::Debug for OurKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.certificate() {
            Some(certificate) => write!(f, "OurKey(of {})", certificate.subject()),
            None => f.write_str("OurKey(without certificate)"),
        }
    }
}

impl PartialEq for OurKey {
    fn eq(&self, other: &Self) -> bool {
        // To one public key belongs one private key.
        self.credential.public_key() == other.credential.public_key()
            && self.credential.chain() == other.credential.chain()
            && self.padding == other.padding
    }
}

impl Trust {
    /// What is believed.
    #[must_use]
    pub fn trust(&self) -> &CertificateTrust {
        &self.trust
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (one, two) = (&self.trust, &other.trust);
        let all = [
            ("ca", one.anchors != two.anchors),
            ("peer_cert", one.pinned != two.pinned),
            ("crl", self.lists != other.lists),
            ("crl_policy", one.crl_policy != two.crl_policy),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.trust.fmt(f)
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.differences(other).is_empty()
    }
}
