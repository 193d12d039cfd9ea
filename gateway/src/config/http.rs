//! `[http]`: where the status page and the metrics are served, and who may see and do what there.
//!
//! ```text
//!   listen      = "127.0.0.1:9780"               or a list; without it the page is for this host alone
//!               = "unix:/run/s2s-gw/http.sock"   for whom the mode of that socket lets in
//!   names       = ["gw.example.com"]             what the page may be called beside its address
//!   read_token  = { file = "/etc/s2s-gw/read" }  whoever looks has to show it
//!   admin_token = { file = "/etc/s2s-gw/admin" } without one the page can do nothing at all
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::codes::Code;
use super::keys;
use super::load::Surroundings;
use super::model::{Http, HttpListen};
use super::report::{Diagnostic, for_shell};
use super::secret::{self, KeySource, Modes, PresharedKey};
use super::section::{Field, Findings, Section};
use super::source::{At, Place};

/// The form of the table.
#[derive(Debug)]
pub(super) struct RawHttp {
    pub(super) place: Place,
    listen: Field<Vec<At<String>>>,
    names: Field<Vec<At<String>>>,
    read_token: Field<KeySource>,
    admin_token: Field<KeySource>,
}

impl RawHttp {
    pub(super) fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            place: section.place().clone(),
            listen: section.texts("listen", findings),
            names: section.texts("names", findings),
            read_token: token_source(section, "read_token", findings),
            admin_token: token_source(section, "admin_token", findings),
        }
    }

    /// What it means. Token files are read here, while the program may read them.
    pub(super) fn resolve(&self, surroundings: &Surroundings, findings: &mut Findings) -> Http {
        let listen = addresses(&self.listen, findings);
        let names = names(&self.names, findings);
        let mut token = |field: &Field<KeySource>| token(field.given()?, surroundings, findings);
        let (read_token, admin_token) = (token(&self.read_token), token(&self.admin_token));
        let open = listen.iter().find_map(|place| match place {
            HttpListen::Tcp(address) if !address.ip().is_loopback() => Some(*address),
            HttpListen::Tcp(_) | HttpListen::Unix(_) => None,
        });
        if let Some(address) = open.filter(|_| self.read_token.is_absent()) {
            findings
                .add(open_to_all(address, self.listen.given().map_or(&self.place, |at| &at.place)));
        }
        Http { listen, names, read_token, admin_token }
    }
}

