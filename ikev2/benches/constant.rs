//! Whether the time of a comparison tells where two secrets differ, and that of a power which bits its exponent has: the test of
//! dudect (Reparaz and others, 2017).
//!
//! ```text
//!   cargo bench -p ikev2 --bench constant          CONSTANT_SAMPLES=1000000 by default
//!
//!   a value that is wrong in its first octet ─┐ at random     ┌─► times of the one ─┐
//!   a value that is wrong in its last one ────┴─► compared ───┴─► times of the other┴─► t of Welch: |t| < 4.5 is constant
//!
//!   an exponent of ones alone   ─┐ at random     ┌─► times of the one ─┐      MODP, a fiftieth as often
//!   an exponent of one one alone ┴─► raised to ──┴─► times of the other┴─► t of Welch
//! ```
//!
//! The lines in brackets are a comparison that stops at the first difference and a power by a crate that skips zeros, as a proof
//! that this test would see one. The slowest tenth of all times, which belongs to the machine, is left out.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

use std::cell::RefCell;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use esp::{
    Aead, AesKey, Cipher, HEADROOM, InboundSa, Integrity, OutboundSa, SaParams, Selector,
    Selectors, Suite, TAILROOM,
};
use ikev2::{Psk, timing};
use num_bigint::BigUint;

fn main() {
    let samples = std::env::var("CONSTANT_SAMPLES").ok().and_then(|text| text.parse().ok());
    let samples: usize = samples.unwrap_or(1_000_000);
    let psk = Psk::new(b"a key that nobody guesses".to_vec());
    let auth = timing::auth(&psk);
    let message = [7; 64];
    let icv = timing::icv(&[5; 32], &message);
    println!("{samples} samples each; |t| < 4.5: no difference is seen");
    let mut constant = true;
    for (name, value, is_right) in [
        (
            "AUTH with a pre-shared key",
            &auth,
            &(|shown: &[u8]| timing::is_auth(&psk, shown)) as Check<'_>,
        ),
        ("ICV of an IKE message", &icv, &|shown| timing::is_icv(&[5; 32], &message, shown)),
    ] {
        assert!(is_right(value), "{name}");
        constant &= told(name, welch(samples, value, is_right));
    }
    let cbc = Suite::Separate(Cipher::AesCbc(AesKey::Bits256), Integrity::HmacSha2_256_128);
    for (name, suite) in [
        ("ESP, AES-GCM", Suite::Combined(Aead::AesGcm16(AesKey::Bits256))),
        ("ESP, HMAC-SHA-256", cbc),
    ] {
        let (packet, receiver) = esp_packet(suite);
        let receiver = RefCell::new(receiver);
        let buffer = RefCell::new(packet.clone());
        // The ICV alone is what differs: in front of it lies the packet as it was.
        let icv = packet[packet.len() - 16..].to_vec();
        let opens = |shown: &[u8]| {
            let mut buffer = buffer.borrow_mut();
            buffer.copy_from_slice(&packet);
            let start = buffer.len() - 16;
            buffer[start..].copy_from_slice(shown);
            receiver.borrow_mut().decap(&mut buffer).is_ok()
        };
        constant &= told(name, welch(samples, &icv, &opens));
        assert!(opens(&icv), "{name}");
    }
    let ppk = [8; 32];
    let shown_first = |shown: &[u8]| *shown.first_chunk().unwrap();
    let confirmed = |shown: &[u8]| timing::is_confirmed(&ppk, shown_first(shown));
    let confirmation = timing::confirmation(&ppk);
    assert!(confirmed(&confirmation));
    constant &= told("PPK Confirmation", welch(samples, &confirmation, &confirmed));
    // Exponents of 320 bits, as they are drawn for group 14.
    let (ones, mut one) = ([0xff; 40], [0; 40]);
    one[39] = 2;
    let base = [0x5a; 256];
    let powers = samples / 50;
    let raise = |exponent: &[u8]| drop(black_box(timing::power(exponent, &base)).unwrap());
    constant &= told("MODP-2048, private exponent", welch_of(powers, [&ones, &one], &raise));
    let prime = BigUint::from(2_u8).pow(2048) - 1_u8;
    let wide = BigUint::from_bytes_be(&base);
    let skips = |exponent: &[u8]| {
        drop(black_box(wide.modpow(&BigUint::from_bytes_be(exponent), &prime)));
    };
    let t = welch_of(powers / 10, [&ones, &one], &skips);
    println!("{:<40} t = {t:>8.2}", "(one that skips zeros)");
    assert!(t.abs() > 4.5, "this test is blind here");
    let long = vec![9; 256];
    let t = welch(samples, &long, &|shown| stops_early(&long, shown));
    println!("{:<40} t = {t:>8.2}", "(one that stops at the first difference)");
    assert!(t.abs() > 4.5, "this test is blind here");
    assert!(constant, "a secret shows in the time that it takes");
}

