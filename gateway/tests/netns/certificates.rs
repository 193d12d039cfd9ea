//! Certificates and bare keys instead of pre-shared keys, with strongSwan's and ours on either side.
//!
//! ```text
//!   certificates/KIND     both sides by a certificate of that kind of key, each pair and role
//!   certificates/..       chain, list, bare key, one side by key, distinguished names
//!   certificates/refused-.. wrong authority, expired, for another name, revoked and so on: no tunnel, and the code that says
//!                           why. E1033 has none: no gateway here claims an identity that is not in its certificate
//!   certificates/pki..      ours on both sides with what `s2s-gw pki` made; renewed under a running tunnel
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value answers null, it does not panic"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::certificates::Certificates;
use testkit::gateway::Ours;
use testkit::peer::{ConnectionSpec, Proofs, pause, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel, program};
use crate::lifecycle::says;
use crate::traffic::gcm;

type Edit = fn(&mut ConnectionSpec, &mut ConnectionSpec);

/// What both sides have, and what ours then says about it.
#[derive(Clone, Copy)]
struct Fit {
    name: &'static str,
    edit: Edit,
    /// Methods of ours: of itself and of the peer, where ours begins; part of the text.
    methods: (&'static str, &'static str),
}

const fn fit(name: &'static str, methods: (&'static str, &'static str), edit: Edit) -> Fit {
    Fit { name, edit, methods }
}

const FITS: [Fit; 12] = [
    fit("ecdsa-p256", ("ECDSA", "ECDSA"), |l, r| certified(l, r, "ec256")),
    fit("ecdsa-p384", ("ECDSA", "ECDSA"), |l, r| certified(l, r, "ec384")),
    fit("ecdsa-p521", ("ECDSA", "ECDSA"), |l, r| certified(l, r, "ec521")),
    fit("ed25519", ("Ed25519", "Ed25519"), |l, r| certified(l, r, "ed25519")),
    fit("rsa-2048-pss", ("PSS", "PSS"), |l, r| {
        certified(l, r, "rsa2048");
        for side in [l, r] {
            side.swan_extra += "\nrsa_pss = yes";
        }
    }),
    fit("rsa-2048-pkcs1", ("PKCS1", "PKCS1"), |l, r| {
        certified(l, r, "rsa2048");
        for side in [l, r] {
            more(side, "rsa_padding = \"pkcs1\"");
        }
    }),
    fit("rsa-3072", ("PSS", "PKCS1"), |l, r| certified(l, r, "rsa3072")),
    fit("chain", ("ECDSA", "ECDSA"), |l, r| {
        certified(l, r, "chain");
        for side in [l, r] {
            // strongSwan sends what it has between its own and the authority.
            with_file(side, "x509", "mid.pem");
        }
    }),
    fit("list", ("ECDSA", "ECDSA"), |l, r| {
        certified(l, r, "ec256");
        for side in [l, r] {
            let list = files().file("crl.pem");
            more(side, &format!("crl = {}\ncrl_policy = \"require\"", quoted(&list)));
            with_file(side, "x509crl", "crl.pem");
        }
    }),
    fit("bare-key", ("ECDSA", "ECDSA"), bare_keys),
    fit("pinned", ("ECDSA", "ECDSA"), |l, r| {
        certified(l, r, "ec256");
        for (side, peer) in [(l, "right"), (r, "left")] {
            expects_certificate_alone(side, &format!("{peer}-ec256.pem"));
        }
    }),
    fit("names", ("ECDSA", "ECDSA"), |l, r| {
        certified(l, r, "ec256");
        let (left, right) = ("C=CH, O=Tests, CN=left", "C=CH, O=Tests, CN=right");
        (l.local_id, l.remote_id) = (left.into(), right.into());
        (r.local_id, r.remote_id) = (right.into(), left.into());
    }),
];

/// What does not fit, and what each kind of gateway says: of ours codes where it is left and where it is right, of
/// strongSwan nothing.
#[derive(Clone, Copy)]
struct Misfit {
    name: &'static str,
    edit: Edit,
    /// Code where the peer of the bad one is ours.
    code: &'static str,
    words: &'static str,
    /// Code where the bad one is ours.
    own: &'static str,
    pairs: &'static [Pair],
}

