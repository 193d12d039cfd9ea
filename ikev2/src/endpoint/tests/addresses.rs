//! Where a peer says that it is (RFC 4555, RFC 7296 §2.23), and message IDs that it sets anew (RFC 6311).

use super::*;

const COOKIE: [u8; 16] = [7; 16];

fn port(end: usize, port: u16) -> SocketAddr {
    SocketAddr::new(address(end).ip(), port)
}

/// Hands a message to B as if it came from `from`.
fn deliver_from(pair: &mut Pair, from: SocketAddr, payload: &[u8]) -> Disposition {
    let path = Path { local: port(B, 4500), remote: from };
    let disposition = pair.ends[B].handle_datagram(pair.now, path, &mut payload.to_vec());
    pair.drain();
    disposition
}

/// The notifications of B's next message to A, with their data.
fn next_notifies(pair: &mut Pair) -> Vec<(NotifyType, Vec<u8>)> {
    let (from, sent) = pair.wire.pop_front().expect("a message");
    notifies(pair, B - from, &sent.payload)
}

fn notifies(pair: &mut Pair, end: usize, payload: &[u8]) -> Vec<(NotifyType, Vec<u8>)> {
    let sa = pair.ends[end].sas.values_mut().next().expect("an SA");
    let mut payload = payload.to_vec();
    let opened = sa.peek(&mut payload);
    let body = Body::parse(opened.first, opened.plain).unwrap();
    body.notifies.iter().map(|notify| (notify.kind, notify.data.to_vec())).collect()
}

fn moves(pair: &Pair, end: usize) -> Vec<SocketAddr> {
    let mut moves = Vec::new();
    for event in &pair.events[end] {
        if let Event::PeerMoved { path, .. } = event {
            moves.push(path.remote);
        }
    }
    moves
}

fn update() -> Chain {
    let mut chain = Chain::new();
    chain.notify(NotifyType::UPDATE_SA_ADDRESSES, &[]).notify(NotifyType::COOKIE2, &COOKIE);
    chain
}

const ELSEWHERE: &str = "203.0.113.9:4500";

#[test]
fn an_update_moves_esp_only_after_the_right_cookie_comes_back() {
    let elsewhere: SocketAddr = ELSEWHERE.parse().unwrap();
    for answered in [true, false] {
        let mut pair = Pair::up();
        let request = pair.forge(A, ExchangeType::INFORMATIONAL, (2, false), &update());
        deliver_from(&mut pair, elsewhere, &request);
        assert_eq!(next_notifies(&mut pair), [(NotifyType::COOKIE2, COOKIE.to_vec())]);
        let (_, probe) = pair.wire.pop_front().expect("a probe");
        assert_eq!(probe.path.remote, elsewhere);
        assert_eq!(moves(&pair, B), [], "not yet");
        let cookie = notifies(&mut pair, A, &probe.payload);
        let mut chain = Chain::new();
        let data = if answered { cookie[0].1.clone() } else { COOKIE.to_vec() };
        chain.notify(NotifyType::COOKIE2, &data);
        let answer = pair.forge(A, ExchangeType::INFORMATIONAL, (0, true), &chain);
        deliver_from(&mut pair, elsewhere, &answer);
        if answered {
            assert_eq!(moves(&pair, B), [elsewhere]);
        } else {
            // RFC 4555 §3.7: another value closes the IKE SA.
            assert_eq!(moves(&pair, B), []);
            assert_eq!(pair.ends[B].children.len(), 0);
        }
    }
}

#[test]
fn an_answer_without_the_cookie_proves_nothing() {
    let mut pair = Pair::up();
    let elsewhere = ELSEWHERE.parse().unwrap();
    let request = pair.forge(A, ExchangeType::INFORMATIONAL, (2, false), &update());
    deliver_from(&mut pair, elsewhere, &request);
    let answer = pair.forge(A, ExchangeType::INFORMATIONAL, (0, true), &Chain::new());
    deliver_from(&mut pair, elsewhere, &answer);
    assert_eq!(moves(&pair, B), []);
    assert_eq!(pair.ends[B].children.len(), 1);
}

