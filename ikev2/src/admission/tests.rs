//! Cookies, places and shares, without an endpoint around them.
//!
//! ```text
//!   request(SPIi, Ni, cookie) from an address ─► Admission::judge, begin, end      the clock is `at(seconds)`
//! ```
#![expect(clippy::wildcard_enum_match_arm, reason = "a test wants one verdict among all")]

use std::net::SocketAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::event::Path;
use crate::registry::{ExchangeType, KeMethod, NotifyType, PayloadType};
use crate::wire::header::{Flags, Header, MessageId};
use crate::wire::message::{Body, Chain, message};

const NONCE: [u8; 32] = [7; 32];
/// That of a stranger in quiet times.
fn pass() -> Pass {
    let (prefix, retention) = (Prefix::of(HOME.parse::<SocketAddr>().unwrap().ip()), RETENTION);
    Pass { proven: false, prefix, is_peer: false, retention, evict: None }
}

const RETENTION: Duration = Duration::from_secs(30);
const HOME: &str = "192.0.2.7:500";

struct Desk {
    admission: Admission,
    rng: ChaCha20Rng,
    start: Instant,
    /// Seconds since `start`.
    clock: f64,
    next: u64,
    /// Whether the addresses are those of configured peers.
    configured: bool,
}

/// A request with or without a cookie. The KE payload differs with `group`.
fn request(spi: u64, nonce: &[u8], cookie: Option<&[u8]>, group: KeMethod) -> Vec<u8> {
    let mut chain = Chain::new();
    if let Some(cookie) = cookie {
        chain.notify(NotifyType::COOKIE, cookie);
    }
    chain.ke(group, &[1; 32]).nonce(nonce);
    let header = Header {
        spi_i: IkeSpi(spi),
        spi_r: IkeSpi::ZERO,
        next_payload: PayloadType::NONE,
        version: Header::VERSION,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags { initiator: true, ..Flags::default() },
        message_id: MessageId(0),
        len: 0,
    };
    message(header, &chain)
}

fn claim<'m>(from: &str, datagram: &'m [u8]) -> Claim<'m> {
    let remote: SocketAddr = from.parse().unwrap();
    let path = Path { local: "192.0.2.1:500".parse().unwrap(), remote };
    let header = Header::parse(datagram).unwrap();
    Claim::read(&header, path, datagram).unwrap()
}

/// The cookie in an answer that asks for one.
fn cookie_in(answer: &[u8]) -> Vec<u8> {
    let header = Header::parse(answer).unwrap();
    assert!(header.flags.response && !header.flags.initiator && header.spi_r == IkeSpi::ZERO);
    let body = Body::parse(header.next_payload, &answer[Header::LEN..]).unwrap();
    body.notify(NotifyType::COOKIE).expect("a cookie").data.to_vec()
}

impl Desk {
    fn new(max_half_open: usize, cookie_threshold: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin; the clock is not read again")]
        let start = Instant::now();
        let config =
            EndpointConfig { max_half_open, cookie_threshold, ..EndpointConfig::default() };
        let admission = Admission::new(&config);
        Self {
            admission,
            rng: ChaCha20Rng::from_seed([1; 32]),
            start,
            clock: 0.0,
            next: 1000,
            configured: false,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.clock)
    }

    fn judge(&mut self, from: &str, datagram: &[u8]) -> Verdict {
        let now = self.now();
        self.admission.judge(now, &claim(from, datagram), self.configured, &mut self.rng)
    }

    /// A cookie for this request.
    fn cookie(&mut self, from: &str, spi: u64, nonce: &[u8]) -> Vec<u8> {
        match self.judge(from, &request(spi, nonce, None, KeMethod::CURVE25519)) {
            Verdict::AskForCookie(answer) => cookie_in(&answer),
            other => panic!("{other:?}"),
        }
    }

    /// Whether the request gets past the cookies; if not, it must get a cookie.
    fn is_proven(&mut self, from: &str, datagram: &[u8]) -> bool {
        match self.judge(from, datagram) {
            Verdict::Admit(pass) => pass.proven,
            Verdict::AskForCookie(_) => false,
            other => panic!("{other:?}"),
        }
    }

