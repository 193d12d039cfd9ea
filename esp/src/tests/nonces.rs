//! No key meets a nonce twice: not among workers that share an SA, not at the end of its numbers.
//!
//! ```text
//!   four threads, one SA, super-packets and single packets side by side ─► all (SPI, IV) of the wire ─► sorted: no two alike
//!   2^32 - 1000 without ESN ─► each number that is left once, then nothing for anybody (RFC 4303 §3.3.3)
//! ```

use super::packets::{Shape, super_packet};
use super::{FAMILIES, measured, pair, v4_packet};
use crate::{Aead, AesKey, DropReason, OutboundSa, Segments, Suite, Train, TrainLimits};

const WORKERS: usize = 4;
/// Of the segments of super-packets.
const SIZES: [u16; 4] = [100, 110, 200, 900];
const LIMITS: TrainLimits = TrainLimits { octets: 65_507, packets: 64 };

/// What a receiver takes for the nonce: the IV, or where none is sent the number (RFC 8750).
fn nonce(suite: Suite, packet: &[u8]) -> u128 {
    let place = if suite.iv_len() == 0 { 4..8 } else { 8..8 + suite.iv_len() };
    packet[place].iter().fold(0, |all, octet| all << 8 | u128::from(*octet))
}

/// What one worker sends until it has `wanted` packets or the SA has no number left; and whether that was so.
fn work(sa: &mut OutboundSa, wanted: usize, worker: usize) -> (Vec<(u32, u128)>, bool) {
    let suite = sa.suite();
    let inner = v4_packet(worker);
    let (mut buffer, mut sent) = (vec![0; 70_000], Vec::with_capacity(wanted + 64));
    let mut note = |packet: &[u8]| {
        let number = u32::from_be_bytes(*packet[4..].first_chunk().unwrap());
        sent.push((number, nonce(suite, packet)));
        sent.len()
    };
    for turn in 0.. {
        if turn % 3 == worker % 3 {
            match sa.encap_into(&inner, &mut buffer) {
                Ok(len) if note(&buffer[..len]) >= wanted => break,
                Ok(_) => continue,
                Err(DropReason::SequenceExhausted) => return (sent, true),
                Err(other) => panic!("{other}"),
            }
        }
        let (vnet, packet) = super_packet(&Shape::default(), &[7; 3300], SIZES[turn % SIZES.len()]);
        let mut segments = Segments::new(&vnet, &packet).unwrap();
        let mut train = Train::at(0);
        let result = sa.encap_segments(&mut segments, &mut buffer, &mut train, LIMITS);
        let packets = buffer[train.range()].chunks(train.stride().max(1));
        let count = packets.map(&mut note).max().unwrap_or(0);
        match result {
            Ok(()) if count >= wanted => break,
            Ok(()) => {}
            Err(DropReason::SequenceExhausted) => return (sent, true),
            Err(other) => panic!("{other}"),
        }
    }
    (sent, false)
}

/// Everything that [`WORKERS`] threads send on one SA, and how many of them found it used up.
fn together(mut first: OutboundSa, each: usize) -> (Vec<(u32, u128)>, usize) {
    let mut shares: Vec<_> = (1..WORKERS).map(|_| first.share()).collect();
    shares.push(first);
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(shares)
            .map(|(worker, mut sa)| scope.spawn(move || work(&mut sa, each, worker)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let stopped = done.iter().filter(|(_, stopped)| *stopped).count();
    (done.into_iter().flat_map(|(sent, _)| sent).collect(), stopped)
}

/// How many of them are there twice.
fn repeated<T: Ord + Copy>(values: impl Iterator<Item = T>) -> usize {
    let mut values: Vec<T> = values.collect();
    let all = values.len();
    values.sort_unstable();
    values.dedup();
    all - values.len()
}

/// `NONCES=10000000 cargo test --release -p esp nonces` takes longer and sends more.
fn packets() -> usize {
    std::env::var("NONCES").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000)
}

#[test]
fn workers_that_share_an_sa_never_repeat_a_nonce() {
    let gcm = Suite::Combined(Aead::AesGcm16(AesKey::Bits128));
    let suites = [(gcm, packets())].into_iter().chain(FAMILIES.map(|suite| (suite, 40_000)));
    let (mut all, mut twice) = (0, 0);
    for (suite, count) in suites {
        let (sent, stopped) = together(pair(suite, true).0, count / WORKERS);
        assert_eq!(stopped, 0);
        all += sent.len();
        twice += repeated(sent.iter().map(|(_, nonce)| *nonce));
        assert_eq!(repeated(sent.iter().map(|(number, _)| *number)), 0, "{suite:?}");
    }
    measured("T25", "nonces used twice, of those of all packets", twice, "0");
    measured("T25", "packets of four workers", all, ">= 10^6, --long 10^7");
    assert_eq!(twice, 0);
}

#[test]
fn the_last_thousand_numbers_are_used_once_and_none_after_them() {
    const LEFT: u32 = 1000;
    for suite in FAMILIES {
        let (mut left, _) = pair(suite, false);
        left.skip_to(u64::from(u32::MAX - LEFT));
        let (sent, stopped) = together(left, 10_000);
        let last = sent.iter().map(|(number, _)| *number).max().unwrap();
        let lowest = sent.iter().map(|(number, _)| *number).min().unwrap();
        assert_eq!(stopped, WORKERS, "{suite:?}");
        assert_eq!(repeated(sent.iter().map(|(_, nonce)| *nonce)), 0, "{suite:?}");
        assert!(lowest > u32::MAX - LEFT && sent.len() <= LEFT as usize, "{suite:?}");
        if suite == FAMILIES[0] {
            measured("T25", "last number", last, "<= 2^32-1");
            measured("T25", "packets of the last 1000 numbers", sent.len(), "<= 1000");
        }
    }
}
