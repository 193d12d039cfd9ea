//! What the benches of packets share: a pair of SAs, one super-packet, bare ciphers, and a table of least times.
//!
//! ```text
//!              front 16          body                              ICV 16
//!   packet   | SPI seq | IV | IP TCP timestamps payload | trailer |     |      what an SA makes and a `Bare` seals and opens
//! ```
//!
//! Whatever an SA needs more than the bare cipher on the same octets is what everything around the cipher costs.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(dead_code, reason = "no bench needs all of it")]
#![allow(clippy::allow_attributes, reason = "what is dead differs from bench to bench")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use esp::{
    Aead, AesKey, Cipher, Gso, GsoKind, InboundSa, Integrity, OutboundSa, PartialChecksum,
    SaParams, Segments, Selector, Selectors, Suite, Train, TrainLimits, VnetHeader, checksum::Sum,
};

pub(crate) const GCM: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits256));
pub(crate) const CBC: Suite =
    Suite::Separate(Cipher::AesCbc(AesKey::Bits256), Integrity::HmacSha2_256_128);

/// Octets before and behind the encrypted part, with GCM.
pub(crate) const FRONT: usize = 16;
pub(crate) const ICV: usize = 16;

const KEY: [u8; 36] = [7; 36];
const WINDOW: u32 = 4096;

/// From 10.1.0.0/16 to 10.2.0.0/16, with ESN: who seals, and who opens.
pub(crate) fn pair(suite: Suite) -> (OutboundSa, InboundSa) {
    let network = |n| {
        let (start, end): (IpAddr, IpAddr) = ([10, n, 0, 0].into(), [10, n, 255, 255].into());
        vec![Selector::addresses(start, end)]
    };
    let params = |local, remote| SaParams {
        spi: NonZeroU32::MIN,
        suite,
        encr_key: &KEY[..suite.encr_key_len()],
        integ_key: &[9; 64][..suite.integ_key_len()],
        esn: true,
        selectors: Arc::new(Selectors { local: network(local), remote: network(remote) }),
        replay_window: WINDOW,
    };
    (OutboundSa::new(params(1, 2)).unwrap(), InboundSa::new(params(2, 1)).unwrap())
}

/// IPv4 and TCP with timestamps, `len` octets in all, no checksums.
pub(crate) fn tcp_packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    packet[..20].copy_from_slice(&[
        0x45, 0, high, low, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 9, 10, 2, 0, 9,
    ]);
    packet[20..52].copy_from_slice(&[
        0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0,
        0, 0, 1, 0, 0, 0, 1,
    ]);
    packet
}

/// What a TUN device gives of a TCP connection: [`PACKETS`] packets of [`MSS`] octets of payload.
pub(crate) fn super_packet() -> (VnetHeader, Vec<u8>) {
    let mut packet = tcp_packet(HEADERS + PACKETS * MSS);
    let len = u16::try_from(packet.len() - 20).unwrap();
    let pseudo = Sum::pseudo_v4([10, 1, 0, 9], [10, 2, 0, 9], 6, len);
    packet[36..38].copy_from_slice(&pseudo.folded().to_be_bytes());
    let vnet = VnetHeader {
        header_len: u16::try_from(HEADERS).unwrap(),
        checksum: Some(PartialChecksum { start: 20, offset: 16 }),
        gso: Some(Gso { kind: GsoKind::TcpV4, size: u16::try_from(MSS).unwrap(), ecn: false }),
    };
    (vnet, packet)
}

pub(crate) const PACKETS: usize = 47;
pub(crate) const MSS: usize = 1386;
/// Octets of IP and TCP headers.
pub(crate) const HEADERS: usize = 52;
/// Octets of each ESP packet of them, with GCM.
pub(crate) const STRIDE: usize = FRONT + HEADERS + MSS + 2 + ICV;
const LIMITS: TrainLimits = TrainLimits { octets: usize::MAX, packets: PACKETS };

