//! Which configured child an inner packet belongs to: the SPD of the outbound side (RFC 4301 §4.4.1, §5.1).
//!
//! ```text
//!   rule   local selectors   remote selectors            slot
//!          10.1.0.0/16       10.2.0.0/16, 10.3.0.0/16    0          one line of the table per remote selector,
//!          10.1.0.0/16       10.2.7.0/24                 1          most specific remote range first
//!
//!   table  10.2.7.0/24 ─► 1,  10.2.0.0/16 ─► 0,  10.3.0.0/16 ─► 0          one table per family
//! ```
//!
//! The first line whose remote selector matches the destination and one of whose local selectors matches the source wins.
//! Lines are ordered by the size of the remote range, then by metric (smaller first), then as given. There is no rule that
//! lets a packet through unprotected: what matches nothing is dropped.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use esp::ip::View;
use esp::{Selector, Selectors};

use crate::dataplane::SlotId;

/// What one configured child protects.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The child.
    pub slot: SlotId,
    /// Local: our side. Remote: the peer's side.
    pub selectors: Arc<Selectors>,
    /// Between equally specific rules the smaller wins.
    pub metric: u32,
}

/// All rules, ordered for lookup; immutable, replaced as a whole.
#[derive(Debug, Default)]
pub struct Policy {
    v4: Vec<Line>,
    v6: Vec<Line>,
}

impl Policy {
    /// Orders `rules`. A selector whose end lies before its start, or is of another family, matches nothing and is left out.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let mut policy = Self::default();
        for rule in rules {
            for remote in &rule.selectors.remote {
                let Some(bits) = range_bits(remote) else { continue };
                let line = Line {
                    remote: *remote,
                    selectors: Arc::clone(&rule.selectors),
                    slot: rule.slot,
                    bits,
                    metric: rule.metric,
                };
                if remote.start.is_ipv4() { &mut policy.v4 } else { &mut policy.v6 }.push(line);
            }
        }
        for table in [&mut policy.v4, &mut policy.v6] {
            table.sort_by_key(|line| (Reverse(line.bits), line.metric));
        }
        policy
    }

    /// The child that has to protect `packet`, a packet on its way from our side to the peer's. `None`: nobody's, drop it.
    #[must_use]
    pub fn classify(&self, packet: &View) -> Option<SlotId> {
        let table = if packet.destination.is_ipv4() { &self.v4 } else { &self.v6 };
        table.iter().find(|line| line.matches(packet)).map(|line| line.slot)
    }
}

/// One remote selector of one rule.
#[derive(Debug)]
struct Line {
    remote: Selector,
    selectors: Arc<Selectors>,
    slot: SlotId,
    /// How specific `remote` is; for a prefix, its length.
    bits: u32,
    metric: u32,
}

impl Line {
    fn matches(&self, packet: &View) -> bool {
        self.remote.matches_destination(packet)
            && self.selectors.local.iter().any(|local| local.matches_source(packet))
    }
}

/// The leading bits that all addresses of the range have in common in number: 32 or 128 less the logarithm of its size,
/// rounded down, so that for a prefix it is the prefix length. `None` if the range is empty.
fn range_bits(selector: &Selector) -> Option<u32> {
    let steps = match (selector.start, selector.end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => {
            u128::from(end.to_bits().checked_sub(start.to_bits())?)
        }
        (IpAddr::V6(start), IpAddr::V6(end)) => end.to_bits().checked_sub(start.to_bits())?,
        _ => return None,
    };
    let width = if selector.start.is_ipv4() { 32 } else { 128 };
    Some(width - (u128::BITS - steps.leading_zeros()))
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

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
        Rule { slot: SlotId(slot), selectors: Arc::new(selectors), metric }
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
        assert_eq!(
            slot_of(&Policy::new(std::slice::from_ref(last)), "10.1.0.1", "10.2.0.1"),
            Some(2)
        );
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

    #[test]
    fn the_size_of_a_range_is_a_prefix_length() {
        let cases = [
            ("0.0.0.0", "255.255.255.255", Some(0)),
            ("10.0.0.0", "10.255.255.255", Some(8)),
            ("10.0.0.0", "10.0.0.0", Some(32)),
            ("10.0.0.1", "10.0.0.3", Some(30)),
            ("10.0.0.0", "10.0.0.4", Some(29)),
            ("10.0.0.1", "10.0.0.0", None),
            ("10.0.0.1", "::2", None),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(0)),
            ("2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff", Some(48)),
            ("::1", "::1", Some(128)),
        ];
        for (start, end, bits) in cases {
            let selector = Selector::addresses(start.parse().unwrap(), end.parse().unwrap());
            assert_eq!(range_bits(&selector), bits, "{start} - {end}");
        }
    }
}
