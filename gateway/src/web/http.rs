//! HTTP/1.1 as far as a status page needs it: octets to a request, an answer to octets. No IO.
//!
//! ```text
//!   GET /c/berlin?x=y HTTP/1.1    ┐
//!   Host: 127.0.0.1:9780          ├─ httparse ─► Request { method, path, query, host, ..} or Refusal 4xx
//!   ..                            ┘
//! ```
//!
//! What is refused: heads of more than [`MAX_HEAD`] octets, bodies of more than [`MAX_BODY`], any transfer encoding, two lengths,
//! other methods than GET, HEAD and POST. A path is compared with those that there are, as it stands: nothing in it is
//! decoded, no file is opened by it.

use std::fmt::Write as _;

use jiff::Timestamp;

/// What a client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Without the query.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// The fields of a form.
    pub(super) form: Vec<(String, String)>,
    pub(super) host: Option<String>,
    pub(super) origin: Option<String>,
    /// `Sec-Fetch-Site`: what the browser says of who asks.
    pub(super) fetch_site: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) wants_json: bool,
    /// Whether another request may follow.
    pub(super) keeps: bool,
}

impl Request {
    /// A parameter of the query.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        value(&self.query, name)
    }

    /// A field of the form.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        value(&self.form, name)
    }
}

fn value<'r>(pairs: &'r [(String, String)], name: &str) -> Option<&'r str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Method {
    #[default]
    Get,
    Head,
    Post,
}

/// What came of the octets that are there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The rest is still to come.
    More,
    /// A whole request of so many octets.
    Whole(Box<Request>, usize),
    /// None at all: status and sentence.
    Bad(u16, &'static str),
}

/// Reads the first request of `octets`.
pub(super) fn parse(octets: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let begin = match head.parse(octets) {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
        Ok(httparse::Status::Partial) if octets.len() < MAX_HEAD => return Parsed::More,
        Ok(_) => return Parsed::Bad(431, "a request head has at most 8 KiB"),
        Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Bad(431, "a request has at most 64 header fields");
        }
        Err(_) => return Parsed::Bad(400, "this is not HTTP/1.1"),
    };
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Parsed::Bad(405, "the methods here are GET, HEAD and POST"),
    };
    let target = head.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Parsed::Bad(400, "the target of a request begins with a slash");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method,
        path: path.to_owned(),
        query: pairs(query.as_bytes()),
        keeps: head.version == Some(1),
        ..Request::default()
    };
    let mut length: Option<usize> = None;
    for header in head.headers.iter() {
        let Ok(text) = std::str::from_utf8(header.value).map(str::trim) else { continue };
        let name = header.name;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Parsed::Bad(501, "a body comes with its length, in one piece");
        } else if name.eq_ignore_ascii_case("content-length") {
            match text.parse() {
                Ok(len) if length.is_none() && text.bytes().all(|b| b.is_ascii_digit()) => {
                    length = Some(len);
                }
                _ => return Parsed::Bad(400, "the length of the body is not clear"),
            }
        } else if name.eq_ignore_ascii_case("host") {
            if request.host.replace(text.to_owned()).is_some() {
                return Parsed::Bad(400, "a request has one Host");
            }
        } else if name.eq_ignore_ascii_case("origin") {
            request.origin = Some(text.to_owned());
        } else if name.eq_ignore_ascii_case("sec-fetch-site") {
            request.fetch_site = Some(text.to_owned());
        } else if name.eq_ignore_ascii_case("authorization") {
            request.authorization = Some(text.to_owned());
        } else if name.eq_ignore_ascii_case("accept") {
            request.wants_json = text.contains("application/json");
        } else if name.eq_ignore_ascii_case("connection") {
            let says =
                |word: &str| text.split(',').any(|one| one.trim().eq_ignore_ascii_case(word));
            request.keeps = !says("close") && (request.keeps || says("keep-alive"));
        }
    }
    let length = length.unwrap_or(0);
    if length > MAX_BODY {
        return Parsed::Bad(413, "a body has at most 4 KiB");
    }
    match octets.get(begin..begin + length) {
        None => Parsed::More,
        Some(body) => {
            request.form = pairs(body);
            Parsed::Whole(Box::new(request), begin + length)
        }
    }
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).take(MAX_PAIRS).map(|(k, v)| (k.into(), v.into())).collect()
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// The classic text format of Prometheus, which also node_exporter reads.
pub(super) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(super) const STREAM: &str = "text/event-stream";

