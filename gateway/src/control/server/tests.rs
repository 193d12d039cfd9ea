//! Clients of every temper: fast, slow, greedy, silent, gone.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream as Std;

use super::*;
use crate::clock;
use crate::log::{Cursor, Record};

struct Fixture {
    poll: mio::Poll,
    server: Server,
    directory: tempfile::TempDir,
    members: u32,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let poll = mio::Poll::new().expect("a poll");
        let path = directory.path().join("run/control.sock");
        let server = Server::bind(&path, poll.registry(), Token(10)).expect("binds");
        Self { poll, server, directory, members: 1000 }
    }

    fn connect(&self) -> Std {
        let client = Std::connect(self.server.path()).expect("connects");
        // A test that waits in vain fails instead of hanging.
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
        client
    }

    /// A member of the group, and not the same one every time.
    fn member(&mut self) -> Std {
        self.members += 1;
        self.user(self.members / 8)
    }

    /// A client of this user, who may only look.
    fn user(&mut self, user: u32) -> Std {
        let (client, stream) = Std::pair().expect("a pair");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
        stream.set_nonblocking(true).expect("sets");
        let stream = UnixStream::from_std(stream);
        self.server.admit(
            self.poll.registry(),
            stream,
            Rights::Look { user: Some(user) },
            clock::now(),
        );
        client
    }

    /// Whoever has sent something is read.
    fn read(&mut self, now: Instant) {
        for token in self.server.clients.keys().copied().collect::<Vec<_>>() {
            self.server.on_event(self.poll.registry(), token, now);
        }
    }

    /// Serves until nothing happens for 50 ms; every good request is answered with `answer`.
    fn serve(&mut self, answer: &Response) -> usize {
        let mut events = mio::Events::with_capacity(64);
        let mut answered = 0;
        loop {
            self.poll.poll(&mut events, Some(Duration::from_millis(50))).expect("polls");
            if events.is_empty() {
                return answered;
            }
            let now = clock::now();
            for event in &events {
                self.server.on_event(self.poll.registry(), event.token(), now);
            }
            self.server.begin_round(self.poll.registry(), now);
            while let Some((token, request)) = self.server.next_request() {
                answered += usize::from(request.is_ok());
                self.server.reply(token, answer, now);
            }
        }
    }
}

fn done() -> Response {
    Response::Done { message: "ok".into() }
}

#[test]
fn requests_are_answered_in_order_and_on_one_connection() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client
        .write_all(b"{\"command\":\"status\"}\n{\"command\":\"up\",\"name\":\"a\"}\n")
        .expect("writes");
    assert_eq!(fixture.serve(&done()), 2);
    let mut lines = BufReader::new(client).lines();
    for _ in 0..2 {
        let line = lines.next().expect("a line").expect("UTF-8");
        assert_eq!(serde_json::from_str::<Response>(&line).expect("parses"), done());
    }
}

#[test]
fn a_client_is_not_read_while_its_request_waits() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    let mut events = mio::Events::with_capacity(8);
    for _ in 0..2 {
        client.write_all(b"{\"command\":\"status\"}\n").expect("writes");
        fixture.poll.poll(&mut events, Some(Duration::from_secs(5))).expect("polls");
        for event in &events {
            fixture.server.on_event(fixture.poll.registry(), event.token(), clock::now());
        }
    }
    let (token, request) = fixture.server.next_request().expect("the first request");
    assert_eq!(request, Ok(Request::Status));
    assert!(fixture.server.next_request().is_none(), "two answers would be held for one client");
    fixture.server.reply(token, &done(), clock::now());
    assert!(
        fixture.server.next_request().is_some(),
        "the second is read once the first is answered"
    );
}

#[test]
fn octets_that_trickle_in_make_a_request() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    for octet in b"{\"command\":\"status\"}" {
        client.write_all(&[*octet]).expect("writes");
        assert_eq!(fixture.serve(&done()), 0);
    }
    client.write_all(b"\n").expect("writes");
    assert_eq!(fixture.serve(&done()), 1);
}

