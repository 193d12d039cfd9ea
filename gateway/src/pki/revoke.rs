//! What an authority takes back: the list of it for people and for the next time, and the one that gateways read.
//!
//! ```text
//!   DIR/revoked    2026-11-27T08:00:00Z 41ab.. fra1.example.com     one line each, for ever
//!   DIR/crl.pem    made anew from all of them
//! ```

use std::fmt::Write as _;
use std::path::Path;

use ikev2::pki::Certificate;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::authority::Validity;
use super::files::{self, Directory};
use super::make::{CA_PEM, MakeError, read_authority, unix};
use crate::config::validity::moment;
use crate::status::certificate::hex;

/// A list that was made.
#[derive(Debug)]
pub struct Revoked {
    path: String,
    names: Vec<String>,
    all: usize,
    to: Timestamp,
}

impl Revoked {
    /// For people: what it is and where it belongs.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for name in &self.names {
            let _ = writeln!(text, "revoked {name}");
        }
        let Self { path, all, to, .. } = self;
        let until = moment(unix(*to));
        let _ = write!(
            text,
            "made {path}: {all} revoked in all; make it anew before {until}\n\n\
             Put it on every gateway, name it beside `ca`, and let it be read:\n\n  crl = \"crl.pem\"\n\n  s2s-gw reload\n"
        );
        text
    }
}

/// Takes the certificates of these sites (names of the directory, or files) back; without any the list is made anew.
///
/// # Errors
/// [`MakeError`]; then the list is as it was.
pub fn revoke(
    path: &Path,
    sites: &[String],
    days: u32,
    now: Timestamp,
) -> Result<Revoked, MakeError> {
    let directory = Directory::open(path)?;
    let (authority, ca) = read_authority(&directory, now)?;
    let mut lines =
        if directory.has(REVOKED) { directory.read(REVOKED)?.to_string() } else { HEAD.to_owned() };
    let mut names = Vec::new();
    for site in sites {
        let (path, certificate) = of_site(&directory, site)?;
        if certificate.issuer() != ca.subject() {
            let what = format!("it was not issued by the authority in {CA_PEM}");
            return Err(MakeError::Content { path, what });
        }
        let serial = hex(certificate.serial());
        if !lines.contains(&format!(" {serial} ")) {
            let _ = writeln!(lines, "{now:.0} {serial} {site}");
        }
        names.push(format!("{} ({path})", certificate.subject()));
    }
    let bad = |line: &str| MakeError::Content {
        path: directory.path(REVOKED).display().to_string(),
        what: format!("cannot read the line `{line}`"),
    };
    let entries = lines.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let entries: Result<Vec<_>, _> =
        entries.map(|line| entry(line).ok_or_else(|| bad(line))).collect();
    let entries = entries?;
    let number = unix(now);
    let issued = authority.revoke(&entries, number, Validity::days(now, days))?;
    // The lines first: a list can be made again from them, they cannot from a list.
    directory.replace(REVOKED, &lines)?;
    directory.replace(CRL, &issued.pem)?;
    let path = directory.path(CRL).display().to_string();
    Ok(Revoked { path, names, all: entries.len(), to: issued.to })
}

/// A site of the directory, or a file anywhere.
fn of_site(directory: &Directory, site: &str) -> Result<(String, Certificate), MakeError> {
    let named: String =
        site.chars().map(|c| if matches!(c, ':' | '/') { '-' } else { c }).collect();
    let of_name = directory.path(&format!("{named}.pem"));
    let path = if of_name.exists() { of_name } else { site.into() };
    let shown = path.display().to_string();
    let text = files::read(&path)?;
    let content = |what: String| MakeError::Content { path: shown.clone(), what };
    let der = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| content("there is no certificate in it".to_owned()))?;
    let certificate = Certificate::from_der(&der).map_err(|error| content(error.to_string()))?;
    Ok((shown, certificate))
}

/// Serial number and time of a line.
fn entry(line: &str) -> Option<(Vec<u8>, Timestamp)> {
    let mut words = line.split(' ');
    let since = words.next()?.parse().ok()?;
    let digits = words.next()?;
    let octet = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let serial: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(octet).collect();
    Some((serial?, since))
}

const REVOKED: &str = "revoked";
const CRL: &str = "crl.pem";
const HEAD: &str = "# What this authority has taken back: since when, serial number, whose. s2s-gw pki revoke makes crl.pem from it.\n";

#[cfg(test)]
mod tests {
    use ikev2::pki::Crl;
    use rustls_pki_types::CertificateRevocationListDer;

    use super::super::make::make;
    use super::super::make::tests::{now, site, wanted};
    use super::*;

    #[test]
    fn what_was_revoked_stays_revoked() {
        let dir = tempfile::tempdir().expect("a directory");
        let sites = ["fra1.example.com", "2001:db8::1", "paris.example.com"].map(site);
        make(dir.path(), &sites, &wanted(), now()).expect("made");
        let list = || {
            let text = files::read(&dir.path().join(CRL)).expect("a list");
            let der = CertificateRevocationListDer::from_pem_slice(text.as_bytes()).expect("PEM");
            Crl::from_der(&der).expect("can be used")
        };
        let call = |sites: &[&str]| {
            let sites: Vec<String> = sites.iter().map(ToString::to_string).collect();
            revoke(dir.path(), &sites, 30, now())
        };
        call(&[]).expect("an empty one");
        assert_eq!(list().revoked(), 0);
        let text = call(&["2001:db8::1"]).expect("revoked").text();
        assert!(text.starts_with("revoked CN=2001:db8::1 ("), "{text}");
        assert_eq!(list().revoked(), 1);
        let file = dir.path().join("fra1.example.com.pem").display().to_string();
        call(&[&file, "2001:db8::1"]).expect("revoked");
        assert_eq!(list().revoked(), 2, "one of them only once more");
        call(&[]).expect("the same again");
        assert_eq!(list().revoked(), 2);
        assert_eq!(list().next_update(), Some(unix(now()) + 30 * 86_400));
        assert!(call(&["nobody.example.com"]).is_err());
        std::fs::write(dir.path().join(REVOKED), "yesterday all of them\n").expect("writes");
        assert!(call(&[]).is_err_and(|error| error.to_string().contains("yesterday")));
    }
}
