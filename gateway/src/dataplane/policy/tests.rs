//! What the policy means, and that the table finds what a walk over every line finds.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use esp::ip::Upper;
use ipnet::IpNet;

use self::linear::Linear;
use super::*;

fn selectors(networks: &[&str]) -> Vec<Selector> {
    let range = |text: &&str| {
        let network: IpNet = text.parse().unwrap();
        Selector::addresses(network.network(), network.broadcast())
    };
    networks.iter().map(range).collect()
}

fn rule(slot: u32, local: &[&str], remote: &[&str], metric: u32) -> Rule {
    let selectors = Selectors { local: selectors(local), remote: selectors(remote) };
    Rule {
        slot: SlotId(slot),
        selectors: Arc::new(selectors),
        rank: Rank { metric, ..Rank::default() },
    }
}

/// A packet without anything above IP.
fn packet(source: &str, destination: &str) -> View {
    let (source, destination): (IpAddr, IpAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let mut octets = vec![0; if source.is_ipv4() { 20 } else { 40 }];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            octets[..4].copy_from_slice(&[0x45, 0, 0, 20]);
            octets[9] = 59;
            octets[12..16].copy_from_slice(&source.octets());
            octets[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            octets[0] = 0x60;
            octets[6] = 59;
            octets[8..24].copy_from_slice(&source.octets());
            octets[24..40].copy_from_slice(&destination.octets());
        }
        _ => panic!("one family"),
    }
    View::parse(&octets).unwrap()
}

fn slot_of(policy: &Policy, source: &str, destination: &str) -> Option<u32> {
    policy.classify(&packet(source, destination)).map(|slot| slot.0)
}

#[test]
fn a_packet_has_to_match_both_sides() {
    let policy = Policy::new(&[rule(3, &["10.1.0.0/16"], &["10.2.0.0/16"], 0)]);
    assert_eq!(slot_of(&policy, "10.1.2.3", "10.2.3.4"), Some(3));
    assert_eq!(slot_of(&policy, "10.2.2.3", "10.2.3.4"), None);
    assert_eq!(slot_of(&policy, "10.1.2.3", "10.3.3.4"), None);
    assert_eq!(slot_of(&policy, "10.2.3.4", "10.1.2.3"), None, "the way back is not ours");
    assert_eq!(slot_of(&Policy::default(), "10.1.2.3", "10.2.3.4"), None);
}

#[test]
fn the_most_specific_remote_range_wins_whatever_the_order() {
    let wide = rule(0, &["0.0.0.0/0"], &["0.0.0.0/0", "10.2.0.0/16"], 0);
    let narrow = rule(1, &["10.1.0.0/16"], &["10.2.7.0/24"], 9);
    for rules in [[wide.clone(), narrow.clone()], [narrow, wide]] {
        let policy = Policy::new(&rules);
        assert_eq!(slot_of(&policy, "10.1.0.1", "10.2.7.1"), Some(1));
        assert_eq!(slot_of(&policy, "10.1.0.1", "10.2.8.1"), Some(0));
        assert_eq!(slot_of(&policy, "10.9.0.1", "10.2.7.1"), Some(0), "falls through");
        assert_eq!(slot_of(&policy, "10.1.0.1", "8.8.8.8"), Some(0));
    }
}

#[test]
fn between_equals_the_metric_decides_and_then_the_order() {
    let rules = [
        rule(0, &["10.1.0.0/16"], &["10.2.0.0/16"], 20),
        rule(1, &["10.1.0.0/16"], &["10.2.0.0/16"], 10),
        rule(2, &["10.1.0.0/16"], &["10.2.0.0/16"], 10),
    ];
    assert_eq!(slot_of(&Policy::new(&rules), "10.1.0.1", "10.2.0.1"), Some(1));
    let [_, _, last] = &rules;
    assert_eq!(slot_of(&Policy::new(std::slice::from_ref(last)), "10.1.0.1", "10.2.0.1"), Some(2));
}

