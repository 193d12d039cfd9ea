//! Which configured child the peer's selectors mean, and what is left of them (RFC 7296 §2.9), as a pure function.
//!
//! ```text
//!   TSi, TSr ──► every configured child, or every pair of it ──► narrowed ──► the best:
//!
//!      1  takes the first selectors of TSi and TSr: those of the packet at hand, which the answer then MUST include
//!      2  exactly what is configured
//!      3  has the most in common
//!      4  stands first in the configuration
//! ```
//!
//! If no child takes the first selectors, the best of the others is narrowed to (§2.9, fourth rule).

use super::slot::{Slot, is_divisible, pairs};
use crate::config::{ChildConfig, Pairing, PeerConfig};
use crate::wire::selector::narrow;
use crate::wire::traffic::{Traffic, contains};

/// What we make of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Which child it is.
    pub(super) slot: Slot,
    /// What may travel in it.
    pub(super) traffic: Traffic,
    /// Whether more of the offer would be acceptable, but in another child (ADDITIONAL_TS_POSSIBLE).
    pub(super) more: bool,
}

/// Chooses among all configured children. `offer` is what the peer wants, seen from our side; `None`: nothing in common.
pub(super) fn choose(peer: &PeerConfig, offer: &Traffic) -> Option<Choice> {
    let candidates: Vec<Candidate> = peer
        .live_children()
        .flat_map(|(index, child)| slots(index, child).map(move |slot| (slot, child)))
        .filter_map(|(slot, child)| Candidate::new(slot, child, offer))
        .collect();
    // `max_by` takes the last of equals, the first one is wanted.
    let best = candidates.iter().rev().max_by(|a, b| a.rank.total_cmp(&b.rank))?;
    let child = peer.child(best.slot.config)?;
    let slot = if best.slot.pair.is_some() {
        best.slot
    } else {
        Slot::of(best.slot.config, child, &best.traffic)
    };
    let elsewhere = |other: &Candidate| !best.traffic.contains(&other.traffic);
    let more = !best.traffic.contains(offer) && candidates.iter().any(elsewhere);
    Some(Choice { slot, traffic: best.traffic.clone(), more })
}

/// What is left of an offer in the place of a child that carries, or may carry, `scope` (RFC 7296 §2.9.2).
pub(super) fn rekeyed(slot: Slot, scope: &Traffic, offer: &Traffic) -> Option<Choice> {
    let traffic = common(offer, scope)?;
    Some(Choice { slot, traffic, more: false })
}

/// The children that a configuration may have, as a responder sees them.
fn slots(config: usize, child: &ChildConfig) -> impl Iterator<Item = Slot> + use<> {
    let by_pairs = child.pairing == Pairing::Single && is_divisible(child);
    let pairs = if by_pairs { pairs(child) } else { Vec::new() };
    let whole = (!by_pairs).then_some(Slot::whole(config));
    whole.into_iter().chain(pairs.into_iter().map(move |pair| Slot { config, pair: Some(pair) }))
}

struct Candidate {
    slot: Slot,
    traffic: Traffic,
    rank: Rank,
}

impl Candidate {
    fn new(slot: Slot, child: &ChildConfig, offer: &Traffic) -> Option<Self> {
        let configured = slot.traffic(child);
        let traffic = common(offer, &configured)?;
        let first = |list: &[_], into: &[_]| list.first().is_some_and(|f| contains(into, &[*f]));
        let takes_first =
            first(&offer.local, &traffic.local) && first(&offer.remote, &traffic.remote);
        let exact = traffic.contains(offer) && traffic.contains(&configured);
        let breadth = breadth(&traffic.local) * breadth(&traffic.remote);
        Some(Self { slot, traffic, rank: Rank { takes_first, exact, breadth } })
    }
}

fn common(offer: &Traffic, ours: &Traffic) -> Option<Traffic> {
    let traffic =
        Traffic::new(narrow(&offer.local, &ours.local), narrow(&offer.remote, &ours.remote));
    (!traffic.is_empty()).then_some(traffic)
}

fn breadth(selectors: &[crate::wire::selector::TrafficSelector]) -> f64 {
    selectors.iter().map(crate::wire::selector::TrafficSelector::breadth).sum()
}

struct Rank {
    takes_first: bool,
    exact: bool,
    breadth: f64,
}

impl Rank {
    fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
        let whether = (self.takes_first, self.exact).cmp(&(other.takes_first, other.exact));
        whether.then(self.breadth.total_cmp(&other.breadth))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::Psk;
    use crate::wire::selector::TrafficSelector;

    fn net(text: &str) -> TrafficSelector {
        let (address, len) = text.split_once('/').unwrap();
        TrafficSelector::subnet(address.parse().unwrap(), len.parse().unwrap())
    }

    fn nets(list: &str) -> Vec<TrafficSelector> {
        list.split_whitespace().map(net).collect()
    }

    fn traffic(text: &str) -> Traffic {
        let (local, remote) = text.split_once('=').unwrap();
        Traffic::new(nets(local), nets(remote))
    }

    /// Children written as `local.. = remote..`; a leading `!` means one child for each pair.
    fn peer(children: &[&str]) -> PeerConfig {
        let mut peer = PeerConfig::new("peer", Psk::new(vec![1]), Vec::new());
        for text in children {
            let Traffic { local, remote } = traffic(text.trim_start_matches('!'));
            let mut child = ChildConfig::new("child", local, remote, Vec::new());
            if text.starts_with('!') {
                child.pairing = Pairing::Single;
            }
            peer.children.push(child);
        }
        peer
    }

