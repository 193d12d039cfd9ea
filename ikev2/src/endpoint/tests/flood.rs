//! Strangers who want our memory, our time or our bandwidth, while honest peers connect (RFC 7296 §2.6, RFC 8019 §4).
//!
//! ```text
//!   SPIs, addresses, nonces at random ─► IKE_SA_INIT ─► hub      counted: half-open SAs, key exchanges, octets in and out
//!                                             spokes ─► hub      must come up all the same
//! ```

use rand_core::Rng;
use testkit::measured::measured;

use super::crowd::{Crowd, HUB};
use super::*;
use crate::registry::KeMethod;
use crate::wire::message::Payloads;

/// Writes the payloads of a request.
type Write<'a> = &'a dyn Fn(&mut Chain);

/// Writes IKE_SA_INIT requests as an honest initiator would, but for what it takes from `rng`.
pub(super) struct Forger {
    rng: ChaCha20Rng,
    /// A real request, and where its nonce is.
    model: Vec<u8>,
    nonce: std::ops::Range<usize>,
}

impl Forger {
    pub(super) fn new() -> Self {
        let mut pair = Pair::new();
        let (_, request) = pair.wire.pop_front().unwrap();
        let model = request.payload.to_vec();
        let header = Header::parse(&model).unwrap();
        let payloads = Payloads::new(header.next_payload, &model[Header::LEN..]);
        let nonce = payloads.map(Result::unwrap).find(|p| p.kind == PayloadType::NONCE).unwrap();
        let start = Header::LEN + nonce.offset + 4;
        let nonce = start..start + nonce.body.len();
        Self { rng: ChaCha20Rng::from_seed([5; 32]), model, nonce }
    }

    /// A request of a new initiator.
    pub(super) fn request(&mut self) -> Vec<u8> {
        let mut request = self.model.clone();
        self.rng.fill_bytes(&mut request[..8]);
        self.rng.fill_bytes(&mut request[self.nonce.clone()]);
        request
    }

    /// Any global-looking address.
    pub(super) fn address(&mut self) -> SocketAddr {
        let [_, b, c, d] = self.rng.next_u32().to_be_bytes();
        SocketAddr::from(([100 + b % 50, c, d, b], 500))
    }
}

/// The request with this cookie before everything else.
pub(super) fn with_cookie(request: &[u8], cookie: &[u8]) -> Vec<u8> {
    let header = Header::parse(request).unwrap();
    let mut chain = Chain::new();
    chain.notify(NotifyType::COOKIE, cookie);
    let mut octets = message(header, &chain);
    octets[Header::LEN] = header.next_payload.0;
    octets.extend_from_slice(&request[Header::LEN..]);
    let len = u32::try_from(octets.len()).unwrap();
    octets[24..28].copy_from_slice(&len.to_be_bytes());
    octets
}

/// The cookie in an answer, if it is one that asks for a cookie.
pub(super) fn cookie_in(answer: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(answer).unwrap();
    let body = Body::parse(header.next_payload, &answer[Header::LEN..]).unwrap();
    Some(body.notify(NotifyType::COOKIE)?.data.to_vec())
}

pub(super) fn demanding(cookie_threshold: usize) -> EndpointConfig {
    EndpointConfig { cookie_threshold, ..EndpointConfig::default() }
}

const COOKIE_ASKED: Disposition = Disposition::Dropped(DropReason::CookieAsked);