#[test]
fn what_can_carry_goes_before_the_metric_and_the_size_of_the_range_before_both() {
    let with = |slot, remote: &str, metric, standing| Rule {
        rank: Rank { standing, metric },
        ..rule(slot, &["10.1.0.0/16"], &[remote], metric)
    };
    let first = |standings: [Standing; 2]| {
        let [one, other] = standings;
        let rules = [with(0, "10.2.0.0/16", 10, one), with(1, "10.2.0.0/16", 20, other)];
        slot_of(&Policy::new(&rules), "10.1.0.1", "10.2.0.1")
    };
    assert_eq!(first([Standing::Good, Standing::Good]), Some(0));
    assert_eq!(first([Standing::Down, Standing::Good]), Some(1));
    assert_eq!(first([Standing::Doubtful, Standing::Good]), Some(1));
    assert_eq!(first([Standing::Doubtful, Standing::Down]), Some(0));
    assert_eq!(first([Standing::Down, Standing::Down]), Some(0));
    let rules =
        [with(0, "10.2.0.0/24", 10, Standing::Down), with(1, "10.2.0.0/16", 20, Standing::Good)];
    assert_eq!(slot_of(&Policy::new(&rules), "10.1.0.1", "10.2.0.1"), Some(0));
}

#[test]
fn families_do_not_mix() {
    let rules = [
        rule(4, &["0.0.0.0/0"], &["0.0.0.0/0"], 0),
        rule(6, &["2001:db8:1::/48"], &["2001:db8:2::/48", "::/0"], 0),
    ];
    let policy = Policy::new(&rules);
    assert_eq!(slot_of(&policy, "10.1.0.1", "10.2.0.1"), Some(4));
    assert_eq!(slot_of(&policy, "2001:db8:1::1", "2001:db8:2::1"), Some(6));
    assert_eq!(slot_of(&policy, "2001:db8:9::1", "2001:db8:2::1"), None);
}

#[test]
fn ports_and_protocols_count() {
    let mut rule = rule(0, &["10.1.0.0/16"], &["10.2.0.0/16"], 0);
    Arc::make_mut(&mut rule.selectors).remote[0].protocol = 6;
    let policy = Policy::new(&[rule]);
    assert_eq!(slot_of(&policy, "10.1.0.1", "10.2.0.1"), None);
    let mut tcp = packet("10.1.0.1", "10.2.0.1");
    tcp.protocol = 6;
    assert_eq!(policy.classify(&tcp), Some(SlotId(0)));
}

/// The oracle: every line is looked at, in order.
mod linear {
    use std::cmp::Reverse;

    use super::*;

    pub(super) struct Linear(Vec<Line>);

    struct Line {
        remote: Selector,
        rule: Rule,
        /// For a prefix, its length; else that of the smallest prefix of as many addresses.
        bits: u32,
    }

    impl Linear {
        pub(super) fn new(rules: &[Rule]) -> Self {
            let mut lines = Vec::new();
            for rule in rules {
                for remote in &rule.selectors.remote {
                    let Some(bits) = range_bits(remote) else { continue };
                    lines.push(Line { remote: *remote, rule: rule.clone(), bits });
                }
            }
            lines.sort_by_key(|line| (Reverse(line.bits), line.rule.rank));
            Self(lines)
        }

        pub(super) fn classify(&self, packet: &View) -> Option<SlotId> {
            let matches = |line: &&Line| {
                line.remote.matches_destination(packet)
                    && line.rule.selectors.local.iter().any(|local| local.matches_source(packet))
            };
            self.0.iter().find(matches).map(|line| line.rule.slot)
        }
    }

    fn range_bits(selector: &Selector) -> Option<u32> {
        let (steps, width) = match (selector.start, selector.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                (u128::from(end.to_bits().checked_sub(start.to_bits())?), 32)
            }
            (IpAddr::V6(start), IpAddr::V6(end)) => {
                (end.to_bits().checked_sub(start.to_bits())?, 128)
            }
            _ => return None,
        };
        Some(
            (0..=width)
                .rev()
                .find(|bits| steps >> (width - bits).min(127) <= u128::from(width - bits == 128))
                .unwrap(),
        )
    }
}

/// Random rules and packets from few addresses, so that ranges overlap, repeat, and meet the packets.
mod random {
    use esp::{ANY_PORT, OPAQUE_PORT};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// An address near one of few networks.
    fn v4() -> impl Strategy<Value = u32> {
        let bases =
            select(vec![0x0a01_0000_u32, 0x0a02_0000, 0x0a02_ff00, 0x7fff_fffe, 0, u32::MAX]);
        (bases, 0_u32..6, 0_u32..4).prop_map(|(base, near, far)| base.wrapping_add(near | far << 8))
    }