#[test]
fn addresses_that_were_changed_on_the_way_are_told_and_move_nothing() {
    let mut pair = Pair::up();
    let mut chain = update();
    let mut claimed = Vec::new();
    claimed.extend([203, 0, 113, 1, 192, 0, 2, 2]);
    claimed.extend([4500u16.to_be_bytes(), 4500u16.to_be_bytes()].concat());
    chain.notify(NotifyType::NO_NATS_ALLOWED, &claimed);
    let elsewhere = ELSEWHERE.parse().unwrap();
    let request = pair.forge(A, ExchangeType::INFORMATIONAL, (2, false), &chain);
    deliver_from(&mut pair, elsewhere, &request);
    let kinds: Vec<_> = next_notifies(&mut pair).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [NotifyType::COOKIE2, NotifyType::UNEXPECTED_NAT_DETECTED]);
    assert!(pair.wire.is_empty() && moves(&pair, B).is_empty());
    // The same from where it says it is.
    let request = pair.forge(A, ExchangeType::INFORMATIONAL, (3, false), &chain);
    deliver_from(&mut pair, "203.0.113.1:4500".parse().unwrap(), &request);
    let kinds: Vec<_> = next_notifies(&mut pair).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [NotifyType::COOKIE2]);
}

/// RFC 4555 §3.8: what does not say that it moved, moves nothing, so that any exchange can test a way.
#[test]
fn with_mobike_an_ordinary_message_from_elsewhere_moves_nothing() {
    let mut pair = Pair::up();
    let request = pair.forge(A, ExchangeType::INFORMATIONAL, (2, false), &Chain::new());
    deliver_from(&mut pair, ELSEWHERE.parse().unwrap(), &request);
    assert_eq!(moves(&pair, B), []);
    assert_eq!(pair.wire.pop_front().unwrap().1.path.remote, ELSEWHERE.parse().unwrap());
}

#[test]
fn only_the_first_initiator_moves_the_sas() {
    let mut pair = Pair::up();
    let request = pair.forge(B, ExchangeType::INFORMATIONAL, (0, false), &update());
    let path = Path { local: port(A, 4500), remote: ELSEWHERE.parse().unwrap() };
    pair.ends[A].handle_datagram(pair.now, path, &mut request.clone());
    pair.drain();
    assert_eq!(moves(&pair, A), []);
    assert_eq!(pair.wire.len(), 1, "an answer, and no probe");
}

/// Both force encapsulation, so each sees a NAT before the other.
#[test]
fn esp_from_elsewhere_is_followed_where_a_nat_stands_before_the_peer() {
    let mut pair = Pair::up();
    let child = *pair.ends[B].children.keys().next().unwrap();
    let elsewhere: SocketAddr = ELSEWHERE.parse().unwrap();
    for _ in 0..2 {
        pair.ends[B].heard_from(pair.now, child, elsewhere);
        pair.drain();
    }
    assert_eq!(moves(&pair, B), [elsewhere], "once");
    pair.ends[B].heard_from(pair.now, ChildId(4711), elsewhere);

    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        config.encap = crate::config::Encap::Auto;
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair.settle();
    let child = *pair.ends[B].children.keys().next().unwrap();
    pair.ends[B].heard_from(pair.now, child, elsewhere);
    pair.drain();
    assert_eq!(moves(&pair, B), [], "there is no NAT");
}

/// A synchronisation as a cluster sends it.
fn sync(send: u32, receive: u32) -> Chain {
    let mut chain = Chain::new();
    let data = [[9, 9, 9, 9], send.to_be_bytes(), receive.to_be_bytes()].concat();
    chain.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &data);
    chain
}

