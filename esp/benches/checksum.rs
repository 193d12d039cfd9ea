//! What the internet checksum costs: an IPv4 header, a small packet, one of full size, a piece of a super-packet.
//!
//! ```text
//!   cargo bench -p esp --bench checksum      checksum::Sum::of beside the plain loop
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use esp::checksum::Sum;

/// Octets: header, least Ethernet frame, full packet, and what no longer waits for the start of the loop.
const SIZES: [usize; 4] = [20, 64, 1400, 8192];

/// What the compiler makes of the obvious code for the instruction set that every x86-64 has.
fn plain(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum();
    rest.iter().rev().fold(sum, |sum, octet| sum + u64::from(*octet))
}

fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for size in SIZES {
        let octets: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("Sum::of", size), &octets, |bencher, octets| {
            bencher.iter(|| Sum::of(black_box(octets)).finish());
        });
        group.bench_with_input(BenchmarkId::new("plain", size), &octets, |bencher, octets| {
            bencher.iter(|| plain(black_box(octets)));
        });
    }
    group.finish();
}

criterion_group!(benches, sums);
criterion_main!(benches);