#[test]
fn a_client_that_does_not_read_holds_one_answer_and_nobody_up() {
    let mut fixture = Fixture::new();
    let mut greedy = fixture.connect();
    greedy.set_nonblocking(true).expect("nonblocking");
    let big = Response::Done { message: "x".repeat(1 << 20) };
    for _ in 0..200 {
        let _ = greedy.write_all(b"{\"command\":\"status\"}\n");
    }
    assert_eq!(fixture.serve(&big), 1, "it is not read while its answer is unsent");
    let mut client = fixture.connect();
    client.write_all(b"{\"command\":\"status\"}\n").expect("writes");
    assert_eq!(fixture.serve(&done()), 1, "others are served meanwhile");
    let late = clock::now() + PATIENCE;
    fixture.server.handle_timeout(late);
    assert!(fixture.server.clients.is_empty(), "silence ends the patience");
}

#[test]
fn a_request_without_end_is_refused() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(&vec![b'x'; MAX_REQUEST_LEN + 1]).expect("writes");
    fixture.serve(&done());
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line).expect("an answer");
    assert!(line.contains("bad-request"), "{line}");
    assert!(fixture.server.clients.is_empty());
}

#[test]
fn rubbish_is_handed_up_as_such() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(b"\xff\xfe\n{}\n[[[\n").expect("writes");
    assert_eq!(fixture.serve(&done()), 0);
}

#[test]
fn more_clients_than_allowed_are_turned_away() {
    let mut fixture = Fixture::new();
    let clients: Vec<Std> = (0..MAX_CLIENTS + 5).map(|_| fixture.connect()).collect();
    fixture.serve(&done());
    assert_eq!(fixture.server.clients.len(), MAX_CLIENTS);
    drop(clients);
    fixture.serve(&done());
    assert_eq!(fixture.server.clients.len(), 0);
}

#[test]
fn members_leave_room_for_root_and_hear_why_they_are_turned_away() {
    let mut fixture = Fixture::new();
    let members: Vec<Std> = (0..MAX_CLIENTS).map(|_| fixture.member()).collect();
    let mut root = fixture.connect();
    root.write_all(b"{\"command\":\"status\"}\n").expect("writes");
    assert_eq!(fixture.serve(&done()), 1, "root is served, whoever holds places");
    let mut line = String::new();
    BufReader::new(members.last().expect("one")).read_line(&mut line).expect("an answer");
    let told: Response = serde_json::from_str(&line).expect("a response");
    let Response::Refused { kind: RefusalKind::NotNow, message } = told else { panic!("{line}") };
    assert!(message.contains("try again"), "{message}");
}

#[test]
fn a_request_has_to_be_whole_in_time() {
    let mut fixture = Fixture::new();
    let mut slow = fixture.member();
    let begin = clock::now();
    for step in 0..3 {
        let now = begin + PATIENCE * step * 9 / 10;
        slow.write_all(b"x").expect("writes");
        fixture.read(now);
        fixture.server.handle_timeout(now);
        // The time runs from the first octet.
        assert_eq!(fixture.server.clients.len(), usize::from(step < 2), "step {step}");
        if fixture.server.clients.is_empty() {
            return;
        }
    }
    panic!("it holds its place for as long as it likes");
}

/// How many a round answers.
fn round(fixture: &mut Fixture) -> usize {
    let now = clock::now();
    fixture.server.begin_round(fixture.poll.registry(), now);
    let mut answered = 0;
    while let Some((token, _)) = fixture.server.next_request() {
        answered += 1;
        fixture.server.reply(token, &done(), now);
    }
    answered
}

#[test]
fn members_that_ask_without_end_have_a_few_answers_a_round() {
    let mut fixture = Fixture::new();
    let mut members: Vec<Std> = (0..3).map(|_| fixture.member()).collect();
    for member in &mut members {
        member.write_all(&b"{\"command\":\"status\"}\n".repeat(20)).expect("writes");
    }
    fixture.read(clock::now());
    for _ in 0..60 / AT_ONCE {
        assert!(fixture.server.has_requests(), "the loop must not sleep");
        assert_eq!(round(&mut fixture), AT_ONCE);
    }
    assert_eq!(round(&mut fixture), 0);
    assert!(!fixture.server.has_requests());
}