impl Misfit {
    /// It is told no more than that it was refused (RFC 7296 §2.21.2), or sees by itself that the peer has no right.
    const TOLD: Self = Self {
        name: "",
        edit: |_, _| {},
        code: "",
        words: "",
        own: "E1007",
        pairs: &[Pair::OursToSwan, Pair::SwanToOurs, Pair::OursToOurs],
    };
}

/// Those where the refusal is not strongSwan's to make.
const BY_OURS: &[Pair] = &[Pair::SwanToOurs, Pair::OursToOurs];

/// It is the left one, which begins, that has what does not fit.
const MISFITS: [Misfit; 11] = [
    Misfit {
        name: "authority",
        edit: |l, r| {
            certified(l, r, "ec256");
            ours_is(l, "left", "foreign");
        },
        code: "E1032",
        words: "CN=other",
        ..Misfit::TOLD
    },
    Misfit {
        name: "expired",
        edit: |l, r| {
            certified(l, r, "ec256");
            ours_is(l, "left", "expired");
        },
        code: "E1030",
        words: "expired at 2025-01-01",
        ..Misfit::TOLD
    },
    Misfit {
        name: "identity",
        edit: |l, r| {
            certified(l, r, "ec256");
            // Ours would not claim what is not in its certificate: it is called so there, and the peer expects another.
            ours_is(l, "left", "stranger");
            l.local_id = "stranger.example.org".into();
        },
        code: "E1009",
        words: "stranger.example.org",
        ..Misfit::TOLD
    },
    Misfit {
        name: "revoked",
        edit: |l, r| {
            certified(l, r, "ec256");
            ours_is(l, "left", "revoked");
            let list = files().file("crl.pem");
            more(r, &format!("crl = {}", quoted(&list)));
            with_file(r, "x509crl", "crl.pem");
        },
        code: "E1034",
        words: "revoked",
        ..Misfit::TOLD
    },
    Misfit {
        name: "not-yet-valid",
        edit: |l, r| {
            certified(l, r, "ec256");
            ours_is(l, "left", "future");
        },
        code: "E1031",
        words: "2037-01-01",
        ..Misfit::TOLD
    },
    Misfit {
        name: "unknown-revocation",
        edit: |l, r| {
            certified(l, r, "ec256");
            // The list is of the root; of the authority below it there is none.
            ours_is(l, "left", "chain");
            with_file(l, "x509", "mid.pem");
            let list = files().file("crl.pem");
            more(r, &format!("crl = {}\ncrl_policy = \"require\"", quoted(&list)));
        },
        code: "E1035",
        words: "or one above it",
        pairs: BY_OURS,
        ..Misfit::TOLD
    },
    Misfit {
        name: "other-method",
        edit: |l, r| {
            mixed(l, r, true);
            ours_is(r, "right", "ec256");
        },
        code: "E1036",
        words: "SHARED_KEY",
        ..Misfit::TOLD
    },
    Misfit {
        name: "weak-key",
        edit: |l, r| {
            certified(l, r, "ec256");
            ours_is(l, "left", "weak");
        },
        code: "E1037",
        words: "1024",
        // Ours does not start with such a key.
        pairs: &[Pair::SwanToOurs],
        ..Misfit::TOLD
    },
    Misfit {
        name: "another-certificate",
        edit: |l, r| {
            certified(l, r, "ec256");
            expects_certificate_alone(r, "left-next.pem");
        },
        code: "E1032",
        words: "CN=left",
        pairs: BY_OURS,
        ..Misfit::TOLD
    },
    Misfit {
        name: "another-key",
        edit: |l, r| {
            bare_keys(l, r);
            if let Some(proofs) = &mut r.proofs {
                proofs.ours = proofs.ours.replace("left-ec256.pub", "right-ec256.pub");
            }
        },
        code: "E1038",
        words: "signature",
        pairs: BY_OURS,
        ..Misfit::TOLD
    },
    Misfit {
        name: "cannot-sign",
        edit: |l, r| {
            certified(l, r, "ed25519");
            // Then it announces no hashes (RFC 7427), and the older methods have none for this key.
            r.swan_extra += "
signature_authentication = no";
        },
        code: "",
        words: "",
        own: "E1039",
        pairs: &[Pair::OursToSwan],
    },
];