    /// `child: local <-> remote`, with `+` if more is possible elsewhere.
    fn chosen(children: &[&str], offer: &str) -> String {
        let Some(choice) = choose(&peer(children), &traffic(offer)) else { return "none".into() };
        let more = if choice.more { " +" } else { "" };
        format!("{}: {}{more}", choice.slot.config, choice.traffic)
    }

    #[test]
    fn the_best_child_is_chosen_and_not_the_first_that_meets() {
        let wide = "10.0.0.0/8 = 10.0.0.0/8";
        let exact = "10.1.0.0/16 = 10.2.0.0/16";
        let narrow = "10.1.1.0/24 = 10.2.0.0/16";
        let whole = "10.1.0.0/16 <-> 10.2.0.0/16";
        for children in [[wide, exact, narrow], [narrow, wide, exact], [exact, narrow, wide]] {
            let at = children.iter().position(|child| *child == exact).unwrap();
            assert_eq!(chosen(&children, exact), format!("{at}: {whole}"), "{children:?}");
        }
        assert_eq!(chosen(&[narrow, wide], exact), format!("1: {whole}"), "the most in common");
        assert_eq!(chosen(&[narrow], exact), "0: 10.1.1.0/24 <-> 10.2.0.0/16");
        assert_eq!(chosen(&[exact, exact], exact), format!("0: {whole}"), "the first of equals");
        assert_eq!(chosen(&[exact], "10.3.0.0/16 = 10.2.0.0/16"), "none");
        assert_eq!(chosen(&[], exact), "none");
    }

    #[test]
    fn the_packet_at_hand_decides_before_everything_else() {
        let children = ["10.1.0.0/16 = 10.2.0.0/16", "10.3.7.0/24 = 10.4.0.0/16"];
        let offer = "10.3.7.9/32 10.0.0.0/8 = 10.4.0.1/32 10.0.0.0/8";
        assert_eq!(chosen(&children, offer), "1: 10.3.7.0/24 <-> 10.4.0.0/16 +");
        // Only one half of the packet fits: that is none (RFC 7296 §2.9 wants both).
        let offer = "10.3.7.9/32 10.0.0.0/8 = 10.2.0.1/32 10.0.0.0/8";
        assert_eq!(chosen(&children, offer), "0: 10.1.0.0/16 <-> 10.2.0.0/16 +");
        // The packet fits nowhere: the rest is narrowed all the same.
        let offer = "10.9.9.9/32 10.0.0.0/8 = 10.4.0.1/32 10.0.0.0/8";
        assert_eq!(chosen(&children[1..], offer), "0: 10.3.7.0/24 <-> 10.4.0.0/16");
    }

    #[test]
    fn one_pair_at_a_time_where_that_is_wanted() {
        let child = "!10.1.0.0/16 10.3.0.0/16 = 10.2.0.0/16 10.4.0.0/16";
        let all = "10.1.0.0/16 10.3.0.0/16 = 10.2.0.0/16 10.4.0.0/16";
        assert_eq!(chosen(&[child], all), "0: 10.1.0.0/16 <-> 10.2.0.0/16 +");
        let one = "10.3.0.0/16 = 10.4.0.0/16";
        assert_eq!(chosen(&[child], one), "0: 10.3.0.0/16 <-> 10.4.0.0/16");
        let peer = peer(&[child]);
        assert_eq!(choose(&peer, &traffic(one)).unwrap().slot.pair, Some((1, 1)));
        let packet = "10.3.0.1/32 10.0.0.0/8 = 10.2.0.1/32 10.0.0.0/8";
        assert_eq!(chosen(&[child], packet), "0: 10.3.0.0/16 <-> 10.2.0.0/16 +");
    }

    #[test]
    fn more_is_possible_only_where_something_was_cut_off_and_is_configured() {
        let both = ["10.1.0.0/16 = 10.2.0.0/16", "10.3.0.0/16 = 10.2.0.0/16"];
        assert_eq!(chosen(&both, "10.1.0.0/16 = 10.2.0.0/16"), "0: 10.1.0.0/16 <-> 10.2.0.0/16");
        assert_eq!(chosen(&both, "10.0.0.0/8 = 10.2.0.0/16"), "0: 10.1.0.0/16 <-> 10.2.0.0/16 +");
        assert_eq!(
            chosen(&both[..1], "10.0.0.0/8 = 10.2.0.0/16"),
            "0: 10.1.0.0/16 <-> 10.2.0.0/16"
        );
    }

    #[test]
    fn a_removed_child_is_never_chosen() {
        let mut peer = peer(&["10.1.0.0/16 = 10.2.0.0/16", "10.0.0.0/8 = 10.0.0.0/8"]);
        peer.children[0].removed = true;
        let choice = choose(&peer, &traffic("10.1.0.0/16 = 10.2.0.0/16")).unwrap();
        assert_eq!(choice.slot.config, 1);
    }

    #[test]
    fn the_breadth_of_every_address_is_a_number() {
        let any = [TrafficSelector::any_v6(), TrafficSelector::host(IpAddr::from([10, 0, 0, 1]))];
        assert!(breadth(&any).is_finite() && breadth(&any[..1]) > breadth(&any[1..]));
    }
}