#[test]
fn the_page_has_a_few_answers_a_round_beside_those_of_members() {
    let mut fixture = Fixture::new();
    let waker = mio::Waker::new(fixture.poll.registry(), Token(1)).expect("a waker");
    let page = mio::Poll::new().expect("a poll");
    let (mut asker, line) =
        crate::web::line(waker.into(), page.registry(), Token(0)).expect("a line");
    fixture.server.serve_page(line);
    for _ in 0..2 * AT_ONCE {
        asker.ask(Request::Status).expect("room");
    }
    let mut member = fixture.member();
    member.write_all(&b"{\"command\":\"status\"}\n".repeat(AT_ONCE)).expect("writes");
    fixture.read(clock::now());
    assert_eq!(round(&mut fixture), 2 * AT_ONCE);
    assert!(fixture.server.has_requests(), "the loop must not sleep");
    assert_eq!(round(&mut fixture), AT_ONCE);
    assert_eq!(round(&mut fixture), 0);
    assert!(!fixture.server.has_requests());
}

#[test]
fn a_crowd_at_the_door_has_its_turn_and_no_more() {
    let mut fixture = Fixture::new();
    let crowd: Vec<Std> = (0..=CROWD).map(|_| fixture.connect()).collect();
    let listener = fixture.server.listener_token;
    drop(crowd);
    fixture.server.on_event(fixture.poll.registry(), listener, clock::now());
    assert!(fixture.server.has_requests(), "one more is left for the next round");
    fixture.server.begin_round(fixture.poll.registry(), clock::now());
    assert!(!fixture.server.has_requests());
}

#[test]
fn a_follower_that_talks_without_end_is_hung_up_on() {
    let mut fixture = Fixture::new();
    let mut client = follower(&mut fixture);
    client.write_all(&vec![b'x'; 64 * 1024]).expect("writes");
    fixture.read(clock::now());
    assert!(fixture.server.clients.is_empty(), "it was read to its end");
}

