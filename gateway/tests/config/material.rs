//! Certificates for the tests of the configuration: good ones, and one for each thing that can be wrong.
//!
//! ```text
//!   ca.pem ──┬─ fra1.pem fra1.key       berlin.pem berlin.key berlin.pub      crl.pem
//!            └─ soon.pem week.pem old.pem early.pem, with keys                 old-crl.pem
//!   other/ca.pem ── other.pem           weak.pem  encrypted.key  open.key  text.pem  der.pem
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use base64::Engine as _;
use gateway::pki::{self, KeyKind, Site, Wanted};
use jiff::{SignedDuration, Timestamp};

/// Name, text and mode of each.
pub(crate) fn all() -> &'static BTreeMap<String, (Vec<u8>, u32)> {
    static ALL: OnceLock<BTreeMap<String, (Vec<u8>, u32)>> = OnceLock::new();
    ALL.get_or_init(make)
}

/// What time it is in these tests, seconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(moment().as_second()).unwrap()
}

fn moment() -> Timestamp {
    "2026-11-27T08:00:00Z".parse().unwrap()
}

fn make() -> BTreeMap<String, (Vec<u8>, u32)> {
    let dir = tempfile::tempdir().unwrap();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let issue = |dir: &Path, name: &str, lasts: u32, from: i64| {
        let identity = format!("{name}.example.com");
        let site = Site { identity: identity.parse().unwrap(), name: identity };
        let ca_name = None;
        let key = KeyKind::EcdsaP256;
        let wanted = Wanted { days: lasts, ca_days: 1826, key, ca_name, renew: false };
        pki::make(dir, &[site], &wanted, moment() + days(from)).unwrap();
    };
    // The authority is older than all of them.
    for (name, lasts, from) in [
        ("old", 100, -101),
        ("fra1", 300, 0),
        ("berlin", 300, 0),
        ("soon", 20, 0),
        ("week", 5, 0),
        ("early", 100, 2),
    ] {
        issue(dir.path(), name, lasts, from);
    }
    issue(&dir.path().join("other"), "other", 300, 0);
    pki::revoke(dir.path(), &[], 10, moment() - days(20)).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let mut all = BTreeMap::new();
    let mut add = |name: &str, text: Vec<u8>, mode| all.insert(name.to_owned(), (text, mode));
    add("old-crl.pem", read("crl.pem"), 0o644);
    pki::revoke(dir.path(), &["soon.example.com".to_owned()], 300, moment()).unwrap();
    add("crl.pem", read("crl.pem"), 0o644);
    add("ca.pem", read("ca.pem"), 0o644);
    add("other-ca.pem", read("other/ca.pem"), 0o644);
    add("other.pem", read("other/other.example.com.pem"), 0o644);
    for name in ["fra1", "berlin", "soon", "week", "old", "early"] {
        add(&format!("{name}.pem"), read(&format!("{name}.example.com.pem")), 0o644);
        add(&format!("{name}.key"), read(&format!("{name}.example.com.key")), 0o600);
    }
    let chain = [read("fra1.example.com.pem"), read("berlin.example.com.pem")].concat();
    add("disorder.pem", chain, 0o644);
    add("cert.key", read("fra1.example.com.pem"), 0o600);
    add("open.key", read("fra1.example.com.key"), 0o640);
    add("encrypted.key", include_bytes!("pem/encrypted.key").to_vec(), 0o600);
    add("weak.pem", include_bytes!("pem/weak.pem").to_vec(), 0o644);
    add("text.pem", b"fra1.example.com\n".to_vec(), 0o644);
    let berlin = String::from_utf8(read("berlin.example.com.pem")).unwrap();
    let lines: String = berlin.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(lines).unwrap();
    let certificate = ikev2::pki::Certificate::from_der(&der).unwrap();
    let spki = base64::engine::general_purpose::STANDARD.encode(certificate.public_key().spki());
    let public = format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n");
    add("berlin.pub", public.into_bytes(), 0o644);
    add("der.pem", der, 0o644);
    all
}
