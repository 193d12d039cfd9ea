//! The server on a real socket: good clients, bad ones, slow ones, a thousand of them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thread::JoinHandle;

use testkit::peer::pause;
use zeroize::Zeroizing;

use super::server::{AT_ONCE, MAX_CLIENTS, MAX_WATCHERS, Server};
use super::*;
use crate::config::{HttpListen, PresharedKey};
use crate::status::Snapshot;
use crate::status::diagnosis::{Finding, Walk};
use crate::status::protocol::{RefusalKind, Request, Response};
use crate::status::show::Table;
use crate::status::tests::sample;

/// A page, and somebody who answers in the place of control.
struct Fixture {
    address: SocketAddr,
    /// The same page.
    path: PathBuf,
    _place: tempfile::TempDir,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Fixture {
    fn new(read: Option<&str>, admin: Option<&str>) -> Self {
        let key = |text: &str| PresharedKey::new(Zeroizing::new(text.as_bytes().to_vec()));
        let http = Http {
            listen: Vec::new(),
            names: Vec::new(),
            read_token: read.map(key),
            admin_token: admin.map(key),
        };
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("http.sock");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        listener.set_nonblocking(true).expect("sets");
        let address = listener.local_addr().expect("bound");
        let listener = Listener::Tcp(TcpListener::from_std(listener));
        let unix = bind(&HttpListen::Unix(path.clone())).expect("binds");
        let listeners = vec![listener, unix];
        let poll = mio::Poll::new().expect("a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        let (server, line) =
            Server::new(listeners, Access::of(&http), Arc::new(waker)).expect("a server");
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let control = thread::spawn(move || {
            let _poll = poll;
            while !ends.load(Ordering::Relaxed) {
                while let Some((number, request)) = line.next() {
                    line.say(Word::Answer(number, control(&request)));
                }
                pause(Duration::from_millis(2));
            }
        });
        let page = thread::spawn(move || server.run());
        let fixture = Self { address, path, _place: place, over, threads: vec![control, page] };
        while !fixture.get("/readyz").starts_with("HTTP/1.1 200") {
            pause(Duration::from_millis(5));
        }
        fixture
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        // A test that waits in vain fails instead of hanging.
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("sets");
        stream
    }

    /// The whole answer to these octets.
    fn tell(&self, octets: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(octets);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("UTF-8")
    }

    fn get(&self, path: &str) -> String {
        self.tell(
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)
                .as_bytes(),
        )
    }

    fn post(&self, headers: &str, form: &str) -> String {
        let (host, length) = (self.address, form.len());
        let text = format!(
            "POST /api/v1/do HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{form}"
        );
        self.tell(text.as_bytes())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic; and the page ends with control");
        }
    }
}

/// What control would say.
fn control(request: &Request) -> Response {
    if *request == Request::Status {
        let snapshot = Box::new(Snapshot { time: clock(), ..sample() });
        return Response::Status { snapshot };
    }
    if let Request::Explain(packet) = request {
        let walk = Walk {
            schema: "s2s-gw/explain/1".into(),
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            direction: "out".into(),
            connection: Some("berlin".into()),
            child: None,
            passes: false,
            steps: vec![Finding::failed("policy", "<b>no rule</b>").fix("s2s-gw up berlin")],
            verdict: "it would stop there".into(),
        };
        return Response::Explained { walk: Box::new(walk) };
    }
    if let Request::Export { name, kind, address, .. } = request {
        return Response::Done { message: format!("<other side> {name} {kind:?} {address:?}") };
    }
    if matches!(request, Request::Show { .. }) {
        let config = serde_json::json!({ "gateway": { "name": "<fra1>" } });
        let effective = config.clone();
        return Response::Shown { table: Box::new(Table::Config { config, effective }) };
    }
    if *request == (Request::Up { name: "berlin".into() }) {
        return Response::Done { message: "berlin is connecting".into() };
    }
    let message = "no such connection; there is berlin, paris".to_owned();
    Response::Refused { kind: RefusalKind::UnknownName, message }
}