/// 100 000 requests in five seconds from addresses that nobody has; an honest peer begins in the midst of them. Without
/// a cookie nobody gets a key exchange but the first few.
#[test]
fn a_spoofed_flood_costs_no_key_exchange_and_keeps_nobody_out() {
    for threshold in [0, 64] {
        let mut crowd = Crowd::new(demanding(threshold));
        let mut forger = Forger::new();
        let mut connected = None;
        let mut began = crowd.now;
        for number in 0..100_000 {
            if number == 20_000 {
                began = crowd.now;
                crowd.add_spoke(false);
            }
            let from = forger.address();
            let disposition = crowd.say(from, &forger.request());
            assert!(number < 64 || disposition == COOKIE_ASKED, "{number}: {disposition:?}");
            if connected.is_none() && crowd.up == 1 {
                connected = Some(crowd.now - began);
            }
            crowd.run_for(Duration::from_micros(50));
        }
        let connected = connected.expect("the honest peer is up");
        measured(
            "T01",
            "virtual clock: an honest peer is up after",
            format!("{connected:?}"),
            "<= 3 s",
        );
        assert!(connected < Duration::from_millis(100), "{connected:?}");
        assert_eq!(crowd.hub.shared.key_exchanges, threshold + 1);
        assert!(crowd.most_half_open <= threshold + 1, "{}", crowd.most_half_open);
        assert!(crowd.said <= crowd.heard, "{} for {}", crowd.said, crowd.heard);
        crowd.run_for(MINUTE);
        assert_eq!((crowd.hub.sas.len(), crowd.hub.admission.len()), (1, 0), "all is forgotten");
        assert_eq!(crowd.up, 1);
    }
}

/// The same with the address of the honest peer in every request, which is known to all.
#[test]
fn a_flood_in_the_name_of_the_peer_does_not_keep_it_out() {
    let mut crowd = Crowd::new(EndpointConfig::default());
    let mut forger = Forger::new();
    crowd.run_for(MINUTE);
    for number in 0..20_000u16 {
        if number == 10_000 {
            crowd.add_spoke(false);
        }
        let from = SocketAddr::from(([10, 0, 0, 1], 1024 + number));
        crowd.say(from, &forger.request());
        crowd.run_for(Duration::from_micros(50));
    }
    assert_eq!(crowd.up, 1);
    // Sixteen for its network, and itself.
    assert_eq!(crowd.hub.shared.key_exchanges, 17);
}

/// An attacker that does receive at its addresses and brings its cookies, 2000 times a second; first it has one address,
/// then a thousand networks.
#[test]
fn proven_strangers_fill_the_table_and_the_honest_still_come_up() {
    for networks in [1, 1000u32] {
        let mut crowd = Crowd::new(EndpointConfig::default());
        let mut forger = Forger::new();
        for number in 0..20_000u32 {
            if number == 5_000 {
                crowd.add_spoke(false);
            }
            let [_, _, high, low] = (number % networks).to_be_bytes();
            let from = SocketAddr::from(([100, high, low, 1], 500));
            let request = forger.request();
            if crowd.say(from, &request) == COOKIE_ASKED {
                let cookie = cookie_in(&crowd.received[0]).unwrap();
                crowd.say(from, &with_cookie(&request, &cookie));
            }
            crowd.run_for(Duration::from_micros(500));
        }
        assert_eq!(crowd.up, 1, "{networks}");
        assert_eq!(crowd.most_half_open, 1000);
        // A thousand at first, and after two seconds a thousand each two seconds.
        let made = crowd.hub.shared.key_exchanges;
        assert!(made <= 6 * 1000, "{made}");
        crowd.run_for(MINUTE);
        assert_eq!((crowd.hub.sas.len(), crowd.hub.admission.len()), (1, 0));
    }
}

/// All begin in the same millisecond; they have a network each, or one address for all.
#[test]
fn two_thousand_peers_at_once_all_come_up() {
    for nat in [false, true] {
        let mut crowd = Crowd::new(EndpointConfig::default());
        for _ in 0..2000 {
            crowd.add_spoke(nat);
        }
        let took = crowd.run_until_up(2000, MINUTE);
        let where_from = if nat { "behind one NAT" } else { "of as many networks" };
        measured(
            "T41",
            &format!("2000 peers {where_from} at once, all up after"),
            format!("{took:?}"),
            "<= 60 s",
        );
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(crowd.most_half_open <= 1000);
        crowd.run_for(MINUTE);
        assert_eq!((crowd.up, crowd.hub.sas.len(), crowd.hub.admission.len()), (2000, 2000, 0));
    }
}

