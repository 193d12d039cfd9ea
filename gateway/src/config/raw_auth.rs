//! The form of what proves identities: our certificate or key, and what the peer's are held against.
//!
//! ```text
//!   cert = "fra1.pem"                         leaf, then the chain
//!   key  = "fra1.key"                         or { file = ".." }, { credential = ".." }: never the key itself
//!   rsa_padding = "pss" or "pkcs1"            how an RSA key signs
//!   ca   = "ca.pem" or a list    crl = ..     crl_policy = "if-present" or "require"
//!   peer_cert = "berlin.pem"                  this very certificate
//!   peer_key  = "berlin.pub"                  this very key (RFC 7670)
//! ```

use ikev2::pki::{CrlPolicy, RsaPadding};
use toml::de::DeValue;

use super::codes::Code;
use super::keys;
use super::report::Diagnostic;
use super::secret::KeySource;
use super::section::{Field, Findings, Section, wrong_type};
use super::source::{At, Place};

/// Of `[gateway]`, for connections that say nothing of their own, or of a connection.
#[derive(Debug)]
pub(super) struct RawAuth {
    pub(super) cert: Field<String>,
    pub(super) key: Field<KeySource>,
    pub(super) rsa_padding: Field<RsaPadding>,
    pub(super) ca: Field<Vec<At<String>>>,
    pub(super) crl: Field<Vec<At<String>>>,
    pub(super) crl_policy: Field<CrlPolicy>,
    pub(super) peer_cert: Field<Vec<At<String>>>,
    pub(super) peer_key: Field<String>,
}

impl RawAuth {
    /// What `[gateway]` may say: what holds for one peer only is never there.
    pub(super) fn of_gateway(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            cert: section.text("cert", findings),
            key: read_key(section, findings),
            rsa_padding: section.word("rsa_padding", &RSA_PADDING, findings),
            ca: section.texts("ca", findings),
            crl: section.texts("crl", findings),
            crl_policy: section.word("crl_policy", &CRL_POLICY, findings),
            peer_cert: Field::Absent,
            peer_key: Field::Absent,
        }
    }

    pub(super) fn of_connection(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            peer_cert: section.texts("peer_cert", findings),
            peer_key: section.text("peer_key", findings),
            ..Self::of_gateway(section, findings)
        }
    }

    /// Whether it says how we prove who we are.
    pub(super) fn has_ours(&self) -> bool {
        !self.cert.is_absent() || !self.key.is_absent()
    }

    /// Whether it says how the peer does.
    pub(super) fn has_theirs(&self) -> bool {
        !(self.ca.is_absent() && self.peer_cert.is_absent() && self.peer_key.is_absent())
    }
}

const CRL_POLICY: [(&str, CrlPolicy); 2] =
    [("if-present", CrlPolicy::IfPresent), ("require", CrlPolicy::Require)];

const RSA_PADDING: [(&str, RsaPadding); 2] =
    [("pss", RsaPadding::Pss), ("pkcs1", RsaPadding::Pkcs1)];

/// A path, or `{ file | credential }`.
fn read_key(section: &Section<'_>, findings: &mut Findings) -> Field<KeySource> {
    section.raw("key").and_then(|at| {
        let place = at.place.clone();
        if let Some(text) = at.value.as_str() {
            return path(text, &place, findings).map(|path| At::new(KeySource::File(path), place));
        }
        if !at.value.is_table() {
            return wrong_type("key", &at, "a path in quotes or a table", findings);
        }
        in_table(section, at, findings).map(|source| At::new(source, place))
    })
}

fn path(text: &str, place: &Place, findings: &mut Findings) -> Option<At<String>> {
    if keys::names_a_file(text) {
        return Some(At::new(text.to_owned(), place.clone()));
    }
    findings.add(
        Diagnostic::at(Code::KeySource, place, "`key` does not name a file")
            .label("not shown: it may be a key")
            .why("a configuration is copied, printed and backed up; a key should not be")
            .fix("write `key = \"NAME.key\"` or `key = { file = \"PATH\" }`; a pre-shared key is `psk`"),
    );
    None
}

fn in_table(
    section: &Section<'_>,
    at: At<&DeValue<'_>>,
    findings: &mut Findings,
) -> Option<KeySource> {
    let place = at.place.clone();
    let inner = section.inner("key", at, keys::PRIVATE_KEY, findings)?;
    let source = |message: &str| {
        Diagnostic::at(Code::KeySource, &place, message)
            .fix("write `key = \"PATH\"`, or { credential = \"NAME\" } under systemd")
    };
    match (inner.text("file", findings), inner.text("credential", findings)) {
        (Field::Given(name), Field::Absent) => Some(KeySource::File(name)),
        (Field::Absent, Field::Given(name)) => Some(KeySource::Credential(name)),
        (Field::Absent, Field::Absent) => {
            findings.add(source("`key` names no source").label("no source here"));
            None
        }
        (Field::Given(_), Field::Given(_)) => {
            findings.add(source("`key` names several sources").label("which one?"));
            None
        }
        (Field::Wrong, _) | (_, Field::Wrong) => None,
    }
}