fn clock() -> jiff::Timestamp {
    crate::clock::wall()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[test]
fn every_page_is_there() {
    let fixture = Fixture::new(None, None);
    for (path, word) in [
        ("/", "berlin"),
        ("/?q=paris", "proposal-mismatch-ike"),
        ("/c/berlin", "AES_GCM_16_256"),
        ("/events", "Events"),
        ("/config", "&lt;fra1&gt;"),
        ("/assets/page.css", "prefers-color-scheme"),
        ("/assets/page.js", "EventSource"),
        ("/assets/icon.svg", "<svg"),
        ("/metrics", "s2sgw_connection_up{connection=\"berlin\"} 1"),
        ("/api/v1/status", "\"schema\":\"s2s-gw/status/1\""),
        ("/api/v1/status?connection=paris", "\"name\":\"paris\""),
        ("/api/v1/events", "\"schema\":\"s2s-gw/events/1\""),
        ("/api/v1/config", "s2s-gw/show-config/1"),
        ("/c/berlin", "24 h ago"),
        ("/c/berlin/peer", "&lt;other side&gt; berlin S2sGw None"),
        (
            "/c/berlin/peer?kind=strongswan&address=203.0.113.9",
            "berlin Strongswan Some(&quot;203.0.113.9&quot;)",
        ),
        ("/explain", "placeholder=\"10.1.0.5\""),
        ("/explain?src=10.1.0.5&dst=10.2.0.7&proto=tcp&dport=443", "&lt;b&gt;no rule&lt;/b&gt;"),
        ("/api/v1/explain?src=10.1.0.5&dst=10.2.0.7", "\"schema\":\"s2s-gw/explain/1\""),
        ("/healthz", "ok"),
        ("/readyz", "ready"),
    ] {
        let answer = fixture.get(path);
        assert_eq!(status(&answer), "200", "{path}: {answer}");
        assert!(answer.contains(word), "{path}: {answer}");
        assert!(answer.contains("Content-Security-Policy: default-src 'self'"), "{path}");
    }
    assert!(!fixture.get("/?q=paris").contains("c-berlin"));
}

/// Over its Unix socket it is the same page, with the same tokens; nobody but the owner and the group may open it.
#[test]
fn the_page_is_there_over_a_unix_socket() {
    use std::os::unix::fs::PermissionsExt as _;

    let fixture = Fixture::new(Some("look-look-look-look"), None);
    let ask = |authorization: &str| {
        let mut stream = UnixStream::connect(&fixture.path).expect("connects");
        let head = format!(
            "GET /c/berlin HTTP/1.1\r\nHost: localhost\r\n{authorization}Connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("UTF-8");
        answer
    };
    assert_eq!(status(&ask("")), "401");
    let answer = ask("Authorization: Bearer look-look-look-look\r\n");
    assert!(status(&answer) == "200" && answer.contains("AES_GCM_16_256"), "{answer}");
    let mode = std::fs::metadata(&fixture.path).expect("there").permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    let path = fixture.path.clone();
    drop(fixture);
    assert!(!path.exists(), "it goes with the page");
}

#[test]
fn what_is_no_packet_is_answered_with_a_sentence() {
    let fixture = Fixture::new(None, None);
    for (query, word) in [
        ("src=10.1.0.5", "are addresses"),
        ("src=10.1.0.5&dst=10.2.0.7&dport=443", "choose TCP or UDP"),
        ("src=10.1.0.5&dst=10.2.0.7&proto=tcp&dport=70000", "from 0 to 65535"),
        ("src=10.1.0.5&dst=10.2.0.7&proto=http", "or 0 to 255"),
    ] {
        for path in ["/explain", "/api/v1/explain"] {
            let answer = fixture.get(&format!("{path}?{query}"));
            assert_eq!(status(&answer), "400", "{path} {query}: {answer}");
            assert!(
                answer.to_lowercase().contains(&word.to_lowercase()),
                "{path} {query}: {answer}"
            );
        }
    }
    let again = fixture.get("/explain?src=%3Cscript%3E&dst=10.2.0.7");
    assert!(
        again.contains("value=\"&lt;script&gt;\""),
        "what was written is there, and no markup: {again}"
    );
    for path in
        ["/c/berlin/peer?kind=routes", "/c/berlin/peer?kind=x", "/c/berlin/peer?address=a%20b"]
    {
        assert_eq!(status(&fixture.get(path)), "400", "{path}");
    }
    assert_eq!(status(&fixture.get("/c/nobody/peer")), "404");
}

#[test]
fn assets_are_small() {
    let size: usize = page::ASSETS.iter().map(|(_, _, text)| text.len()).sum();
    assert!(size < 60_000, "{size}");
}

#[test]
fn what_makes_no_sense_is_refused_and_the_next_is_served() {
    let fixture = Fixture::new(None, None);
    let host = fixture.address;
    for (octets, expected) in [
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /assets/../../../etc/passwd HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /c/%3Cscript%3E HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /api/v1/status?connection=rome HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /api/v1/stream?connection=rome HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("DELETE / HTTP/1.1\r\n\r\n".to_owned(), "405"),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(), "405"),
        ("HEAD /api/v1/stream HTTP/1.1\r\n\r\n".to_owned(), "405"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), "421"),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(100_000)), "431"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "b".repeat(1_000_000)), "431"),
        ("POST /api/v1/do HTTP/1.1\r\nContent-Length: 99999\r\n\r\n".to_owned(), "413"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), "501"),
        ("\u{16}\u{3}\u{1}\0\0".to_owned(), "400"),
        ("\r\n\r\n\0\r\n\r\n".to_owned(), "400"),
    ] {
        // The last client leaves, so that the answer has an end.
        let octets = octets.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nConnection: close\r\n", 1);
        let answer = fixture.tell(octets.as_bytes());
        let begin = octets.get(..octets.len().min(60));
        assert_eq!(status(&answer), expected, "{begin:?}: {answer:?}");
    }
    assert_eq!(status(&fixture.get("/")), "200");
}