pub(crate) fn list(list: &mut List) {
    for fit in FITS {
        for pair in Pair::all() {
            let tunnel = Tunnel { edit: fit.edit, ..gcm(pair) };
            list.tunnel(&format!("certificates/{}", fit.name), tunnel, move |case| {
                fits(case, &fit)
            });
        }
    }
    let one_side: [(&str, Edit); 2] = [
        ("certificates/key-and-certificate", |l, r| mixed(l, r, true)),
        ("certificates/certificate-and-key", |l, r| mixed(l, r, false)),
    ];
    for (name, edit) in one_side {
        for pair in Pair::all() {
            list.tunnel(name, Tunnel { edit, ..gcm(pair) }, |case| {
                case.up().and_then(|()| case.ping_all())
            });
        }
    }
    for misfit in MISFITS {
        for pair in misfit.pairs {
            let tunnel = Tunnel { edit: misfit.edit, ..gcm(*pair) };
            let name = format!("certificates/refused-{}", misfit.name);
            list.tunnel(&name, tunnel, move |case| refused(case, &misfit));
        }
    }
    let tunnel = Tunnel { edit: of_pki, ..gcm(Pair::OursToOurs) };
    list.tunnel("certificates/pki-revoked-while-up", tunnel, revoked_while_up);
    list.tunnel("certificates/pki", Tunnel { edit: of_pki, ..gcm(Pair::OursToOurs) }, as_it_is);
    list.tunnel(
        "certificates/pki-renewed",
        Tunnel { edit: of_pki, ..gcm(Pair::OursToOurs) },
        renewed,
    );
    list.tunnel(
        "certificates/pki-revoked",
        Tunnel { edit: of_pki, ..gcm(Pair::OursToOurs) },
        revoked,
    );
}

/// Made once for all tests.
fn files() -> &'static Certificates {
    static FILES: OnceLock<(tempfile::TempDir, Certificates)> = OnceLock::new();
    let made = FILES.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("s2st-pki").tempdir().expect("a directory");
        let certificates =
            Certificates::make(dir.path()).unwrap_or_else(|error| panic!("{error:#}"));
        (dir, certificates)
    });
    &made.1
}

/// Both sides by certificates of that kind, which the root issued.
fn certified(left: &mut ConnectionSpec, right: &mut ConnectionSpec, kind: &str) {
    ours_is(left, "left", kind);
    ours_is(right, "right", kind);
}

fn ours_is(side: &mut ConnectionSpec, name: &str, kind: &str) {
    let file = |what: &str| files().file(&format!("{name}-{kind}.{what}"));
    let (cert, key, ca) = (file("pem"), file("key"), files().file("root.pem"));
    side.proofs = Some(Proofs {
        ours: by_certificate(&cert, &key, &ca),
        swan: (
            format!("auth = pubkey\ncerts = {name}-{kind}.pem"),
            "auth = pubkey\ncacerts = root.pem".into(),
        ),
        swan_files: vec![("private", key), ("x509", cert), ("x509ca", ca)],
        ..Proofs::default()
    });
}

fn by_certificate(cert: &Path, key: &Path, ca: &Path) -> String {
    format!("cert = {}\nkey = {}\nca = {}", quoted(cert), quoted(key), quoted(ca))
}

/// As TOML has it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn more(side: &mut ConnectionSpec, lines: &str) {
    if let Some(proofs) = &mut side.proofs {
        proofs.ours = format!("{}\n{lines}", proofs.ours);
    }
}

/// Each by a key without a certificate (RFC 7670).
fn bare_keys(l: &mut ConnectionSpec, r: &mut ConnectionSpec) {
    for (side, name, peer) in [(l, "left", "right"), (r, "right", "left")] {
        let file = |what: String| files().file(&what);
        let (key, theirs) = (file(format!("{name}-ec256.key")), file(format!("{peer}-ec256.pub")));
        side.proofs = Some(Proofs {
            ours: format!("key = {}\npeer_key = {}", quoted(&key), quoted(&theirs)),
            swan: (
                format!("auth = pubkey\npubkeys = {name}-ec256.pub"),
                format!("auth = pubkey\npubkeys = {peer}-ec256.pub"),
            ),
            swan_files: vec![
                ("private", key),
                ("pubkey", file(format!("{name}-ec256.pub"))),
                ("pubkey", theirs),
            ],
            ..Proofs::default()
        });
    }
}

/// This very certificate, whoever issued it.
fn expects_certificate_alone(side: &mut ConnectionSpec, name: &str) {
    if let Some(proofs) = &mut side.proofs {
        let lines = proofs.ours.lines().filter(|line| !line.starts_with("ca "));
        proofs.ours = lines.collect::<Vec<_>>().join("\n");
    }
    more(side, &format!("peer_cert = {}", quoted(&files().file(name))));
}