#[test]
fn message_ids_are_set_anew_once_for_each_failover() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new()), []);
    // The member that took over knows little: it goes on at 1000, and expects 7.
    let request = pair.forge(A, ExchangeType::INFORMATIONAL, (0, false), &sync(1000, 7));
    assert_eq!(pair.deliver(A, &request), Disposition::Accepted);
    let data = [[9, 9, 9, 9], 7u32.to_be_bytes(), 1000u32.to_be_bytes()].concat();
    assert_eq!(next_notifies(&mut pair), [(NotifyType::IKEV2_MESSAGE_ID_SYNC, data)]);
    // Replayed, it is silently dropped; so is one with lower numbers.
    for chain in [sync(1000, 7), sync(999, 7), sync(3, 0)] {
        let old = pair.forge(A, ExchangeType::INFORMATIONAL, (0, false), &chain);
        pair.deliver(A, &old);
        assert!(pair.wire.is_empty());
    }
    // Each side goes on with what was agreed.
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 1000, &Chain::new()), []);
    let child = *pair.ends[B].children.keys().next().unwrap();
    pair.ends[B].rekey_child(pair.now, child).unwrap();
    pair.drain();
    let (_, request) = pair.wire.pop_front().unwrap();
    assert_eq!(Header::parse(&request.payload).unwrap().message_id, MessageId(7));
}

/// A gateway is called, and seldom asks for anything: so its ID 0 is still to come, or that of its last request (RFC 6311 A.1).
#[test]
fn a_cluster_that_has_hardly_asked_for_anything_may_fail_over() {
    for asked in 0..=2 {
        let mut pair = Pair::up();
        for id in 0..asked {
            assert_eq!(pair.ask(B, ExchangeType::INFORMATIONAL, id, &Chain::new()), []);
        }
        for (send, answers) in [(asked, 1), (asked, 0), (asked + 7, 1), (asked + 7, 0)] {
            let request = pair.forge(B, ExchangeType::INFORMATIONAL, (0, false), &sync(send, 0));
            assert_eq!(pair.deliver(B, &request), Disposition::Accepted);
            assert_eq!(pair.wire.len(), answers, "each counts once");
            if answers == 1 {
                let data = [[9, 9, 9, 9], 2u32.to_be_bytes(), send.to_be_bytes()].concat();
                assert_eq!(next_notifies(&mut pair), [(NotifyType::IKEV2_MESSAGE_ID_SYNC, data)]);
            }
        }
        assert_eq!(pair.ask(B, ExchangeType::INFORMATIONAL, asked + 7, &Chain::new()), []);
    }
}

/// The ID 0 alone makes no synchronisation of it, though the two sides agreed on that.
#[test]
fn the_first_request_is_an_ordinary_one_and_so_is_its_repeat() {
    let mut pair = Pair::up();
    let request = pair.forge(B, ExchangeType::INFORMATIONAL, (0, false), &Chain::new());
    assert_eq!(pair.deliver(B, &request), Disposition::Accepted);
    let (_, answer) = pair.wire.pop_front().expect("an answer");
    assert_eq!(pair.deliver(B, &request), Disposition::Dropped(DropReason::Retransmit));
    let (_, again) = pair.wire.pop_front().expect("the same answer");
    assert_eq!(answer.payload, again.payload);
}

/// What an endpoint asks of a peer.
type Ask = fn(&mut Endpoint, Instant);

#[test]
fn a_request_that_waits_is_asked_again_after_a_failover() {
    // What the member that is gone may have granted is deleted first.
    let asks: [(Ask, bool); 3] = [
        (
            |end, now| {
                let child = *end.children.keys().next().unwrap();
                end.rekey_child(now, child).unwrap();
            },
            true,
        ),
        (|end, now| end.rekey_ike(now, PeerId(0)).unwrap(), false),
        (|end, now| end.remove_child(now, PeerId(0), 0).unwrap(), false),
    ];
    for (ask, granted) in asks {
        let mut pair = Pair::up();
        assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new()), []);
        ask(&mut pair.ends[B], pair.now);
        pair.drain();
        let (_, lost) = pair.wire.pop_front().expect("a request");
        let request = pair.forge(A, ExchangeType::INFORMATIONAL, (0, false), &sync(1000, 500));
        pair.deliver(A, &request);
        let (_, answer) = pair.wire.pop_front().expect("the answer");
        let header = Header::parse(&answer.payload).unwrap();
        assert_eq!((header.flags.response, header.message_id), (true, MessageId(0)));
        if granted {
            let (_, delete) = pair.wire.pop_front().expect("a DELETE");
            let (exchange, notifies, spis) = asked(&mut pair, &delete.payload);
            assert_eq!((exchange, notifies.len(), spis.len()), (ExchangeType::INFORMATIONAL, 0, 1));
            let done = (500, true);
            let answer = pair.forge(A, ExchangeType::INFORMATIONAL, done, &Chain::new());
            assert_eq!(pair.deliver(A, &answer), Disposition::Accepted);
        }
        let (_, again) = pair.wire.pop_front().expect("the request once more");
        let header = Header::parse(&again.payload).unwrap();
        let id = MessageId(500 + u32::from(granted));
        assert_eq!((header.flags.response, header.message_id), (false, id));
        assert_eq!(asked(&mut pair, &again.payload), asked(&mut pair, &lost.payload));
        assert!(pair.wire.is_empty());
    }
}