    fn v6() -> impl Strategy<Value = u128> {
        let bases =
            select(vec![0x2001_0db8_u128 << 96, 0xfd00 << 112, u128::MAX >> 1, 0, u128::MAX]);
        (bases, 0_u128..6, 0_u128..4)
            .prop_map(|(base, near, far)| base.wrapping_add(near | far << 80))
    }

    /// Prefixes of every length, ranges that are none, ranges whose end lies before their start.
    fn range() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        let lengths = select(vec![0_u32, 1, 8, 15, 16, 17, 22, 24, 29, 30, 31, 32]);
        let v4_prefix = (v4(), lengths.clone()).prop_map(|(address, length)| {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            (address & !host, address | host)
        });
        let v6_prefix = (v6(), lengths).prop_map(|(address, length)| {
            let host = u128::MAX.checked_shr(length * 4).unwrap_or(0);
            (address & !host, address | host)
        });
        let to_v4 = |(start, end): (u32, u32)| (IpAddr::V4(start.into()), IpAddr::V4(end.into()));
        let to_v6 = |(start, end): (u128, u128)| (IpAddr::V6(start.into()), IpAddr::V6(end.into()));
        let near = |(start, steps): (u32, u32)| (start, start.saturating_add(steps));
        prop_oneof![
            6 => v4_prefix.prop_map(to_v4),
            2 => (v4(), 0_u32..700).prop_map(near).prop_map(to_v4),
            1 => (v4(), v4()).prop_map(to_v4),
            3 => v6_prefix.prop_map(to_v6),
            1 => (v6(), v6()).prop_map(to_v6),
            1 => (v4(), v6()).prop_map(|(v4, v6)| (IpAddr::V4(v4.into()), IpAddr::V6(v6.into()))),
        ]
    }

    fn selector() -> impl Strategy<Value = Selector> {
        let protocol = prop_oneof![4 => Just(0_u8), 1 => select(vec![6_u8, 17, 1])];
        let ports = prop_oneof![
            4 => Just(ANY_PORT),
            1 => select(vec![OPAQUE_PORT, (53, 53), (1, 100), (0x0800, 0x08ff)]),
        ];
        (range(), protocol, ports).prop_map(|((start, end), protocol, ports)| Selector {
            protocol,
            ports,
            start,
            end,
        })
    }

    /// Many rules with few selectors, or few rules with many.
    pub(super) fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let rules = |count, selectors: usize| {
            let side = move || prop::collection::vec(selector(), 0..=selectors);
            prop::collection::vec((side(), side(), 0_u32..6), 0..count)
        };
        // With one and the same remote selector the sources decide.
        let shared = (selector(), rules(60, 2)).prop_map(|(remote, mut rules)| {
            for rule in &mut rules {
                rule.1 = vec![remote];
            }
            rules
        });
        prop_oneof![rules(60, 2), rules(6, 20), shared].prop_map(|rules| {
            let rule = |(slot, (local, remote, metric))| Rule {
                slot: SlotId(slot),
                selectors: Arc::new(Selectors { local, remote }),
                rank: rank(metric),
            };
            (0..).zip(rules).map(rule).collect()
        })
    }

    fn rank(number: u32) -> Rank {
        let standing = [Standing::Good, Standing::Down][number as usize % 2];
        Rank { standing, metric: number / 2 }
    }

    pub(super) fn view() -> impl Strategy<Value = View> {
        let ports = (select(vec![1_u16, 53, 100, 101]), select(vec![0_u16, 53, 65_535]));
        let upper = prop_oneof![
            ports.prop_map(|(source, destination)| Upper::Ports { source, destination }),
            select(vec![0x0800_u16, 0]).prop_map(Upper::Type),
            Just(Upper::Opaque),
        ];
        let to_v4 = |(a, b): (u32, u32)| (IpAddr::V4(a.into()), IpAddr::V4(b.into()));
        let to_v6 = |(a, b): (u128, u128)| (IpAddr::V6(a.into()), IpAddr::V6(b.into()));
        let addresses = prop_oneof![(v4(), v4()).prop_map(to_v4), (v6(), v6()).prop_map(to_v6)];
        (addresses, select(vec![6_u8, 17, 1, 58]), upper).prop_map(
            |(addresses, protocol, upper)| {
                let (source, destination) = addresses;
                View { source, destination, protocol, upper, ..packet("10.0.0.1", "10.0.0.2") }
            },
        )
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

    #[test]
    fn the_table_finds_what_looking_at_every_line_finds(
        rules in random::rules(),
        views in proptest::collection::vec(random::view(), 40),
    ) {
        let (policy, linear) = (Policy::new(&rules), Linear::new(&rules));
        for view in views {
            proptest::prop_assert_eq!(policy.classify(&view), linear.classify(&view), "{:?}", view);
        }
    }
}