/// Splits and seals the super-packet into `wire`, which it fills.
pub(crate) fn send(sa: &mut OutboundSa, vnet: &VnetHeader, packet: &[u8], wire: &mut [u8]) {
    let (mut segments, mut train) = (Segments::new(vnet, packet).unwrap(), Train::at(0));
    sa.encap_segments(&mut segments, wire, &mut train, LIMITS).unwrap();
    assert_eq!(train.range().len(), wire.len());
}

/// AES-256-GCM of a library on the octets of an ESP packet, with the key of [`pair`] and the nonce that lies in it.
pub(crate) trait Bare {
    const NAME: &'static str;
    fn new() -> Self;
    fn seal(&self, packet: &mut [u8]);
    fn open(&self, packet: &mut [u8]);
}

macro_rules! bare {
    ($type:ident, $library:ident) => {
        pub(crate) struct $type($library::aead::LessSafeKey);

        impl Bare for $type {
            const NAME: &'static str = stringify!($library);

            fn new() -> Self {
                use $library::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY[..32]).unwrap()))
            }

            fn seal(&self, packet: &mut [u8]) {
                use $library::aead::{Aad, Nonce};
                let (nonce, aad, body) = split(packet);
                let (body, icv) = body.split_at_mut(body.len() - ICV);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), body).unwrap();
                icv.copy_from_slice(tag.as_ref());
            }

            fn open(&self, packet: &mut [u8]) {
                use $library::aead::{Aad, Nonce};
                let (nonce, aad, body) = split(packet);
                let nonce = Nonce::assume_unique_for_key(nonce);
                self.0.open_in_place(nonce, Aad::from(aad), body).unwrap();
            }
        }
    };
}

bare!(Ring, ring);
#[cfg(feature = "aws-lc")]
bare!(AwsLc, aws_lc_rs);

/// The library that the SAs use.
#[cfg(not(feature = "aws-lc"))]
pub(crate) type Backend = Ring;
#[cfg(feature = "aws-lc")]
pub(crate) type Backend = AwsLc;

/// Nonce, AAD, and the body with the ICV. The high half of the sequence number is 0.
fn split(packet: &mut [u8]) -> ([u8; 12], [u8; 12], &mut [u8]) {
    let (front, body) = packet.split_first_chunk_mut::<FRONT>().unwrap();
    let [s0, s1, s2, s3, l0, l1, l2, l3, iv @ ..] = *front;
    let [i0, i1, i2, i3, i4, i5, i6, i7] = iv;
    let nonce = [7, 7, 7, 7, i0, i1, i2, i3, i4, i5, i6, i7];
    (nonce, [s0, s1, s2, s3, 0, 0, 0, 0, l0, l1, l2, l3], body)
}

/// Criterion with less time for each of many, unless the command line says otherwise.
pub(crate) fn short() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// Least times in nanoseconds a packet, by name.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<String, f64>);

impl Table {
    /// Measures `run`, which takes `packets` packets, with criterion; `prepare` runs before each and is not counted.
    pub(crate) fn measure<S: ?Sized>(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        (name, packets): (&str, usize),
        state: &mut S,
        mut prepare: impl FnMut(&mut S),
        mut run: impl FnMut(&mut S),
    ) {
        let mut least = f64::INFINITY;
        group.throughput(Throughput::Elements(packets as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut round = || {
                    prepare(state);
                    let begin = Instant::now();
                    run(state);
                    let elapsed = begin.elapsed();
                    least = least.min(elapsed.as_secs_f64() * 1e9);
                    elapsed
                };
                (0..rounds).map(|_| round()).sum()
            });
        });
        if least.is_finite() {
            #[expect(clippy::cast_precision_loss, reason = "a few packets")]
            self.0.insert(name.to_owned(), least / packets as f64);
        }
    }

    /// Prints all; beside each `name` what it takes more than its `name/bare`.
    pub(crate) fn print(&self) {
        eprintln!("\n{:<28} {:>10} {:>13}", "", "ns, least", "around it, ns");
        for (name, time) in &self.0 {
            match self.0.get(&format!("{name}/{}", Backend::NAME)) {
                Some(bare) => eprintln!("{name:<28} {time:>10.1} {:>13.1}", time - bare),
                None => eprintln!("{name:<28} {time:>10.1}"),
            }
        }
    }
}