fn with_file(side: &mut ConnectionSpec, directory: &'static str, name: &str) {
    if let Some(proofs) = &mut side.proofs {
        proofs.swan_files.push((directory, files().file(name)));
    }
}

/// The left side proves itself by the key that both have if `left_psk`, else the right one; the other by a certificate.
fn mixed(left: &mut ConnectionSpec, right: &mut ConnectionSpec, left_psk: bool) {
    certified(left, right, "ec256");
    for (side, by_psk) in [(left, left_psk), (right, !left_psk)] {
        let Some(proofs) = &mut side.proofs else { continue };
        let keep = |line: &&str| line.starts_with("ca ") == by_psk;
        proofs.ours = proofs.ours.lines().filter(keep).collect::<Vec<_>>().join("\n");
        proofs.with_psk = true;
        let psk = "auth = psk".to_owned();
        *(if by_psk { &mut proofs.swan.0 } else { &mut proofs.swan.1 }) = psk;
    }
}

fn fits(case: &mut Case, fit: &Fit) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    for peer in [&case.left, &case.right] {
        let Some(ours) = peer.as_ours() else { continue };
        let auth = &connection(ours)?["auth"];
        let method = |which: &str| auth[which].as_str().unwrap_or_default().to_owned();
        let (us, them) = (method("local_method"), method("remote_method"));
        ensure!(us.contains(fit.methods.0), "we by {us}: {auth}");
        // What ours does is known; strongSwan chooses by itself.
        let by_ours = case.tunnel.pair == Pair::OursToOurs;
        let wanted = if by_ours { fit.methods.0 } else { fit.methods.1 };
        ensure!(them.contains(wanted), "the peer by {them}: {auth}");
        let shown = ours.tell(&["status", "site"])?;
        secretive(ours, &(peer.log() + &peer.status() + &shown))?;
        if fit.name != "bare-key" {
            ensure!(auth["remote_certificate"]["subject"].is_string(), "{auth}");
            ensure!(shown.contains("its cert:  "), "{shown}");
        }
    }
    Ok(())
}

/// Nothing that was said has a line of a private key in it.
fn secretive(ours: &Ours, said: &str) -> Result<()> {
    let config = std::fs::read_to_string(ours.config())?;
    let file = config.lines().find_map(|line| line.strip_prefix("key = ")).context("a key")?;
    let key = std::fs::read_to_string(file.trim_matches('"'))?;
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        ensure!(!said.contains(line), "a part of the private key is told");
    }
    Ok(())
}

fn connection(ours: &Ours) -> Result<Value> {
    let status = ours.json()?;
    let connections = status["connections"].as_array().context("no connections")?;
    connections.iter().find(|one| one["name"] == "site").cloned().context("no connection site")
}

fn refused(case: &mut Case, misfit: &Misfit) -> Result<()> {
    case.start()?;
    if case.right.kind() == "ours" {
        says(case.right.as_ref(), &[("ours", misfit.code)])?;
        says(case.right.as_ref(), &[("ours", misfit.words)])?;
    }
    if case.left.kind() == "ours" {
        says(case.left.as_ref(), &[("ours", misfit.own)])?;
    }
    if let (Some(ours), "expired") = (case.left.as_ours(), misfit.name) {
        // Its own certificate it can judge.
        says(ours, &[("ours", "event=certificate conn=site msg=\"our certificate of")])?;
        let site = connection(ours)?;
        ensure!(site["warnings"][0] == "W0322", "{site}");
        let left = site["auth"]["local_certificate"]["expires_in_seconds"].as_i64();
        ensure!(left.is_some_and(|left| left < 0), "{site}");
    }
    pause(Duration::from_secs(1));
    for peer in [&case.left, &case.right] {
        ensure!(!peer.facts("site")?.up, "{} says that the tunnel is up", peer.kind());
    }
    let to = case.sites.right.host_address(testkit::netns::Family::V4, 0);
    ensure!(case.sites.left.host.ping(to, 1, GAP)? == 0, "a ping got through");
    Ok(())
}