/// Everything about a valid cookie but the cookie itself, or the other way round.
#[test]
fn a_stolen_or_broken_cookie_begins_nothing() {
    let mut crowd = Crowd::new(demanding(0));
    let mut forger = Forger::new();
    let home: SocketAddr = "198.51.100.7:500".parse().unwrap();
    let request = forger.request();
    assert_eq!(crowd.say(home, &request), COOKIE_ASKED);
    let cookie = cookie_in(&crowd.received[0]).unwrap();
    assert!(cookie.len() <= 64);
    let good = with_cookie(&request, &cookie);
    let refuse = |crowd: &mut Crowd, from: SocketAddr, datagram: &[u8], why: &str| {
        assert_eq!(crowd.say(from, datagram), COOKIE_ASKED, "{why}");
        let fresh = cookie_in(&crowd.received[0]).expect("a fresh cookie");
        assert!(crowd.received.len() == 1 && crowd.received[0].len() <= datagram.len());
        assert_eq!((crowd.hub.sas.len(), crowd.hub.shared.key_exchanges), (0, 0), "{why}");
        fresh
    };
    refuse(&mut crowd, "198.51.100.8:500".parse().unwrap(), &good, "another address");
    let mut other_spi = good.clone();
    other_spi[3] ^= 1;
    refuse(&mut crowd, home, &other_spi, "another SPI");
    let mut other_nonce = good.clone();
    other_nonce[forger.nonce.start + 8 + cookie.len()] ^= 1;
    refuse(&mut crowd, home, &other_nonce, "another nonce");
    for bit in 0..cookie.len() * 8 {
        let mut flipped = cookie.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refuse(&mut crowd, home, &with_cookie(&request, &flipped), "a flipped bit");
    }
    for len in [0, 1, 16, 18, 64, 65, 4000] {
        let mut other = cookie.clone();
        other.resize(len, 0);
        refuse(&mut crowd, home, &with_cookie(&request, &other), "another length");
    }
    crowd.run_for(Duration::from_secs(35));
    let second = refuse(&mut crowd, home, &request, "none");
    assert_ne!(second, cookie);
    crowd.run_for(Duration::from_secs(35));
    let third = refuse(&mut crowd, home, &good, "two rotations ago");
    measured(
        "T02",
        "half-open SAs begun with stolen, broken and old cookies",
        crowd.hub.sas.len(),
        "0",
    );
    measured("T02", "octets of a cookie", third.len(), "<= 64");
    assert_eq!(crowd.say(home, &with_cookie(&request, &third)), Disposition::Accepted);
    assert_eq!((crowd.hub.sas.len(), crowd.hub.shared.key_exchanges), (1, 1));
}

/// RFC 8019 §4.6: what does not decrypt costs no new key exchange, and ends nothing.
#[test]
fn ten_thousand_false_ike_auths_do_not_end_a_half_open_sa() {
    let mut pair = Pair::empty();
    pair.ends[B] = Endpoint::new(demanding(0), [2; 32]);
    pair.ends[B].add_peer(pair.now, config(B));
    pair.ends[A].add_peer(pair.now, config(A));
    pair.drain();
    for _ in 0..4 {
        pair.pass();
    }
    let (_, auth) = pair.wire.pop_front().unwrap();
    assert_eq!(Header::parse(&auth.payload).unwrap().exchange, ExchangeType::IKE_AUTH);
    for number in 0..10_000 {
        let mut forged = auth.payload.to_vec();
        let octet = Header::LEN + 4 + number % (forged.len() - Header::LEN - 4);
        forged[octet] ^= 1 << (number % 8);
        let disposition = pair.deliver(A, &forged);
        assert_eq!(disposition, Disposition::Dropped(DropReason::BadIcv), "{number}");
    }
    assert!(pair.wire.is_empty(), "nobody answers them");
    assert_eq!(pair.deliver(A, &auth.payload), Disposition::Accepted);
    pair.settle();
    assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
    measured(
        "T03",
        "key exchanges for 10 000 false IKE_AUTH and the right one",
        pair.ends[B].shared.key_exchanges,
        "1",
    );
    assert_eq!(pair.ends[B].shared.key_exchanges, 1);
}