/// What a request to A asks for: its payloads without what is drawn anew, and the SPIs that it deletes.
fn asked(pair: &mut Pair, payload: &[u8]) -> (ExchangeType, Vec<NotifyType>, Vec<u32>) {
    let exchange = Header::parse(payload).unwrap().exchange;
    let mut payload = payload.to_vec();
    let opened = pair.sa(A).0.peek(&mut payload);
    let body = Body::parse(opened.first, opened.plain).unwrap();
    let notifies = body.notifies.iter().map(|notify| notify.kind).collect();
    let deletes = body.deletes.iter().flat_map(|delete| delete.spis.clone()).collect();
    (exchange, notifies, deletes)
}

#[test]
fn a_synchronisation_says_nothing_else() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new()), []);
    let mut with_delete = sync(1000, 7);
    with_delete.delete_ike();
    let mut with_notify = sync(1000, 7);
    with_notify.notify(NotifyType::COOKIE2, &COOKIE);
    let mut too_long = Chain::new();
    too_long.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &[0; 13]);
    for chain in [with_delete, with_notify, too_long, Chain::new()] {
        let request = pair.forge(A, ExchangeType::INFORMATIONAL, (0, false), &chain);
        pair.deliver(A, &request);
        assert!(pair.wire.is_empty());
    }
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 3, &Chain::new()), [], "nothing changed");
}

/// Whoever has the keys may answer from anywhere; only who receives at the new address has seen the cookie
/// (RFC 4555 §3.7).
#[test]
fn esp_goes_to_another_address_of_the_peer_only_after_the_cookie_came_from_there() {
    for with_cookie in [true, false] {
        let mut pair = Pair::up();
        let way =
            Path { local: "192.0.2.99:4500".parse().unwrap(), remote: ELSEWHERE.parse().unwrap() };
        pair.ends[A].set_paths(pair.now, PeerId(0), &[way]).unwrap();
        pair.drain();
        let (_, update) = pair.wire.pop_front().expect("an update");
        let (sa, _) = pair.sa(B);
        let mut octets = update.payload.to_vec();
        let opened = sa.peek(&mut octets);
        let body = Body::parse(opened.first, opened.plain).unwrap();
        let cookie = body.notify(NotifyType::COOKIE2).unwrap().data.to_vec();
        let mut chain = Chain::new();
        if with_cookie {
            chain.notify(NotifyType::COOKIE2, &cookie);
        }
        let answer = pair.forge(B, ExchangeType::INFORMATIONAL, (2, true), &chain);
        pair.ends[A].handle_datagram(pair.now, update.path, &mut answer.clone());
        pair.drain();
        let moved = moves(&pair, A).contains(&way.remote);
        assert_eq!(moved, with_cookie);
    }
}