/// The shapes that many tunnels have: each remote network its own, all remote networks the same, host routes, IPv6. A tenth
/// of the ranges are no prefixes.
#[test]
fn ten_thousand_rules_of_each_shape_are_told_apart() {
    let network = |i: u32| format!("10.{}.{}.0/24", i >> 8, i & 255);
    let sides = |i: u32| match i % 4 {
        0 => ("172.16.0.0/16".to_owned(), network(i / 4)),
        1 => (network(i / 4), "0.0.0.0/0".to_owned()),
        2 => ("172.16.0.0/16".to_owned(), network(i / 4).replace(".0/24", ".9/32")),
        _ => (format!("fd00:{i:x}::/32"), format!("2001:db8:{i:x}::/48")),
    };
    let mut rules = vec![rule(40_000, &["172.16.0.0/16"], &["10.0.0.0/8"], 0)];
    for i in 0..40_000 {
        let (local, remote) = sides(i);
        let mut rule = rule(i, &[&local], &[&remote], i % 3);
        if let [Selector { start: IpAddr::V4(start), end, .. }] =
            Arc::make_mut(&mut rule.selectors).remote.as_mut_slice()
            && i % 40 == 0
        {
            *start = Ipv4Addr::from_bits(start.to_bits() + 1);
            *end = IpAddr::V4(Ipv4Addr::from_bits(start.to_bits() + 299));
        }
        rules.push(rule);
    }
    let (policy, linear) = (Policy::new(&rules), Linear::new(&rules));
    let mut found = BTreeSet::new();
    for [from, to] in rules.windows(2).step_by(53).flat_map(|pair| {
        let [one, other] = pair else { panic!("a pair") };
        [[one, one], [one, other]]
    }) {
        let (source, destination) = (from.selectors.local[0].end, to.selectors.remote[0].end);
        if source.is_ipv4() == destination.is_ipv4() {
            let view = packet(&source.to_string(), &destination.to_string());
            let slot = policy.classify(&view);
            assert_eq!(slot, linear.classify(&view), "{view:?}");
            found.extend(slot);
        }
    }
    assert!(found.len() > 500, "only {} rules were met", found.len());
}

#[test]
fn who_is_behind_a_peer_is_told_from_who_is_behind_us() {
    let beyond = |rules: &[Rule], address: &str| {
        Policy::new(rules).is_beyond(address.parse().expect("an address"))
    };
    let all = [rule(0, &["10.1.0.0/16"], &["0.0.0.0/0"], 0)];
    assert!(!beyond(&all, "10.1.0.1") && beyond(&all, "192.0.2.9"), "everything is beyond");
    // A hub: what is behind one peer is a local network of another connection.
    let hub = [
        rule(0, &["10.0.0.0/8"], &["10.2.0.0/16"], 0),
        rule(1, &["10.2.0.0/16"], &["10.3.0.0/16"], 0),
    ];
    assert!(beyond(&hub, "10.2.0.1") && beyond(&hub, "10.3.0.1") && !beyond(&hub, "10.9.0.1"));
    assert!(!beyond(&[], "10.1.0.1") && !beyond(&hub, "192.0.2.9") && !beyond(&hub, "2001:db8::1"));
    assert!(Policy::new(&hub).leads_to([10, 3, 0, 1].into()));
    assert!(!Policy::new(&hub).leads_to([10, 4, 0, 1].into()));
}