impl Response {
    pub(super) fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, kind, headers: Vec::new(), body: body.into() }
    }

    /// A sentence.
    pub(super) fn say(status: u16, sentence: &str) -> Self {
        let response = Self::new(status, TEXT, format!("{sentence}\n"));
        match status {
            405 => response.with("Allow", "GET, HEAD, POST"),
            503 => response.with("Retry-After", "2"),
            _ => response,
        }
    }

    pub(super) fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self::new(200, JSON, body)
            }
            Err(_) => Self::say(500, "the answer has no JSON"),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The head of it. The body of a stream has no length.
    fn head(&self, now: Timestamp, keeps: bool, length: Option<usize>) -> String {
        let Self { status, kind, headers, .. } = self;
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT");
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nDate: {date}\r\nContent-Type: {kind}\r\n",
            reason(*status)
        );
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "Cache-Control") {
            head += "Cache-Control: no-store\r\n";
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head += SECURITY;
        head += if keeps { "\r\n" } else { "Connection: close\r\n\r\n" };
        head
    }

    /// All of it, or only the head if that was asked for.
    pub(super) fn octets(&self, now: Timestamp, head_only: bool, keeps: bool) -> Vec<u8> {
        let mut octets = self.head(now, keeps, Some(self.body.len())).into_bytes();
        if !head_only {
            octets.extend(&self.body);
        }
        octets
    }

    /// The beginning of what has no end.
    pub(super) fn stream_octets(&self, now: Timestamp) -> Vec<u8> {
        let mut octets = self.head(now, false, None).into_bytes();
        octets.extend(&self.body);
        octets
    }
}

/// With every answer: nothing from elsewhere is loaded, nobody else frames or sniffs it, and no address of a page leaks.
const SECURITY: &str = "\
Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'\r\n\
X-Content-Type-Options: nosniff\r\n\
X-Frame-Options: DENY\r\n\
Referrer-Policy: no-referrer\r\n\
Cross-Origin-Opener-Policy: same-origin\r\n\
Cross-Origin-Resource-Policy: same-origin\r\n\
Permissions-Policy: camera=(), geolocation=(), microphone=()\r\n";

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

/// Octets of a request line with its header fields.
pub(super) const MAX_HEAD: usize = 8 << 10;
/// Octets of a form.
pub(super) const MAX_BODY: usize = 4 << 10;
const MAX_HEADERS: usize = 64;
const MAX_PAIRS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Request {
        let parsed = parse(text.as_bytes());
        let Parsed::Whole(request, used) = parsed else { panic!("{text:?}: {parsed:?}") };
        assert_eq!(used, text.len());
        *request
    }

    fn status(octets: &[u8]) -> u16 {
        let parsed = parse(octets);
        let Parsed::Bad(status, _) = parsed else { panic!("{parsed:?}") };
        status
    }

    #[test]
    fn a_request_is_read_octet_by_octet() {
        let text = "POST /api/v1/do?x=%41&y HTTP/1.1\r\nHost: gw:9780\r\nAccept: application/json\r\nContent-Length: 19\r\n\r\ncommand=up&name=a+b";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Parsed::More, "{end}");
        }
        let request = whole(text);
        assert_eq!((request.method, request.path.as_str()), (Method::Post, "/api/v1/do"));
        assert_eq!((request.asked("x"), request.asked("y")), (Some("A"), Some("")));
        assert_eq!((request.field("command"), request.field("name")), (Some("up"), Some("a b")));
        assert!(request.wants_json && request.keeps);
        assert_eq!(request.host.as_deref(), Some("gw:9780"));
    }

    #[test]
    fn who_wants_to_go_may_go() {
        assert!(!whole("GET / HTTP/1.0\r\n\r\n").keeps);
        assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keeps);
        assert!(!whole("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").keeps);
    }

    #[test]
    fn what_is_no_request_is_refused_as_what_it_is() {
        assert_eq!(status(b"\x16\x03\x01\x02\x00"), 400, "TLS");
        assert_eq!(status(b"DELETE / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status(b"GET http://evil/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n"), 413);
        for length in ["-1", "+1", "1 1", "99999999999999999999999"] {
            let text = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(status(text.as_bytes()), 400, "{length}");
        }
        let twice = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(status(twice), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        assert_eq!(status(long.as_bytes()), 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(status(many.as_bytes()), 431);
    }

    #[test]
    fn every_answer_protects_its_reader() {
        let at = "2026-11-20T08:01:09Z".parse().expect("a time");
        let octets = Response::say(404, "no").octets(at, true, true);
        let head = String::from_utf8(octets).expect("text");
        for line in [
            "HTTP/1.1 404 Not Found\r\n",
            "Date: Fri, 20 Nov 2026 08:01:09 GMT\r\n",
            "Content-Length: 3\r\n",
            "Content-Security-Policy: default-src 'self';",
            "X-Content-Type-Options: nosniff\r\n",
            "Cache-Control: no-store\r\n",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
        assert!(head.ends_with("\r\n\r\n"), "only the head");
    }
}