    /// Comes with a fresh SPI, gets a cookie if it must, and begins if it may: the SA, and which one yielded.
    fn come(&mut self, from: &str) -> Option<(IkeSpi, Option<IkeSpi>)> {
        self.next += 1;
        let (spi, now) = (self.next, self.now());
        let mut datagram = request(spi, &NONCE, None, KeMethod::CURVE25519);
        let mut verdict = self.judge(from, &datagram);
        if let Verdict::AskForCookie(answer) = &verdict {
            datagram = request(spi, &NONCE, Some(&cookie_in(answer)), KeMethod::CURVE25519);
            verdict = self.judge(from, &datagram);
        }
        let Verdict::Admit(pass) = verdict else { return None };
        if let Some(victim) = pass.evict {
            self.admission.end(victim);
        }
        self.admission.begin(now, &claim(from, &datagram), pass, IkeSpi(spi), Arc::from([]));
        Some((IkeSpi(spi), pass.evict))
    }
}

#[test]
fn a_repeat_gets_the_same_answer_and_a_change_does_not() {
    let mut desk = Desk::new(10, 10);
    let first = request(1, &NONCE, None, KeMethod::CURVE25519);
    let other = request(1, &NONCE, None, KeMethod::ECP_256);
    let now = desk.now();
    desk.admission.begin(now, &claim(HOME, &first), pass(), IkeSpi(9), Arc::from(&b"answer"[..]));
    assert!(matches!(desk.judge(HOME, &first), Verdict::Repeat(a) if *a == *b"answer"));
    assert!(matches!(desk.judge(HOME, &other), Verdict::Admit(_)));
    assert!(matches!(desk.judge("192.0.2.7:501", &first), Verdict::Admit(_)));
    desk.admission.end(IkeSpi(9));
    assert!(matches!(desk.judge(HOME, &first), Verdict::Admit(_)));
    assert_eq!(desk.admission.len(), 0);
}

/// The copy without the cookie comes after the request with it: an SA of its own could never be authenticated.
#[test]
fn a_late_copy_from_before_the_cookie_begins_nothing() {
    let mut desk = Desk::new(10, 1);
    let early = request(1, &NONCE, None, KeMethod::CURVE25519);
    let proven = request(1, &NONCE, Some(&[5; 17]), KeMethod::CURVE25519);
    let now = desk.now();
    desk.admission.begin(now, &claim(HOME, &proven), pass(), IkeSpi(9), Arc::from(&b"answer"[..]));
    assert!(matches!(desk.judge(HOME, &early), Verdict::Repeat(a) if *a == *b"answer"));
    // A cookie that somebody forged in between is another matter: that request is the newest.
    let forged = request(1, &NONCE, Some(&[6; 17]), KeMethod::CURVE25519);
    assert!(!matches!(desk.judge(HOME, &forged), Verdict::Repeat(_)));
    let other = request(1, &[8; 32], None, KeMethod::CURVE25519);
    assert!(!matches!(desk.judge(HOME, &other), Verdict::Repeat(_)));
}

#[test]
fn a_cookie_is_good_for_its_sender_its_spi_and_its_nonce_alone() {
    let mut desk = Desk::new(10, 0);
    let cookie = desk.cookie(HOME, 1, &NONCE);
    assert!((1..=64).contains(&cookie.len()));
    let with =
        |spi, nonce: &[u8], cookie: &[u8]| request(spi, nonce, Some(cookie), KeMethod::CURVE25519);
    let good = with(1, &NONCE, &cookie);
    assert!(desk.is_proven(HOME, &good));
    assert!(desk.is_proven("192.0.2.7:4500", &good), "another port of the same address");
    // RFC 7296 §2.6.1: the same cookie with another group.
    assert!(desk.is_proven(HOME, &request(1, &NONCE, Some(&cookie), KeMethod::ECP_256)));
    for address in ["192.0.2.8:500", "[2001:db8::7]:500", "[::ffff:192.0.2.7]:500"] {
        assert!(!desk.is_proven(address, &good), "{address}");
    }
    assert!(!desk.is_proven(HOME, &with(2, &NONCE, &cookie)), "another SPI");
    assert!(!desk.is_proven(HOME, &with(1, &[8; 32], &cookie)), "another nonce");
    assert!(!desk.is_proven(HOME, &with(1, &NONCE[1..], &cookie)), "a shorter nonce");
    for bit in 0..cookie.len() * 8 {
        let mut flipped = cookie.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!desk.is_proven(HOME, &with(1, &NONCE, &flipped)), "bit {bit}");
    }
    for len in (0..cookie.len()).chain([cookie.len() + 1, 64, 65, 1000]) {
        let mut other = cookie.clone();
        other.resize(len, 0);
        assert!(!desk.is_proven(HOME, &with(1, &NONCE, &other)), "{len} octets");
    }
    assert!(desk.is_proven(HOME, &good), "nothing of this spent it");
}

