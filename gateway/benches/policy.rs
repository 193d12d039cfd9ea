//! What one more tunnel costs the others when an outbound packet is looked up in the policy: 1, 100 and 10 000 rules.
//!
//! ```text
//!   cargo bench -p gateway --bench policy              times, and last a table with their ratio to one rule
//!   cargo bench -p gateway --bench policy -- flow      only what a stream of one packet after the other costs
//!
//!   name    rule i has local          remote
//!   hub     172.16.0.0/16             10.x.y.0/24       the hub of many sites
//!   spoke   10.x.y.0/24               0.0.0.0/0         the same seen from the other side
//!   host    172.16.0.0/16             10.0.x.y/32       peers with one address
//!   v6      fd00::/48                 2001:db8..::/48   the hub over IPv6
//!   mixed   both families; remote lengths /12 to /32 and 0.0.0.0/0, /48 and /56; a tenth are ranges that are no prefixes
//! ```
//!
//! Hits and misses come as a stream in which each packet is for a tunnel at random (`hit`), from a source or for a destination
//! that is nobody's (`miss`), or for one and the same tunnel (`flow`). What grows with the number of rules are the misses of
//! the processor's caches.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use esp::ip::{Fragment, Upper, View};
use esp::{Selector, Selectors};
use gateway::dataplane::{Policy, Rank, Rule, SlotId};

const SIZES: [u32; 3] = [1, 100, 10_000];

/// Packets of one stream; many more than tunnels would only measure memory.
const STREAM: usize = 4096;

/// Least time of one operation in nanoseconds, by name and number of rules.
type Times = BTreeMap<(String, u32), f64>;

/// A shape of configuration: the two sides of rule `i`.
struct Shape {
    name: &'static str,
    sides: fn(u32) -> (Selector, Selector),
}

const SHAPES: [Shape; 5] = [
    Shape { name: "hub", sides: |i| (v4(SITE, 16), v4(TEN | i << 8, 24)) },
    Shape { name: "spoke", sides: |i| (v4(TEN | i << 8, 24), v4(0, 0)) },
    Shape { name: "host", sides: |i| (v4(SITE, 16), v4(TEN | i, 32)) },
    Shape { name: "v6", sides: |i| (v6(SITE6, 48), v6(DOC6 | u128::from(i) << 80, 48)) },
    Shape { name: "mixed", sides: mixed },
];

const TEN: u32 = 0x0a00_0000;
const SITE: u32 = 0xac10_0000;
const SITE6: u128 = 0xfd00 << 112;
const DOC6: u128 = 0x2001_0db8 << 96;

fn v4(address: u32, bits: u32) -> Selector {
    let last = address | u32::MAX.checked_shr(bits).unwrap_or(0);
    Selector::addresses(Ipv4Addr::from_bits(address).into(), Ipv4Addr::from_bits(last).into())
}

fn v6(address: u128, bits: u32) -> Selector {
    let last = address | u128::MAX.checked_shr(bits).unwrap_or(0);
    Selector::addresses(Ipv6Addr::from_bits(address).into(), Ipv6Addr::from_bits(last).into())
}

fn mixed(i: u32) -> (Selector, Selector) {
    let network = TEN | i << 8;
    match i % 10 {
        0 => {
            let ends = [network + 3, network + 200].map(Ipv4Addr::from_bits);
            (v4(SITE, 16), Selector::addresses(ends[0].into(), ends[1].into()))
        }
        1 => (v6(SITE6, 48), v6(DOC6 | u128::from(i) << 80, 48)),
        2 => (v6(SITE6, 48), v6(DOC6 | u128::from(i) << 72, 56)),
        3 => (v4(network, 24), v4(0, 0)),
        4 => (v4(network, 24), v4(TEN | (i % 16) << 20, 12)),
        digit => (v4(SITE, 16), v4(network, 22 + digit)),
    }
}

fn rules(shape: &Shape, size: u32) -> Vec<Rule> {
    let rule = |i| {
        let (local, remote) = (shape.sides)(i);
        let selectors = Arc::new(Selectors { local: vec![local], remote: vec![remote] });
        Rule { slot: SlotId(i), selectors, rank: Rank::default() }
    };
    (0..size).map(rule).collect()
}

