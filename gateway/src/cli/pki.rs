//! `s2s-gw pki`: certificates for a first try, and what is in those that somebody else made.
//!
//! ```text
//!   pki DIR --site A --site B    the authority, if there is none yet, and a certificate with key for each site
//!   pki revoke DIR SITE          DIR/crl.pem, with all that was revoked before
//!   pki show FILE..              what is in PEM files
//! ```

use std::path::PathBuf;

use ikev2::Identity;

use super::output::{DONE, print, say};
use super::{Code, Failure, Outcome};
use crate::clock;
use crate::pki::{self, KeyKind, Made, Shown, Site};

/// Make certificates for a first try, or show what is in a PEM file
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  s2s-gw pki ~/pki --site fra1.example.com --site berlin.example.com\n  s2s-gw pki ~/pki --site paris.example.com      add a site later\n  s2s-gw pki ~/pki --site paris.example.com --renew\n  s2s-gw pki show /etc/s2s-gw/fra1.example.com.pem"
)]
pub(super) struct Pki {
    #[command(subcommand)]
    what: Option<What>,
    /// Where the authority and all certificates are, or will be
    #[arg(value_name = "DIR", required = true)]
    directory: Option<PathBuf>,
    /// A gateway: its DNS name, address or mail address
    #[arg(long = "site", value_name = "NAME", required = true)]
    sites: Vec<String>,
    /// Of sites: how long they are valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Of a new authority: the same
    #[arg(long, default_value_t = 1826, value_parser = clap::value_parser!(u32).range(1..=7305))]
    ca_days: u32,
    /// Kind of new keys
    #[arg(long, default_value = "ecdsa-p256", value_parser = key_kind)]
    key: KeyKind,
    /// Name of a new authority
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace certificates that are there; keys stay
    #[arg(long)]
    renew: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say what is in PEM files: names, validity, issuer, key, fingerprints
    Show {
        /// Certificates, keys, revocation lists
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take certificates back: writes DIR/crl.pem
    Revoke {
        /// Where the authority is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Names of sites of it, or certificate files
        #[arg(value_name = "SITE")]
        sites: Vec<String>,
        /// How long the list is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
}

/// `rsa-3072` is refused with what to do instead.
fn key_kind(word: &str) -> Result<KeyKind, String> {
    if word.starts_with("rsa") {
        let bits = word.trim_start_matches("rsa").trim_start_matches('-');
        let bits = bits.parse().ok().filter(|bits| (2048..=4096).contains(bits)).unwrap_or(3072);
        return Err(format!(
            "this program makes no RSA keys, but uses those that are there: \
             (umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out DIR/NAME.key), then this again without --key"
        ));
    }
    <KeyKind as clap::ValueEnum>::from_str(word, true)
        .map_err(|_| "one of ecdsa-p256, ecdsa-p384, ed25519".to_owned())
}

impl Pki {
    pub(super) fn run(self) -> Outcome {
        let now = clock::wall();
        match (self.what, self.directory) {
            (Some(What::Show { files, json }), _) => show(&files, json),
            (Some(What::Revoke { directory, sites, days }), _) => {
                let list = pki::revoke(&directory, &sites, days, now).map_err(failed)?;
                print(&list.text())
            }
            (None, Some(directory)) => {
                let mut sites = Vec::new();
                for name in self.sites {
                    sites.push(Site { identity: identity(&name)?, name });
                }
                let wanted = pki::Wanted {
                    days: self.days,
                    ca_days: self.ca_days,
                    key: self.key,
                    ca_name: self.name,
                    renew: self.renew,
                };
                let made: Made = pki::make(&directory, &sites, &wanted, now).map_err(failed)?;
                print(&made.text())
            }
            (None, None) => Err(Failure::new(Code::Usage, "no directory; see s2s-gw pki --help")),
        }
    }
}

fn identity(name: &str) -> Result<Identity, Failure> {
    let usage = |why: String| Failure::new(Code::Usage, why);
    let identity: Identity =
        name.parse().map_err(|error| usage(format!("--site {name}: {error}")))?;
    match identity {
        Identity::Ipv4(_) | Identity::Ipv6(_) | Identity::Fqdn(_) | Identity::Email(_) => {
            Ok(identity)
        }
        Identity::KeyId(_) | Identity::Dn(_) | Identity::Other(..) => {
            Err(usage(format!("--site {name}: write a DNS name, an address or a mail address")))
        }
    }
}

fn failed(error: pki::MakeError) -> Failure {
    Failure::new(Code::Failed, error)
}

fn show(files: &[PathBuf], json: bool) -> Outcome {
    let now = clock::unix();
    let mut all = Vec::new();
    let mut complete = true;
    for file in files {
        match pki::show(file, now) {
            Ok(shown) => all.push(shown),
            Err(error) => {
                say(&format!("error: {error}\n"));
                complete = false;
            }
        }
    }
    let printed = if json {
        print(&super::output::json_line(&Shown::json(&all))?)
    } else {
        print(&all.iter().map(Shown::text).collect::<Vec<_>>().join("\n"))
    };
    if complete { printed.and(DONE) } else { printed.and(Err(Failure::silent(Code::Failed))) }
}