#[test]
fn a_cookie_outlives_one_rotation_and_not_two() {
    let mut desk = Desk::new(10, 0);
    let cookie = desk.cookie(HOME, 1, &NONCE);
    let good = request(1, &NONCE, Some(&cookie), KeMethod::CURVE25519);
    desk.clock = 29.9;
    assert_eq!(desk.cookie(HOME, 1, &NONCE), cookie, "one secret bakes for 30 s");
    desk.clock = 31.0;
    let second = desk.cookie(HOME, 1, &NONCE);
    assert_ne!(second, cookie);
    assert!(desk.is_proven(HOME, &good));
    desk.clock = 59.9;
    assert!(desk.is_proven(HOME, &good));
    desk.clock = 60.1;
    assert!(!desk.is_proven(HOME, &good), "too old, though nothing was rotated");
    desk.clock = 62.0;
    desk.cookie(HOME, 1, &NONCE);
    assert!(!desk.is_proven(HOME, &good), "two rotations later");
    // Nobody came for a day: the secret of then is not accepted because it is still there.
    let second = request(1, &NONCE, Some(&second), KeMethod::CURVE25519);
    desk.clock = 86_400.0;
    assert!(!desk.is_proven(HOME, &second));
}

#[test]
fn cookies_are_asked_for_from_the_threshold_on() {
    let mut desk = Desk::new(100, 8);
    let plain = |desk: &mut Desk, from: &str| {
        desk.next += 1;
        let datagram = request(desk.next, &NONCE, None, KeMethod::CURVE25519);
        matches!(desk.judge(from, &datagram), Verdict::Admit(_))
    };
    let mut begun = Vec::new();
    for number in 0..8u8 {
        let from = format!("10.0.{number}.1:500");
        assert!(plain(&mut desk, &from));
        begun.push(desk.come(&from).unwrap().0);
    }
    assert!(!plain(&mut desk, "10.1.0.1:500"));
    desk.admission.end(begun[3]);
    assert!(plain(&mut desk, "10.1.0.1:500"));
}

/// Below the threshold nobody has to prove anything, so nobody's claim to a configured address counts.
#[test]
fn without_a_cookie_nobody_is_taken_for_a_configured_peer() {
    let mut desk = Desk::new(100, 100);
    desk.configured = true;
    let datagram = request(1, &NONCE, Some(&[5; 17]), KeMethod::CURVE25519);
    let Verdict::Admit(pass) = desk.judge(HOME, &datagram) else { panic!("not admitted") };
    assert!(!pass.is_peer && !pass.proven);
}

/// A quarter of the threshold is one network's; others are not made to pay.
#[test]
fn a_network_with_its_share_of_half_open_sas_pays_alone() {
    for (near, far) in
        [("10.0.0.9:500", "10.0.1.9:500"), ("[2001:db8:1:9::9]:500", "[2001:db8:2::9]:500")]
    {
        let mut desk = Desk::new(100, 8);
        for _ in 0..2 {
            desk.come(near).unwrap();
        }
        let datagram = request(1, &NONCE, None, KeMethod::CURVE25519);
        assert!(matches!(desk.judge(near, &datagram), Verdict::AskForCookie(_)));
        assert!(matches!(desk.judge(far, &datagram), Verdict::Admit(_)));
    }
}

/// Requests that are refused leave nothing behind that could be counted, but an answer or a key exchange each.
#[test]
fn whoever_is_refused_too_often_is_asked_for_a_cookie_too() {
    let mut desk = Desk::new(100, 8);
    let datagram = request(1, &NONCE, None, KeMethod::CURVE25519);
    let mut refused = 0;
    while let Verdict::Admit(pass) = desk.judge(HOME, &datagram) {
        let now = desk.now();
        desk.admission.refused(now, pass, true);
        refused += 1;
    }
    assert_eq!(refused, 50);
    let cookie = desk.cookie(HOME, 1, &NONCE);
    let proven = request(1, &NONCE, Some(&cookie), KeMethod::CURVE25519);
    for _ in 0..1000 {
        let Verdict::Admit(pass) = desk.judge(HOME, &proven) else { panic!("locked out") };
        let now = desk.now();
        desk.admission.refused(now, pass, false);
    }
    desk.clock = 1.1;
    assert!(matches!(desk.judge(HOME, &datagram), Verdict::Admit(_)), "it is over");
}

#[test]
fn half_open_sas_wait_shorter_while_we_are_on_guard() {
    let mut desk = Desk::new(100, 1);
    let retention = |verdict| match verdict {
        Verdict::Admit(pass) => pass.retention,
        other => panic!("{other:?}"),
    };
    let first = request(1, &NONCE, None, KeMethod::CURVE25519);
    assert_eq!(retention(desk.judge(HOME, &first)), RETENTION);
    desk.come(HOME).unwrap();
    let cookie = desk.cookie(HOME, 1, &NONCE);
    let second = request(1, &NONCE, Some(&cookie), KeMethod::CURVE25519);
    assert_eq!(retention(desk.judge(HOME, &second)), Duration::from_secs(10));
}