#[test]
fn a_dead_socket_is_replaced_a_live_one_is_not_a_file_is_spared() {
    let fixture = Fixture::new();
    let registry = fixture.poll.registry();
    let live = Server::bind(fixture.server.path(), registry, Token(500));
    assert!(matches!(live, Err(SocketError::Live { .. })), "{live:?}");

    let dead = fixture.directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("binds"));
    let server = Server::bind(&dead, registry, Token(600)).expect("replaces it");
    drop(server);
    assert!(!dead.exists(), "the socket file goes with the server");

    let file = fixture.directory.path().join("file");
    fs::write(&file, "mine").expect("writes");
    let refused = Server::bind(&file, registry, Token(700));
    assert!(matches!(refused, Err(SocketError::NotASocket { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).expect("reads"), "mine");
}

#[test]
fn only_the_owner_may_open_it() {
    let fixture = Fixture::new();
    let mode = fs::metadata(fixture.server.path()).expect("there").mode();
    // Where the group exists, its members may too.
    let is_there = nix::unistd::Group::from_name("s2s-gw").is_ok_and(|group| group.is_some());
    let allowed = if is_there { 0o660 } else { 0o700 };
    assert_eq!(mode & 0o777, allowed & mode, "mode {mode:o}");
}

/// A client that follows everything from now on.
fn follower(fixture: &mut Fixture) -> Std {
    let mut client = fixture.connect();
    client.write_all(b"{\"command\":\"events\",\"follow\":true}\n").expect("writes");
    let mut events = mio::Events::with_capacity(8);
    fixture.poll.poll(&mut events, Some(Duration::from_secs(5))).expect("polls");
    for event in &events {
        fixture.server.on_event(fixture.poll.registry(), event.token(), clock::now());
    }
    let (token, request) = fixture.server.next_request().expect("a request");
    assert_eq!(request, Ok(Request::Events { follow: true, connection: None }));
    let follow = Follow { cursor: Cursor::default(), connection: None };
    fixture.server.follow(token, follow);
    fixture.server.reply(token, &Response::Events { events: Vec::new(), lost: 0 }, clock::now());
    client
}

fn record(connection: &str) -> Record {
    let text = format!(
        r#"{{"time":"2026-11-20T08:01:09Z","level":"info","area":"ike","event":"up","connection":"{connection}"}}"#
    );
    serde_json::from_str(&text).expect("a record")
}

#[test]
fn a_follower_is_told_until_it_hangs_up() {
    let mut fixture = Fixture::new();
    let client = follower(&mut fixture);
    fixture.server.handle_timeout(clock::now() + PATIENCE * 2);
    fixture.server.feed(clock::now(), |_, _| (vec![record("berlin")], 0));
    fixture.server.feed(clock::now(), |_, _| (vec![record("paris")], 3));
    let mut lines = BufReader::new(&client).lines().map_while(Result::ok);
    let told: Vec<Response> = (0..3)
        .map(|_| serde_json::from_str(&lines.next().expect("a line")).expect("JSON"))
        .collect();
    let expected = [
        Response::Events { events: Vec::new(), lost: 0 },
        Response::Events { events: vec![record("berlin")], lost: 0 },
        Response::Events { events: vec![record("paris")], lost: 3 },
    ];
    assert_eq!(told, expected, "silence did not end it");
    drop(client);
    fixture.serve(&done());
    assert!(fixture.server.clients.is_empty());
}

#[test]
fn a_follower_that_never_reads_holds_one_answer_and_nobody_up() {
    let mut fixture = Fixture::new();
    let greedy = follower(&mut fixture);
    let taken = std::cell::Cell::new(0);
    let source = |cursor: &mut Cursor, max: usize| {
        let _ = cursor;
        taken.set(taken.get() + 1);
        (vec![record("berlin"); max], 0)
    };
    for _ in 0..1000 {
        fixture.server.feed(clock::now(), source);
    }
    let rounds = taken.get();
    assert!((2..900).contains(&rounds), "{rounds}: until its socket was full, and no more");
    let mut client = fixture.connect();
    client.write_all(b"{\"command\":\"status\"}\n").expect("writes");
    assert_eq!(fixture.serve(&done()), 1, "others are served meanwhile");
    drop(client);
    fixture.server.handle_timeout(clock::now() + PATIENCE);
    assert!(fixture.server.clients.is_empty(), "it does not even take what it was told");
    drop(greedy);
}

#[test]
fn one_user_leaves_room_for_others() {
    let mut fixture = Fixture::new();
    let greedy: Vec<Std> = (0..MAX_CLIENTS).map(|_| fixture.user(1)).collect();
    assert_eq!(fixture.server.clients.len(), MAX_OF_ONE);
    let _other = fixture.user(2);
    assert_eq!(fixture.server.clients.len(), MAX_OF_ONE + 1);
    drop(greedy);
}

#[test]
fn followers_leave_room_for_those_who_ask_and_for_each_other() {
    let mut fixture = Fixture::new();
    let mut clients = Vec::new();
    let mut followers = |fixture: &mut Fixture, connect: fn(&mut Fixture) -> Std| {
        let mut count = 0;
        loop {
            clients.push(connect(fixture));
            fixture.serve(&done());
            let token = *fixture.server.clients.keys().last().expect("a client");
            if !fixture.server.has_room_to_follow(token) {
                return count;
            }
            let cursor = Cursor::default();
            fixture.server.follow(token, Follow { cursor, connection: None });
            count += 1;
        }
    };
    assert_eq!(followers(&mut fixture, |fixture| fixture.user(1)), 6);
    assert_eq!(followers(&mut fixture, |fixture| fixture.user(2)), 6);
    assert_eq!(followers(&mut fixture, |fixture| fixture.user(3)), 0);
    assert_eq!(followers(&mut fixture, |fixture| fixture.connect()), 4, "root");
    drop(clients);
    fixture.serve(&done());
    assert!(fixture.server.clients.is_empty());
}