/// RFC 4555 §4.2.5: 8 to 64 octets. What a peer makes us repeat must not outgrow a datagram, where nothing can be cut.
#[test]
fn a_cookie_of_another_length_is_not_sent_back() {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        config.fragmentation = crate::config::Fragmentation::Off;
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair.settle();
    for (id, len, sent_back) in [(2, 7, 0), (3, 8, 1), (4, 64, 1), (5, 65, 0), (6, 65_450, 0)] {
        let mut chain = Chain::new();
        chain.notify(NotifyType::NAT_DETECTION_SOURCE_IP, &[]);
        chain.notify(NotifyType::COOKIE2, &vec![7; len]);
        let kinds = pair.ask(A, ExchangeType::INFORMATIONAL, id, &chain);
        let back = kinds.iter().filter(|kind| **kind == NotifyType::COOKIE2).count();
        assert_eq!(back, sent_back, "{len} octets");
    }
    assert_eq!(pair.ends[B].children.len(), 1);
}

/// Delivers a message, if its way leads from where the sender is to where the receiver is.
fn carry(pair: &mut Pair, (from, sent): (usize, Transmit), here: [&str; 2]) {
    let path = Path { local: sent.path.remote, remote: sent.path.local };
    let is_at = |address: SocketAddr, end: usize| address.ip().to_string() == here[end];
    if is_at(path.local, B - from) && is_at(path.remote, from) {
        pair.ends[B - from].handle_datagram(pair.now, path, &mut sent.payload.to_vec());
        pair.drain();
    }
}

/// Carries all that is sent for five minutes.
fn carry_on(pair: &mut Pair, here: [&str; 2]) {
    let until = pair.now + 5 * MINUTE;
    loop {
        while let Some(sent) = pair.wire.pop_front() {
            carry(pair, sent, here);
        }
        let next = pair.ends.iter().filter_map(Endpoint::poll_timeout).map(|d| d.at).min();
        let Some(at) = next.filter(|at| *at <= until) else { break };
        pair.now = pair.now.max(at);
        for end in [A, B] {
            pair.ends[end].handle_timeout(pair.now);
        }
        pair.drain();
    }
    pair.now = until;
}

/// A moves while both replace the IKE SA, and learns only then that B's new one stays. B did not get A's answer and asks where A was;
/// nobody but the old SA can tell it where A is. B may have moved, too.
#[test]
fn an_ike_sa_that_is_replaced_in_a_move_is_found_by_who_waits_for_it() {
    const BEFORE: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
    let way = |here: [&str; 2], end: usize| {
        let at = |end: usize| SocketAddr::new(here[end].parse().unwrap(), 4500);
        Path { local: at(end), remote: at(B - end) }
    };
    let mut yielded = 0;
    for (seed, both_move) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut pair = Pair::seeded(seed);
        carry_on(&mut pair, BEFORE);
        for end in [A, B] {
            pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
        }
        pair.drain();
        let (ours, theirs) = (pair.wire.pop_front().unwrap(), pair.wire.pop_front().unwrap());
        carry(&mut pair, theirs, BEFORE);
        pair.wire.clear();
        carry(&mut pair, ours, BEFORE);
        let answer = pair.wire.pop_front().unwrap();
        let elsewhere = ["203.0.113.9", BEFORE[B]];
        pair.ends[A].set_paths(pair.now, PeerId(0), &[way(elsewhere, A)]).unwrap();
        pair.drain();
        let (from, mut answer) = answer;
        answer.path.remote = way(elsewhere, A).local;
        pair.wire.clear();
        carry(&mut pair, (from, answer), elsewhere);
        let up = |pair: &Pair, end: usize| {
            let up = pair.ends[end].sas.values().find(|sa| sa.stage() == Stage::Up);
            up.and_then(IkeSa::info).map(|info| info.spis)
        };
        yielded += usize::from(up(&pair, A) != up(&pair, B));
        let mut here = elsewhere;
        if both_move {
            here[B] = "203.0.113.10";
            for end in [B, A] {
                pair.ends[end].set_paths(pair.now, PeerId(0), &[way(here, end)]).unwrap();
            }
            pair.drain();
        }
        carry_on(&mut pair, here);
        let down = |event: &Event| matches!(event, Event::PeerDown { .. });
        let what = format!("seed {seed}, both {both_move}");
        assert_eq!([A, B].map(|end| count(&pair.events[end], down)), [0, 0], "{what}");
        assert_eq!(up(&pair, A), up(&pair, B), "{what}");
    }
    assert!(yielded > 0);
}