#[test]
fn one_connection_carries_one_request_after_the_other() {
    let fixture = Fixture::new(None, None);
    let mut stream = fixture.connect();
    let both = "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /config HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(both.as_bytes()).expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[test]
fn nobody_acts_without_the_token() {
    let form = "command=up&name=berlin";
    let shown = "Authorization: Bearer act-act-act-act-act\r\n";
    let none = Fixture::new(None, None);
    assert_eq!(status(&none.post(shown, form)), "403");
    assert!(!none.get("/").contains("<form method=\"post\""), "no buttons either");
    let fixture = Fixture::new(None, Some("act-act-act-act-act"));
    assert!(fixture.get("/").contains("Try now"), "paris is down");
    assert_eq!(status(&fixture.post("", form)), "401");
    assert_eq!(status(&fixture.get("/api/v1/do?command=up&name=berlin")), "405");
    let from_elsewhere = format!("{shown}Origin: http://evil.example\r\n");
    assert_eq!(status(&fixture.post(&from_elsewhere, form)), "403");
    let answer = fixture.post(shown, form);
    assert!(
        status(&answer) == "200" && answer.contains("Berlin is connecting")
            || answer.contains("berlin is connecting"),
        "{answer}"
    );
    let json = fixture.post(&format!("{shown}Accept: application/json\r\n"), form);
    assert!(json.ends_with("{\"done\":true,\"message\":\"berlin is connecting\"}\n"), "{json}");
    let unknown = fixture.post(shown, "command=up&name=rome");
    assert!(status(&unknown) == "404" && unknown.contains("there is berlin, paris"), "{unknown}");
    assert_eq!(status(&fixture.post(shown, "command=reset")), "400");
}

#[test]
fn nobody_looks_without_the_token_where_there_is_one() {
    let fixture = Fixture::new(Some("look-look-look-look"), None);
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/stream", "/c/berlin", "/config"] {
        let answer = fixture.get(path);
        assert!(status(&answer) == "401" && answer.contains("WWW-Authenticate: Basic"), "{path}");
        assert!(!answer.contains("berlin"), "{path}: {answer}");
    }
    assert_eq!(status(&fixture.get("/healthz")), "200", "says nothing about anybody");
    let with = "GET /metrics HTTP/1.1\r\nAuthorization: Bearer look-look-look-look\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&fixture.tell(with.as_bytes())), "200");
}

/// A client that watches, and the first that it is told.
fn watcher(fixture: &Fixture) -> (TcpStream, String) {
    let mut stream = fixture.connect();
    stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\n\r\n").expect("writes");
    let mut told = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !told.windows(2).any(|two| two == b"}\n") && !told.starts_with(b"HTTP/1.1 503") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(len) => told.extend(&buffer[..len]),
        }
    }
    (stream, String::from_utf8(told).expect("UTF-8"))
}

#[test]
fn who_watches_is_told_all_and_then_what_changes() {
    let fixture = Fixture::new(None, None);
    let (mut stream, told) = watcher(&fixture);
    assert!(told.contains("Content-Type: text/event-stream\r\n"), "{told}");
    assert!(
        told.contains("event: parts\ndata: {")
            && told.contains("\"order\":[\"c-paris\",\"c-berlin\"]"),
        "{told}"
    );
    let mut buffer = [0; 1024];
    // Nothing of the sample changes, so that nothing is told: it is the history that moves on.
    let _ = stream.set_read_timeout(Some(Duration::from_millis(1500)));
    let more = stream.read(&mut buffer).unwrap_or(0);
    assert!(more < 200, "{}", String::from_utf8_lossy(&buffer[..more]));
}