/// A request that asks for what we do not have, in one of the ways that are answered in the clear or cost us a key
/// exchange, 10 000 of each within a second.
#[test]
fn refusals_do_not_amplify_and_do_not_go_on_without_a_cookie() {
    let ike = |keywords| vec![Proposal::ike_from_keywords(keywords).unwrap()];
    let nothing_in_common = |chain: &mut Chain| {
        chain.sa(&ike("aes128-sha256-ecp256")).ke(KeMethod::ECP_256, &[1; 64]).nonce(&[7; 16]);
    };
    let wrong_group = |chain: &mut Chain| {
        chain.sa(&ike(IKE)).ke(KeMethod::ECP_256, &[1; 64]).nonce(&[7; 16]);
    };
    let low_order = |chain: &mut Chain| {
        chain.sa(&ike(IKE)).ke(KeMethod::CURVE25519, &[0; 32]).nonce(&[7; 16]);
    };
    let unknown_payload = |chain: &mut Chain| {
        chain.unknown_critical(PayloadType(200));
    };
    let kinds: [(&str, Write<'_>); 4] = [
        ("nothing in common", &nothing_in_common),
        ("another group", &wrong_group),
        ("a public value of low order", &low_order),
        ("an unknown critical payload", &unknown_payload),
    ];
    let mut forger = Forger::new();
    let model = Header::parse(&forger.model).unwrap();
    for (what, write) in kinds {
        let mut crowd = Crowd::new(EndpointConfig::default());
        let mut chain = Chain::new();
        write(&mut chain);
        let mut refused = 0;
        for number in 0..10_000 {
            let header = Header { spi_i: IkeSpi(1 + number), ..model };
            let from = forger.address();
            let disposition = crowd.say(from, &message(header, &chain));
            refused += usize::from(matches!(
                disposition,
                Disposition::Dropped(DropReason::Unexpected | DropReason::Malformed)
            )) * usize::from(
                what != "an unknown critical payload" || !crowd.received.is_empty(),
            );
            crowd.run_for(Duration::from_micros(100));
        }
        assert!((50..=101).contains(&refused), "{what}: {refused}");
        let ratio = crowd.amplification();
        measured(
            "T43",
            &format!("octets out for octets in: {what}"),
            format!("{ratio:.2}"),
            "<= 1.2",
        );
        assert!(crowd.said <= crowd.heard, "{what}: {} for {}", crowd.said, crowd.heard);
        assert!(crowd.hub.shared.key_exchanges <= 101);
        assert_eq!(crowd.hub.sas.len(), 0);
        // An honest one who brings a cookie is told the same as ever.
        crowd.add_spoke(false);
        crowd.run_until_up(1, Duration::from_millis(100));
    }
}

/// Everything else that is not an SA's: almost always silence.
#[test]
fn noise_is_not_amplified() {
    let mut crowd = Crowd::new(EndpointConfig::default());
    let mut forger = Forger::new();
    let model = Header::parse(&forger.model).unwrap();
    for number in 0..10_000u64 {
        let header = Header { spi_i: IkeSpi(1 + number), ..model };
        let newer = Header { version: 0x30, ..header };
        let ikev1 = Header { version: 0x10, exchange: ExchangeType(2), ..header };
        let unknown = Header {
            spi_r: IkeSpi(7),
            exchange: ExchangeType::INFORMATIONAL,
            message_id: MessageId(2),
            ..header
        };
        for header in [newer, ikev1, unknown] {
            let from = forger.address();
            crowd.say(from, &message(header, &Chain::new()));
            assert!(header.version == 0x30 || crowd.received.is_empty());
        }
        crowd.run_for(Duration::from_micros(50));
    }
    let ratio = crowd.amplification();
    measured(
        "T43",
        "octets out for octets in: versions 1 and 3, unknown SPIs",
        format!("{ratio:.2}"),
        "<= 1.2",
    );
    assert!(crowd.said <= crowd.heard / 10, "{} for {}", crowd.said, crowd.heard);
}

/// Strangers where only configured addresses may talk to us: not even a cookie.
#[test]
fn who_is_not_configured_gets_no_answer() {
    let mut pair = Pair::empty();
    pair.ends[B] = Endpoint::new(demanding(0), [2; 32]);
    pair.ends[B].add_peer(pair.now, config(B));
    let path = Path { local: HUB.parse().unwrap(), remote: "198.51.100.7:500".parse().unwrap() };
    let mut request = Forger::new().request();
    let disposition = pair.ends[B].handle_datagram(pair.now, path, &mut request);
    assert_eq!(disposition, Disposition::Dropped(DropReason::UnknownPeer));
    assert!(pair.ends[B].poll_transmit().is_none());
}