fn told(name: &str, t: f64) -> bool {
    println!("{name:<40} t = {t:>8.2}");
    t.abs() < 4.5
}

/// A packet, and who opens it.
fn esp_packet(suite: Suite) -> (Vec<u8>, InboundSa) {
    let all = || vec![Selector::addresses([0, 0, 0, 0].into(), [255, 255, 255, 255].into())];
    let key = [3; 64];
    let params = || SaParams {
        spi: NonZeroU32::MIN,
        suite,
        encr_key: &key[..suite.encr_key_len()],
        integ_key: &key[..suite.integ_key_len()],
        esn: true,
        selectors: Arc::new(Selectors { local: all(), remote: all() }),
        replay_window: 64,
    };
    let mut inner = vec![0; 100];
    inner[..20]
        .copy_from_slice(&[0x45, 0, 0, 100, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 9, 10, 2, 0, 9]);
    let mut packet = vec![0; HEADROOM + inner.len() + TAILROOM];
    let len = OutboundSa::new(params()).unwrap().encap_into(&inner, &mut packet).unwrap();
    packet.truncate(len);
    (packet, InboundSa::new(params()).unwrap())
}

type Check<'c> = &'c dyn Fn(&[u8]) -> bool;

fn stops_early(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| black_box(one) == black_box(other))
}

/// Times wrong values, of which class is decided by a coin, and compares the means of the classes.
fn welch(samples: usize, value: &[u8], is_right: Check<'_>) -> f64 {
    let mut shown = value.to_vec();
    let last = value.len() - 1;
    difference(samples, |class| {
        // Both places are written in both cases, so that the caches know no difference.
        shown[0] = value[0] ^ u8::from(class);
        shown[last] = value[last] ^ u8::from(!class);
        let begun = Instant::now();
        let right = is_right(black_box(&shown));
        let took = begun.elapsed();
        assert!(!right);
        took
    })
}

/// The same for two inputs of one length.
fn welch_of(samples: usize, classes: [&[u8]; 2], run: &dyn Fn(&[u8])) -> f64 {
    let mut input = classes[0].to_vec();
    difference(samples, |class| {
        input.copy_from_slice(classes[usize::from(class)]);
        let begun = Instant::now();
        run(black_box(&input));
        begun.elapsed()
    })
}

/// The t of Welch for what takes its time in two classes.
fn difference(samples: usize, mut measure: impl FnMut(bool) -> Duration) -> f64 {
    let mut coin = 0x9e37_79b9_7f4a_7c15_u64;
    let mut times: Vec<(bool, u64)> = Vec::with_capacity(samples);
    for _ in 0..samples + samples / 20 {
        coin ^= coin << 13;
        coin ^= coin >> 7;
        coin ^= coin << 17;
        let class = coin >> 63 == 1;
        times.push((class, u64::try_from(measure(class).as_nanos()).unwrap()));
    }
    // The first are those of cold caches.
    times.drain(..samples / 20);
    let mut all: Vec<u64> = times.iter().map(|(_, took)| *took).collect();
    all.sort_unstable();
    let most = all[all.len() * 9 / 10];
    let of = |class: bool| {
        times.iter().filter(move |(of, took)| *of == class && *took <= most).map(|(_, took)| *took)
    };
    let (first, second) = (Moments::of(of(true)), Moments::of(of(false)));
    (first.mean - second.mean)
        / (first.variance / first.count + second.variance / second.count).sqrt()
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one call")]
    fn of(times: impl Iterator<Item = u64>) -> Self {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for took in times {
            count += 1.0;
            let far = took as f64 - mean;
            mean += far / count;
            squares += far * (took as f64 - mean);
        }
        Self { count, mean, variance: squares / (count - 1.0) }
    }
}
