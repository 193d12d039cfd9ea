//! What a handshake costs by key exchange: time of each side on one core, datagrams and octets.
//!
//! ```text
//!   cargo bench -p ikev2 --bench handshake                  half a second for each row
//!
//!   key exchange   initiator   responder   per second   IKE_SA_INIT   IKE_INTERMEDIATE          octets of IP datagrams,
//!                  µs          µs          of responder  there/back    there/back (datagrams)    as they come at port 4500
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ikev2::registry::ExchangeType;
use ikev2::wire::header::Header;
use ikev2::{
    ChildConfig, Endpoint, EndpointConfig, Event, Identity, Path, PeerConfig, Proposal, Psk,
    RemoteId, Start, TrafficSelector, Transmit,
};

/// The first is what the gateway offers first: all of its proposals, as one message has them.
const ROWS: [(&str, &[&str]); 9] = [
    ("the default policy", &DEFAULT),
    ("curve25519", &["aes256gcm16-prfsha384-curve25519"]),
    ("ecp256", &["aes256gcm16-prfsha384-ecp256"]),
    ("ecp384", &["aes256gcm16-prfsha384-ecp384"]),
    ("modp2048", &["aes256gcm16-prfsha384-modp2048"]),
    ("mlkem768", &["aes256gcm16-prfsha384-mlkem768"]),
    ("mlkem1024", &["aes256gcm16-prfsha384-mlkem1024"]),
    ("curve25519-ke1_mlkem768", &["aes256gcm16-prfsha384-curve25519-ke1_mlkem768"]),
    ("ecp384-ke1_mlkem1024", &["aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"]),
];

const DEFAULT: [&str; 3] = [
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-curve25519-ecp384-ecp256-ke1_mlkem768",
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-ecp384-curve25519-ecp256-modp3072-modp2048",
    "aes256-sha512-sha384-sha256-prfsha512-prfsha384-prfsha256-ecp384-curve25519-ecp256-modp4096-modp3072-modp2048",
];

const SIDES: [(&str, u8); 2] = [("left.test", 1), ("right.test", 2)];

/// Datagrams of one kind: how many, and their octets in all.
type Count = (usize, usize);

#[derive(Default)]
struct Run {
    spent: [Duration; 2],
    init: [Count; 2],
    intermediate: [Count; 2],
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, SIDES[side].1], 500))
}

fn config(side: usize, words: &[&str]) -> PeerConfig {
    let other = 1 - side;
    let ike = words.iter().map(|words| Proposal::ike_from_keywords(words).unwrap()).collect();
    let mut peer = PeerConfig::new("peer", Psk::new(vec![7; 32]), ike);
    peer.paths = vec![Path { local: address(side), remote: address(other) }];
    peer.local_id = Some(Identity::Fqdn(SIDES[side].0.into()));
    peer.remote_id = RemoteId::Exact(Identity::Fqdn(SIDES[other].0.into()));
    let net =
        |side: usize| vec![TrafficSelector::subnet(IpAddr::from([10, SIDES[side].1, 0, 0]), 16)];
    let esp = vec![Proposal::esp_from_keywords("aes256gcm16").unwrap()];
    peer.children = vec![ChildConfig::new("net", net(side), net(other), esp)];
    peer.start = if side == 0 { Start::Always } else { Start::RespondOnly };
    peer
}

/// One handshake, from the first key pair to both children.
fn handshake(words: &[&str], seed: u64, run: &mut Run) {
    let now = Instant::now();
    let mut ends = [0_usize, 1].map(|side| {
        let mut octets = [u8::try_from(side).unwrap(); 32];
        octets[..8].copy_from_slice(&seed.to_be_bytes());
        Endpoint::new(EndpointConfig::default(), octets)
    });
    for side in [1, 0] {
        let peer = config(side, words);
        let began = Instant::now();
        ends[side].add_peer(now, peer);
        run.spent[side] += began.elapsed();
    }
    let mut children = 0;
    let mut silent = 0;
    let mut side = 0;
    while silent < 2 {
        silent += 1;
        while let Some(event) = ends[side].poll_event() {
            children += usize::from(matches!(event, Event::ChildUp { .. }));
        }
        while let Some(Transmit { path, payload }) = ends[side].poll_transmit() {
            silent = 0;
            count(run, side, path, &payload);
            let way = Path { local: path.remote, remote: path.local };
            let mut payload = payload.to_vec();
            let began = Instant::now();
            ends[1 - side].handle_datagram(now, way, &mut payload);
            run.spent[1 - side] += began.elapsed();
        }
        side = 1 - side;
    }
    assert_eq!(children, 2, "{words:?}");
}

fn count(run: &mut Run, side: usize, path: Path, payload: &[u8]) {
    let counts = match Header::parse(payload).unwrap().exchange {
        ExchangeType::IKE_SA_INIT => &mut run.init,
        ExchangeType::IKE_INTERMEDIATE => &mut run.intermediate,
        _ => return,
    };
    let marker = if path.local.port() == 4500 { 4 } else { 0 };
    counts[side].0 += 1;
    counts[side].1 += 20 + 8 + marker + payload.len();
}

fn main() {
    println!(
        "{:<26}{:>10}{:>10}{:>8}  {:<14}IKE_INTERMEDIATE",
        "key exchange", "initiator", "responder", "/s", "IKE_SA_INIT"
    );
    for (name, words) in ROWS {
        let mut sizes = Run::default();
        handshake(words, 0, &mut sizes);
        let mut run = Run::default();
        let (began, mut number) = (Instant::now(), 0_u32);
        while began.elapsed() < Duration::from_millis(500) {
            number += 1;
            handshake(words, number.into(), &mut run);
        }
        let [initiator, responder] = run.spent.map(|spent| spent.as_secs_f64() / f64::from(number));
        let [there, back] = sizes.init;
        let [further, answer] = sizes.intermediate;
        println!(
            "{name:<26}{:>7.0} µs{:>7.0} µs{:>8.0}  {:<14}{}",
            initiator * 1e6,
            responder * 1e6,
            1.0 / responder,
            format!("{}/{}", there.1, back.1),
            if further.0 == 0 {
                "-".into()
            } else {
                format!("{}/{} ({}/{})", further.1, answer.1, further.0, answer.0)
            }
        );
    }
}