/// `{ file = ".." }` or `{ credential = ".." }`: never the token itself.
fn token_source(
    section: &Section<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Field<KeySource> {
    section.raw(key).and_then(|at| {
        let place = at.place.clone();
        let source = |message: String| {
            let fix = format!("write `{key} = {{ file = \"PATH\" }}`, or {{ credential = \"NAME\" }} under systemd");
            Diagnostic::at(Code::KeySource, &place, message).fix(fix)
        };
        let at: At<&DeValue<'_>> = at;
        if !at.value.is_table() {
            findings.add(
                source(format!("`{key}` wants a table"))
                    .label("the token itself does not stand here")
                    .why("a configuration is copied, printed and backed up; a token should not be"),
            );
            return None;
        }
        let inner = section.inner(key, at, keys::PRIVATE_KEY, findings)?;
        match (inner.text("file", findings), inner.text("credential", findings)) {
            (Field::Given(name), Field::Absent) => Some(At::new(KeySource::File(name), place)),
            (Field::Absent, Field::Given(name)) => {
                Some(At::new(KeySource::Credential(name), place))
            }
            (Field::Absent, Field::Absent) => {
                findings.add(source(format!("`{key}` names no source")).label("no source here"));
                None
            }
            (Field::Given(_), Field::Given(_)) => {
                findings.add(source(format!("`{key}` names several sources")).label("which one?"));
                None
            }
            (Field::Wrong, _) | (_, Field::Wrong) => None,
        }
    })
}

/// The text of a token: one line that can stand in a header.
fn token(
    source: &At<KeySource>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<PresharedKey> {
    let (path, name, modes) = match &source.value {
        KeySource::File(name) => {
            let path = surroundings.key_path(name.place.path(), Path::new(&name.value));
            (path, name, Modes::Strict)
        }
        KeySource::Credential(name) => {
            (secret::credential_path(name, surroundings, findings)?, name, Modes::Systemd)
        }
        KeySource::Inline(_) => return None,
    };
    findings.note_file(&path);
    let text = secret::read_key(&path, &name.value, &name.place, modes, MAKE, findings)?;
    let token = text.strip_suffix(b"\n").unwrap_or(&text);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    let fault = if token.len() < TOKEN_MIN {
        Some((Code::KeyShort, format!("fewer than {TOKEN_MIN} characters")))
    } else if !token.iter().all(u8::is_ascii_graphic) {
        Some((Code::KeyLines, "a token is one line of ASCII without blanks".to_owned()))
    } else {
        None
    };
    if let Some((code, label)) = fault {
        let message = format!("`{}` holds no usable token", name.value);
        findings.add(
            Diagnostic::at(code, &name.place, message)
                .label(label)
                .why("whoever guesses it may do what it allows")
                .fix(MAKE.replace("FILE", &for_shell(&path))),
        );
        return None;
    }
    Some(PresharedKey::new(Zeroizing::new(token.to_vec())))
}

fn addresses(field: &Field<Vec<At<String>>>, findings: &mut Findings) -> Vec<HttpListen> {
    let mut places = Vec::new();
    for text in field.value().into_iter().flatten() {
        match place_of(&text.value) {
            Ok(place) if !places.contains(&place) => places.push(place),
            Ok(_) => {}
            Err(label) => findings.add(
                Diagnostic::at(Code::BadAddress, &text.place, "not an address to listen on")
                    .label(label)
                    .fix(format!(
                        "write \"127.0.0.1:{PORT}\", \"[::1]:{PORT}\" or \"unix:/run/s2s-gw/http.sock\""
                    )),
            ),
        }
    }
    if field.is_absent() {
        places.push(HttpListen::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)));
    }
    places
}

/// An address with or without a port, or a path.
fn place_of(text: &str) -> Result<HttpListen, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if !path.is_absolute() || path.file_name().is_none() {
            Err("wants the whole path of a socket, from / on")
        } else if path.as_os_str().len() > PATH_MAX {
            Err("the path of a socket has at most 107 octets")
        } else {
            Ok(HttpListen::Unix(path))
        };
    }
    let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    match text.parse::<SocketAddr>().or_else(|_| alone()) {
        Ok(address) if address.port() != 0 => Ok(HttpListen::Tcp(address)),
        Ok(_) | Err(_) => Err("wants an address and a port"),
    }
}

fn names(field: &Field<Vec<At<String>>>, findings: &mut Findings) -> Vec<String> {
    let mut names = Vec::new();
    for text in field.value().into_iter().flatten() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if text.value.len() <= 253 && text.value.chars().all(allowed) {
            names.push(text.value.to_ascii_lowercase());
        } else {
            findings.add(
                Diagnostic::at(Code::BadName, &text.place, "not the name of a host")
                    .label("a name alone: no scheme, no port")
                    .fix("write \"gw.example.com\""),
            );
        }
    }
    names
}

/// W0306.
fn open_to_all(address: SocketAddr, place: &Place) -> Diagnostic {
    let message = format!("everybody who reaches {address} can see the status page");
    Diagnostic::at(Code::OpenPage, place, message)
        .label("not an address of this host alone, and no `read_token`")
        .why("it shows addresses of peers, networks, identities and the configuration; secrets it does not show")
        .fix("add `read_token = { file = \"/etc/s2s-gw/read.token\" }`, or listen on 127.0.0.1 behind a proxy")
}

/// How to make one; `FILE` is where, as [`for_shell`] writes it.
const MAKE: &str = "make one: (umask 077; s2s-gw genpsk > FILE)";

/// Characters.
const TOKEN_MIN: usize = 16;

/// Octets of a path that fit into a `sockaddr_un` with their end (unix(7)).
const PATH_MAX: usize = 107;

/// The port, where none is given.
const PORT: u16 = 9780;