/// The answer to a request that only a forger would write could be longer than it.
#[test]
fn a_cookie_is_never_longer_than_the_request() {
    let mut desk = Desk::new(10, 0);
    for nonce in 0..=64 {
        let mut chain = Chain::new();
        chain.nonce(&vec![7; nonce]);
        let header = Header::parse(&request(1, &[], None, KeMethod::CURVE25519)).unwrap();
        let datagram = message(header, &chain);
        match desk.judge(HOME, &datagram) {
            Verdict::AskForCookie(answer) => assert!(answer.len() <= datagram.len()),
            Verdict::TooShort => assert!(datagram.len() < 53, "{}", datagram.len()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_full_table_keeps_the_young_and_gives_up_the_old() {
    let mut desk = Desk::new(4, 0);
    let begun: Vec<_> = (0..4).map(|_| desk.come(HOME).unwrap().0).collect();
    desk.clock = 1.9;
    assert_eq!(desk.come(HOME), None, "they may still be about to finish");
    desk.clock = 2.0;
    let (_, yielded) = desk.come(HOME).unwrap();
    assert_eq!(yielded, Some(begun[0]));
    // All hold one place, and the newcomer none: the oldest of all goes, once it is old.
    let mut desk = Desk::new(4, 0);
    let mut begun = Vec::new();
    for network in [9, 3, 7, 5] {
        begun.push(desk.come(&format!("10.0.{network}.1:500")).unwrap().0);
    }
    desk.clock = 1.0;
    assert_eq!(desk.come(HOME), None);
    desk.clock = 2.0;
    assert_eq!(desk.come(HOME).unwrap().1, Some(begun[0]));
    assert_eq!(desk.admission.len(), 4);
}

/// One network fills the table; every other gets its place at once, and cannot be pushed out by the greedy one.
#[test]
fn no_network_can_fill_the_table_against_the_others() {
    let mut desk = Desk::new(100, 0);
    let greedy: Vec<_> = (0..100).map(|_| desk.come("10.0.0.1:500").unwrap().0).collect();
    let mut honest = Vec::new();
    for number in 0..40u8 {
        let (sa, yielded) = desk.come(&format!("10.1.{number}.1:500")).unwrap();
        assert_eq!(yielded, Some(greedy[usize::from(number)]), "its oldest");
        honest.push(sa);
    }
    desk.clock = 5.0;
    for _ in 0..1000 {
        let (_, yielded) = desk.come("10.0.0.2:500").unwrap();
        assert!(!honest.contains(&yielded.unwrap()));
        desk.clock += 0.05;
    }
    for sa in honest {
        desk.admission.end(sa);
    }
    assert_eq!(desk.admission.table.len(), 60);
}

/// Strangers of many networks have filled the table: they hold one place each, so that fairness does not help.
#[test]
fn a_configured_peer_takes_the_place_of_a_stranger_and_never_the_other_way_round() {
    let mut desk = Desk::new(10, 0);
    for number in 0..10u8 {
        desk.come(&format!("10.0.{number}.1:500")).unwrap();
    }
    assert_eq!(desk.come("10.1.0.1:500"), None);
    desk.configured = true;
    let peers: Vec<_> = (0..10).map(|_| desk.come("10.1.0.1:500").unwrap().0).collect();
    assert_eq!(desk.come("10.1.0.1:500"), None, "only peers are left, and all are young");
    desk.configured = false;
    desk.clock = 9.0;
    assert_eq!(desk.come("10.0.0.1:500"), None);
    desk.configured = true;
    assert_eq!(desk.come("10.1.0.1:500").unwrap().1, Some(peers[0]));
}

#[test]
fn nothing_is_left_when_all_have_ended() {
    let mut desk = Desk::new(50, 4);
    let mut begun = std::collections::VecDeque::new();
    for round in 0..2000u32 {
        desk.clock += 0.1;
        if let Some((sa, _)) = desk.come(&format!("10.{}.{}.1:500", round % 3, round % 7)) {
            begun.push_back(sa);
        }
        assert!(desk.admission.len() <= 50);
        if round % 3 == 0 {
            desk.admission.end(begun.pop_front().unwrap());
        }
    }
    for sa in begun {
        desk.admission.end(sa);
    }
    assert_eq!(desk.admission.len(), 0);
}
