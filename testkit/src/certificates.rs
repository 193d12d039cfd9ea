//! Certificates for the namespace tests, made by strongSwan's `pki`: another hand than ours, so that both have to agree.
//!
//! ```text
//!   root ──┬─ left-KIND, right-KIND           ec256 ec384 ec521 rsa2048 rsa3072 ed25519
//!          ├─ left-expired, left-future, left-stranger, left-revoked, left-weak (RSA-1024), and right-..
//!          └─ mid ── left-chain, right-chain
//!   other ── left-foreign, right-foreign      crl.pem of root: what is -revoked
//! ```
//!
//! `NAME.pem`, `NAME.key`, `NAME.pub`; a chain has that of `mid` behind its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A directory with all of them.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
}

/// Kinds of keys, and how `pki --gen` is asked for them.
pub const KINDS: [(&str, &[&str]); 6] = [
    ("ec256", &["--type", "ecdsa", "--size", "256"]),
    ("ec384", &["--type", "ecdsa", "--size", "384"]),
    ("ec521", &["--type", "ecdsa", "--size", "521"]),
    ("rsa2048", &["--type", "rsa", "--size", "2048"]),
    ("rsa3072", &["--type", "rsa", "--size", "3072"]),
    ("ed25519", &["--type", "ed25519"]),
];

/// The program.
pub const PROGRAM: &str = "/usr/bin/pki";

impl Certificates {
    /// Makes all of them for gateways called `left.example.org` and `right.example.org`.
    ///
    /// # Errors
    /// If `pki` is missing or refuses.
    pub fn make(dir: &Path) -> Result<Self> {
        let this = Self { dir: dir.to_owned() };
        for ca in ["root", "other", "mid"] {
            this.key(ca, KINDS[0].1)?;
        }
        for ca in ["root", "other"] {
            let (key, dn) = (this.path(ca, "key"), format!("C=CH, O=Tests, CN={ca}"));
            this.pki(&format!("{ca}.pem"), &["--self", "--ca", "--in", &key, "--dn", &dn])?;
        }
        this.issue("mid", "root", "C=CH, O=Tests, CN=mid", &["--ca"])?;
        for side in ["left", "right"] {
            for (kind, how) in KINDS {
                this.key(&format!("{side}-{kind}"), how)?;
                this.site(side, kind, "root", &[])?;
                let key = this.path(&format!("{side}-{kind}"), "key");
                this.pki(
                    &format!("{side}-{kind}.pub"),
                    &["--pub", "--type", "priv", "--in", &key],
                )?;
            }
            for what in ["expired", "future", "stranger", "revoked", "foreign", "chain", "next"] {
                this.key(&format!("{side}-{what}"), KINDS[0].1)?;
            }
            let past = ["--not-before", "01.01.24 00:00:00", "--not-after", "01.01.25 00:00:00"];
            this.site(side, "expired", "root", &past)?;
            let future = ["--not-before", "01.01.37 00:00:00", "--not-after", "01.01.38 00:00:00"];
            this.site(side, "future", "root", &future)?;
            this.key(&format!("{side}-weak"), &["--type", "rsa", "--size", "1024"])?;
            this.site(side, "weak", "root", &[])?;
            this.site(side, "revoked", "root", &[])?;
            this.site(side, "foreign", "other", &[])?;
            this.site(side, "chain", "mid", &[])?;
            this.site(side, "next", "root", &[])?;
            let dn = format!("C=CH, O=Tests, CN={side}-stranger");
            let stranger = format!("{side}-stranger");
            this.issue(&stranger, "root", &dn, &["--san", "stranger.example.org"])?;
            let chain = this.file(&format!("{side}-chain.pem"));
            let both =
                std::fs::read_to_string(&chain)? + &std::fs::read_to_string(this.file("mid.pem"))?;
            std::fs::write(chain, both)?;
        }
        let (cert, key) = (this.path("root", "pem"), this.path("root", "key"));
        let (left, right) = (this.path("left-revoked", "pem"), this.path("right-revoked", "pem"));
        let signed = ["--signcrl", "--cacert", &cert, "--cakey", &key, "--lifetime", "30"];
        let revoked = [
            "--reason",
            "key-compromise",
            "--cert",
            &left,
            "--reason",
            "key-compromise",
            "--cert",
            &right,
        ];
        this.pki("crl.pem", &[&signed[..], &revoked].concat())?;
        Ok(this)
    }

    /// A file.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn path(&self, name: &str, ending: &str) -> String {
        self.file(&format!("{name}.{ending}")).display().to_string()
    }

    fn key(&self, name: &str, how: &[&str]) -> Result<()> {
        self.pki(&format!("{name}.key"), &[&["--gen"], how].concat())
    }

    /// For the gateway of this side, by its name.
    fn site(&self, side: &str, what: &str, ca: &str, more: &[&str]) -> Result<()> {
        let (san, dn) = (format!("{side}.example.org"), format!("C=CH, O=Tests, CN={side}"));
        let more = [&["--san", &san], more].concat();
        self.issue(&format!("{side}-{what}"), ca, &dn, &more)
    }

    fn issue(&self, name: &str, ca: &str, dn: &str, more: &[&str]) -> Result<()> {
        let key = self.path(name, "key");
        let (ca_cert, ca_key) = (self.path(ca, "pem"), self.path(ca, "key"));
        let of = [
            "--issue", "--type", "priv", "--in", &key, "--cacert", &ca_cert, "--cakey", &ca_key,
            "--dn", dn,
        ];
        self.pki(&format!("{name}.pem"), &[&of[..], more].concat())
    }

    /// Runs the program; what it prints becomes a file that only its owner may read.
    fn pki(&self, file: &str, args: &[&str]) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        command.args(args).args(["--outform", "pem"]).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {PROGRAM}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && !output.stdout.is_empty(), "{command:?}: {said}");
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create_new(true).open(self.file(file))?;
        Ok(std::io::Write::write_all(&mut file, &output.stdout)?)
    }
}