#[test]
fn more_than_may_watch_are_refused_and_others_look() {
    let fixture = Fixture::new(None, None);
    let all: Vec<_> = (0..MAX_WATCHERS).map(|_| watcher(&fixture)).collect();
    assert!(all.iter().all(|(_, told)| told.contains("event: parts")));
    let (_, told) = watcher(&fixture);
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After"), "{told}");
    assert_eq!(status(&fixture.get("/")), "200");
    drop(all);
    while !watcher(&fixture).1.contains("event: parts") {
        pause(Duration::from_millis(20));
    }
}

#[test]
fn a_thousand_that_say_nothing_keep_nobody_out() {
    let fixture = Fixture::new(None, None);
    let mut crowd: Vec<TcpStream> = Vec::new();
    for number in 0..1000 {
        let mut stream = fixture.connect();
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ");
        }
        crowd.push(stream);
        if number % 100 == 0 {
            assert_eq!(status(&fixture.get("/healthz")), "200", "after {number}");
        }
    }
    assert_eq!(status(&fixture.get("/")), "200");
    let mut told = String::new();
    let first = crowd.first_mut().expect("one");
    let _ = first.read_to_string(&mut told);
    assert!(told.starts_with("HTTP/1.1 503"), "who was sent away is told: {told:?}");
    const { assert!(MAX_CLIENTS < 1000) };
}

#[test]
fn who_is_slow_is_told_so() {
    let fixture = Fixture::new(None, None);
    let mut stream = fixture.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("writes");
    let mut slow = stream.try_clone().expect("clones");
    let trickle = thread::spawn(move || {
        while slow.write_all(b"x").is_ok() {
            pause(Duration::from_millis(200));
        }
    });
    let mut told = String::new();
    let _ = stream.read_to_string(&mut told);
    assert!(told.starts_with("HTTP/1.1 408"), "{told:?}");
    trickle.join().expect("it is hung up on");
}

/// How many answers have come.
fn count(stream: &mut UnixStream) -> usize {
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    String::from_utf8_lossy(&told).matches("HTTP/1.1 200").count()
}

/// A page without a thread: its rounds are the test's.
struct Rounds {
    server: Server,
    path: PathBuf,
    events: mio::Events,
    _place: tempfile::TempDir,
    _poll: mio::Poll,
    _line: Line,
}

impl Rounds {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("http.sock");
        let listener = bind(&HttpListen::Unix(path.clone())).expect("binds");
        let poll = mio::Poll::new().expect("a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        let http =
            Http { listen: Vec::new(), names: Vec::new(), read_token: None, admin_token: None };
        let (server, line) =
            Server::new(vec![listener], Access::of(&http), Arc::new(waker)).expect("a server");
        let events = mio::Events::with_capacity(16);
        Self { server, path, events, _place: place, _poll: poll, _line: line }
    }

    /// A client that has sent so many requests.
    fn ask(&self, requests: usize) -> UnixStream {
        let mut stream = UnixStream::connect(&self.path).expect("connects");
        stream.set_nonblocking(true).expect("sets");
        let text = "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(requests);
        stream.write_all(text.as_bytes()).expect("room for all of it");
        stream
    }

    fn round(&mut self) {
        assert!(self.server.round(&mut self.events), "control is there");
    }
}

#[test]
fn a_client_that_asks_without_end_has_its_turn_and_no_more() {
    let mut page = Rounds::new();
    let (mut greedy, mut modest) = (page.ask(100), None);
    for round in 0..3 {
        page.round();
        let answers = count(&mut greedy);
        // A newcomer is accepted and looked at in the same round.
        assert!((1..=2 * AT_ONCE).contains(&answers), "{answers} answers in round {round}");
        match &mut modest {
            None => modest = Some(page.ask(1)),
            Some(stream) if round == 1 => assert_eq!(count(stream), 1, "it waits for the other"),
            Some(_) => {}
        }
    }
}

#[test]
fn what_a_client_has_asked_is_answered_without_another_word_from_it() {
    let mut page = Rounds::new();
    let mut client = page.ask(5 * AT_ONCE);
    // It reads nothing meanwhile either: that, too, would be an event.
    (0..8).for_each(|_| page.round());
    assert_eq!(count(&mut client), 5 * AT_ONCE);
}