/// A directory of `s2s-gw pki` for the tests of it; each test has its own.
fn of_pki(left: &mut ConnectionSpec, right: &mut ConnectionSpec) {
    let dir = tempfile::Builder::new().prefix("s2st-pki").tempdir().expect("a directory").keep();
    pki(&[&dir.display().to_string(), "--site", "left.example.org", "--site", "right.example.org"]);
    for (side, name) in [(left, "left"), (right, "right")] {
        let file = |what: &str| dir.join(format!("{name}.example.org.{what}"));
        let (cert, key, ca) = (file("pem"), file("key"), dir.join("ca.pem"));
        side.proofs = Some(Proofs { ours: by_certificate(&cert, &key, &ca), ..Proofs::default() });
    }
}

fn pki(args: &[&str]) -> String {
    let output = Command::new(program()).arg("pki").args(args).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where the certificates of a case are.
fn directory(ours: &Ours) -> Result<PathBuf> {
    let text = std::fs::read_to_string(ours.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("ca = ")).context("no `ca`")?;
    let ca = PathBuf::from(line.trim_matches('"'));
    Ok(ca.parent().context("a directory")?.to_owned())
}

fn left(case: &Case) -> Result<&Ours> {
    case.left.as_ours().context("ours")
}

fn as_it_is(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    let ours = left(case)?;
    let dir = directory(ours)?;
    let shown = pki(&["show", "--json", &dir.join("left.example.org.pem").display().to_string()]);
    let shown: Value = serde_json::from_str(&shown)?;
    let told = &connection(ours)?["auth"]["local_certificate"];
    ensure!(shown["files"][0]["items"][0]["fingerprint"] == told["fingerprint"], "{shown}\n{told}");
    ensure!(told["names"][0] == "left.example.org", "{told}");
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// New certificates under the old names: nothing is lost, and the next authentication is by the new ones.
fn renewed(case: &mut Case) -> Result<()> {
    case.up()?;
    let dir = directory(left(case)?)?;
    let fingerprint = |case: &Case| -> Result<Value> {
        Ok(connection(left(case)?)?["auth"]["local_certificate"]["fingerprint"].clone())
    };
    let before = (fingerprint(case)?, case.left.facts("site")?);
    pki(&[&dir.display().to_string(), "--site", "left.example.org", "--renew"]);
    crate::collide::while_pinging(case, |case| {
        let said = reload(left(case)?)?;
        ensure!(said.contains("cert"), "{said}");
        wait_for("a new IKE SA beside the old one", Duration::from_secs(5), || {
            let after = case.left.facts("site")?;
            Ok((after.up && after.ike_spi != before.1.ike_spi).then_some(()))
        })
    })?;
    ensure!(fingerprint(case)? != before.0, "the old certificate is shown");
    let right = case.right.as_ours().context("ours")?;
    let shown = &connection(right)?["auth"]["remote_certificate"]["fingerprint"];
    ensure!(*shown == fingerprint(case)?, "the peer saw {shown}");
    // Nothing is left to do: the content is compared, not only the time of the file.
    let said = reload(left(case)?)?;
    ensure!(!said.contains("cert"), "{said}");
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn reload(ours: &Ours) -> Result<String> {
    ours.tell(&["reload"])
}

/// A certificate that is taken back lets nobody in any more.
fn revoked(case: &mut Case) -> Result<()> {
    case.up()?;
    let right = case.right.as_ours().context("ours")?;
    let dir = directory(right)?;
    pki(&["revoke", &dir.display().to_string(), "left.example.org"]);
    let text = std::fs::read_to_string(right.config())?;
    let list = format!("crl = {}\nca = ", quoted(&dir.join("crl.pem")));
    std::fs::write(right.config(), text.replace("ca = ", &list))?;
    reload(right)?;
    case.left.restart("site")?;
    says(case.right.as_ref(), &[("ours", "E1034")])?;
    pause(Duration::from_secs(1));
    ensure!(!case.left.facts("site")?.up, "the tunnel is up");
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// The side that calls reads a list with the peer in it: what is up ends.
fn revoked_while_up(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = left(case)?;
    let dir = directory(ours)?;
    pki(&["revoke", &dir.display().to_string(), "right.example.org"]);
    let list = format!("crl = {}\nca = ", quoted(&dir.join("crl.pem")));
    let text = std::fs::read_to_string(ours.config())?;
    std::fs::write(ours.config(), text.replace("ca = ", &list))?;
    reload(ours)?;
    wait_for("the tunnel to end for E1034", Duration::from_secs(5), || {
        let site = connection(left(case)?)?;
        let ended = site["ike"].is_null() && site["reason"]["code"] == "E1034";
        Ok(ended.then_some(()))
    })?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
