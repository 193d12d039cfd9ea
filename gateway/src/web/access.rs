//! Who may look, who may act, and whether a browser was led here by somebody else.
//!
//! ```text
//!   Host            an address, `localhost` or a name that is configured; else 421: a page of another site would become ours
//!                   by giving its own name our address (DNS rebinding)
//!   look            nothing, or `read_token` or `admin_token`; else 401
//!   act             POST, `admin_token`, and the page itself asks: Sec-Fetch-Site or Origin; else 403
//! ```
//!
//! A token comes as `Authorization: Bearer TOKEN`, or as the password of `Basic`, for which browsers ask by themselves.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http::{Method, Request, Response};
use crate::config::{Http, PresharedKey};

/// What is asked of clients.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    names: Vec<String>,
    read: Option<PresharedKey>,
    admin: Option<PresharedKey>,
}

impl Access {
    pub(crate) fn of(http: &Http) -> Self {
        Self {
            names: http.names.clone(),
            read: http.read_token.clone(),
            admin: http.admin_token.clone(),
        }
    }

    /// Whether anybody can act.
    pub(super) const fn can_act(&self) -> bool {
        self.admin.is_some()
    }

    /// Lets a request through that comes by one of our names.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check_host(&self, request: &Request) -> Result<(), Response> {
        let Some(host) = &request.host else { return Ok(()) };
        if self.is_ours(host) {
            return Ok(());
        }
        Err(Response::say(
            421,
            "this page does not go by that name; use its address, or add the name to `names` in [http]",
        ))
    }

    /// Host, or host and port.
    fn is_ours(&self, host: &str) -> bool {
        if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        });
        if name.starts_with('[') && name.ends_with(']') {
            return name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        }
        let name = name.to_ascii_lowercase();
        name == "localhost" || self.names.contains(&name)
    }

    /// Lets somebody look.
    ///
    /// # Errors
    /// The refusal, at which a browser asks for a password.
    pub(super) fn check_look(&self, request: &Request) -> Result<(), Response> {
        let Some(read) = &self.read else { return Ok(()) };
        let allowed = |shown: &[u8]| {
            let admin = self.admin.as_ref().is_some_and(|admin| admin.is(shown));
            read.is(shown) || admin
        };
        if shown(request).is_some_and(|shown| allowed(&shown)) {
            return Ok(());
        }
        Err(unauthorized("whoever looks has to show the token of `read_token`"))
    }

    /// Lets somebody act.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check_act(&self, request: &Request) -> Result<(), Response> {
        let Some(admin) = &self.admin else {
            return Err(Response::say(
                403,
                "this page only looks: there is no `admin_token` in [http]",
            ));
        };
        if request.method != Method::Post {
            return Err(Response::say(405, "whoever changes something uses POST"));
        }
        if !self.is_from_here(request) {
            return Err(Response::say(403, "the request comes from a page of another site"));
        }
        if shown(request).is_some_and(|shown| admin.is(&shown)) {
            return Ok(());
        }
        Err(unauthorized("whoever changes something has to show the token of `admin_token`"))
    }

    /// What browsers say of the page that made them ask. Programs say nothing, and nobody leads them.
    fn is_from_here(&self, request: &Request) -> bool {
        if let Some(site) = &request.fetch_site {
            return site == "same-origin";
        }
        let Some(origin) = &request.origin else { return true };
        let Some((_, place)) = origin.split_once("://") else { return false };
        let named = |name: &String| place.eq_ignore_ascii_case(name);
        request.host.as_deref() == Some(place) || self.names.iter().any(named)
    }
}

fn unauthorized(sentence: &str) -> Response {
    let ask = "Basic realm=\"s2s-gw: any name, the token as password\", charset=\"UTF-8\"";
    Response::say(401, sentence).with("WWW-Authenticate", ask)
}

/// The token that a request shows.
fn shown(request: &Request) -> Option<Vec<u8>> {
    let (scheme, rest) = request.authorization.as_deref()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = STANDARD.decode(rest.trim()).ok()?;
    let colon = text.iter().position(|octet| *octet == b':')?;
    text.get(colon + 1..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn access(read: Option<&str>, admin: Option<&str>) -> Access {
        let key = |text: &str| PresharedKey::new(Zeroizing::new(text.as_bytes().to_vec()));
        let names = vec!["gw.example.com".to_owned()];
        Access { names, read: read.map(key), admin: admin.map(key) }
    }

    fn bearer(token: &str) -> Request {
        Request {
            method: Method::Post,
            host: Some("127.0.0.1:9780".into()),
            authorization: Some(format!("Bearer {token}")),
            ..Request::default()
        }
    }

    fn refused(result: Result<(), Response>) -> Option<u16> {
        result.err().map(|response| response.status)
    }

    #[test]
    fn a_name_that_is_not_ours_is_nobody_here() {
        let access = access(None, None);
        for host in
            ["127.0.0.1:9780", "10.0.0.1", "[::1]:9780", "[::1]", "localhost:1", "GW.example.com"]
        {
            let request = Request { host: Some(host.into()), ..Request::default() };
            assert_eq!(refused(access.check_host(&request)), None, "{host}");
        }
        for host in
            ["evil.example:9780", "127.0.0.1.evil.example", "[::1.evil]", "", "gw.example.com.evil"]
        {
            let request = Request { host: Some(host.into()), ..Request::default() };
            assert_eq!(refused(access.check_host(&request)), Some(421), "{host}");
        }
    }

    #[test]
    fn looking_takes_one_of_the_two_tokens_if_there_is_one() {
        let both = access(Some("look-look-look-look"), Some("act-act-act-act-act"));
        assert_eq!(refused(access(None, None).check_look(&Request::default())), None);
        assert_eq!(refused(both.check_look(&Request::default())), Some(401));
        assert_eq!(refused(both.check_look(&bearer("look-look-look-look"))), None);
        assert_eq!(refused(both.check_look(&bearer("act-act-act-act-act"))), None);
        assert_eq!(refused(both.check_look(&bearer("look-look-look-lool"))), Some(401));
        let basic = format!("Basic {}", STANDARD.encode("anybody:look-look-look-look"));
        let basic = Request { authorization: Some(basic), ..Request::default() };
        assert_eq!(refused(both.check_look(&basic)), None);
    }

    #[test]
    fn acting_takes_the_token_and_our_own_page() {
        let act = access(None, Some("act-act-act-act-act"));
        let good = bearer("act-act-act-act-act");
        assert_eq!(refused(act.check_act(&good)), None, "a program");
        assert_eq!(refused(access(None, None).check_act(&good)), Some(403));
        assert_eq!(refused(act.check_act(&bearer("look-look-look-look"))), Some(401));
        let get = Request { method: Method::Get, ..good.clone() };
        assert_eq!(refused(act.check_act(&get)), Some(405));
        let from = |site: Option<&str>, origin: Option<&str>| Request {
            fetch_site: site.map(str::to_owned),
            origin: origin.map(str::to_owned),
            ..good.clone()
        };
        for (site, origin, expected) in [
            (Some("same-origin"), Some("https://gw.example.com"), None),
            (Some("cross-site"), Some("http://127.0.0.1:9780"), Some(403)),
            (Some("same-site"), None, Some(403)),
            (Some("none"), None, Some(403)),
            (None, Some("http://127.0.0.1:9780"), None),
            (None, Some("https://gw.example.com"), None),
            (None, Some("http://127.0.0.1:8080"), Some(403)),
            (None, Some("null"), Some(403)),
        ] {
            assert_eq!(
                refused(act.check_act(&from(site, origin))),
                expected,
                "{site:?} {origin:?}"
            );
        }
    }
}