/// A packet from and to addresses of the given ranges.
fn packet(source: &Selector, destination: &Selector, dice: &mut u64) -> View {
    let upper = Upper::Ports { source: 40_000, destination: 443 };
    View {
        total_len: 1400,
        header_len: if destination.start.is_ipv4() { 20 } else { 40 },
        traffic_class: 0,
        source: inside(source, dice),
        destination: inside(destination, dice),
        protocol: 6,
        upper,
        fragment: Fragment::Whole,
        dont_fragment: true,
    }
}

fn inside(range: &Selector, dice: &mut u64) -> IpAddr {
    let roll = u128::from(roll(dice));
    match (range.start, range.end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => {
            let steps = u128::from(end.to_bits() - start.to_bits()) + 1;
            Ipv4Addr::from_bits(start.to_bits() + u32::try_from(roll % steps).unwrap()).into()
        }
        (IpAddr::V6(start), IpAddr::V6(end)) => {
            let steps = (end.to_bits() - start.to_bits()).saturating_add(1);
            Ipv6Addr::from_bits(start.to_bits() + roll % steps).into()
        }
        _ => panic!("one family"),
    }
}

/// A number at random (xorshift64).
fn roll(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

fn stream(shape: &Shape, kind: &str, size: u32) -> Vec<View> {
    let mut dice = 1;
    let nobody =
        |ours: &Selector| if ours.start.is_ipv4() { v4(0xcb00_7100, 24) } else { v6(0, 48) };
    let mut one = || {
        let i = if kind == "flow" {
            size / 2
        } else {
            u32::try_from(roll(&mut dice) % u64::from(size)).unwrap()
        };
        let (local, remote) = (shape.sides)(i);
        match kind {
            // From nobody: what the destination finds is looked at in vain. Every second one is for nobody, too.
            "miss" if roll(&mut dice).is_multiple_of(2) => {
                packet(&nobody(&local), &nobody(&remote), &mut dice)
            }
            "miss" => packet(&nobody(&local), &remote, &mut dice),
            _ => packet(&local, &remote, &mut dice),
        }
    };
    let mut views: Vec<View> = (0..STREAM).map(|_| one()).collect();
    if kind == "flow" {
        let first = views[0];
        views.fill(first);
    }
    views
}

fn run(criterion: &mut Criterion, times: &mut Times) {
    for shape in &SHAPES {
        for size in SIZES {
            let rules = rules(shape, size);
            let policy = Policy::new(&rules);
            for kind in ["hit", "miss", "flow"] {
                let views = stream(shape, kind, size);
                let found =
                    views.iter().all(|view| policy.classify(view).is_some() == (kind != "miss"));
                assert!(
                    found,
                    "{} {kind} {size}: the packets are not what they are called",
                    shape.name
                );
                let name = format!("{}/{kind}", shape.name);
                measure(criterion, times, &name, size, |rounds| {
                    let begin = Instant::now();
                    for view in views.iter().cycle().take(rounds) {
                        black_box(policy.classify(black_box(view)));
                    }
                    begin.elapsed()
                });
            }
            measure(criterion, times, &format!("{}/build", shape.name), size, |rounds| {
                let begin = Instant::now();
                for _ in 0..rounds {
                    black_box(Policy::new(black_box(&rules)));
                }
                begin.elapsed()
            });
        }
    }
}

/// Measures with criterion, and keeps the least time for the table.
fn measure(
    criterion: &mut Criterion,
    times: &mut Times,
    name: &str,
    size: u32,
    mut rounds: impl FnMut(usize) -> Duration,
) {
    let mut least = f64::INFINITY;
    criterion.bench_function(&format!("{name}/{size}"), |bencher| {
        bencher.iter_custom(|count| {
            let elapsed = rounds(usize::try_from(count).unwrap());
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            let nanoseconds = elapsed.as_secs_f64() * 1e9 / count as f64;
            least = least.min(nanoseconds);
            elapsed
        });
    });
    if least.is_finite() {
        times.insert((name.to_owned(), size), least);
    }
}

fn print_table(times: &Times) {
    eprintln!("\n{:<14} {:>7} {:>14} {:>8}", "", "rules", "least ns", "of one");
    for ((name, size), time) in times {
        let one = times.get(&(name.clone(), 1)).copied().unwrap_or(f64::NAN);
        eprintln!("{name:<14} {size:>7} {time:>14.1} {:>8.1}", time / one);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    let mut times = Times::new();
    run(&mut criterion, &mut times);
    print_table(&times);
}
