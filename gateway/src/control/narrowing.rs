//! Whether a child carries all that it was configured for, or the peer has left less of it (RFC 7296 §2.9).
//!
//! ```text
//!   asked for   10.1.0.0/16 ⇄ 10.2.0.0/16
//!   left        10.1.0.0/16 ⇄ 10.2.0.0/24     E1006 ts-narrowed: degraded, since packets to the rest are dropped
//! ```
//!
//! Looked at a moment after an SA came: the peer may want one SA for each pair of networks, which come one by one.
//! Asking for all addresses and taking what is given is a way to configure a peer: of 0.0.0.0/0 only that is missed which
//! is routed into the tunnel.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ikev2::{Traffic, TrafficSelector};
use ipnet::IpNet;

use super::Control;
use super::connection::{Child, Connection};
use crate::config::{self, Routes};
use crate::status::{Reason, reason};

/// What is known of one child.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    /// When to look.
    look_at: Option<Instant>,
    /// What was found.
    found: Option<Reason>,
}

impl Narrowing {
    /// An SA came or went.
    pub(super) fn changed(&mut self, now: Instant) {
        self.look_at = Some(now + SETTLE);
    }

    /// There are no SAs any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Why it is degraded, if it is for this.
    pub(super) const fn reason(&self) -> Option<&Reason> {
        self.found.as_ref()
    }
}

impl Control {
    /// Once a second.
    pub(super) fn look_at_narrowing(&mut self, now: Instant) {
        for connection in &mut self.connections {
            connection.look_at_narrowing(now);
        }
    }
}

impl Connection {
    fn look_at_narrowing(&mut self, now: Instant) {
        let routes = &self.config.routes;
        let conn = &self.config.name;
        for (configured, child) in self.config.children.iter().zip(&mut self.children) {
            // What is not there at all has a reason of its own.
            if child.narrowing.look_at.is_none_or(|at| now < at) || !child.failures.is_empty() {
                continue;
            }
            child.narrowing.look_at = None;
            let found = look(configured, routes, child);
            if child.narrowing.found == found {
                continue;
            }
            let child_name = &configured.name;
            if let Some(found) = &found {
                tracing::warn!(
                    target: "child", event = "narrowed", %conn, child = child_name,
                    reason = found.alert, code = found.code, msg = found.message, fix = found.fix
                );
            } else {
                tracing::info!(target: "child", event = "whole", %conn, child = child_name);
            }
            child.narrowing.found = found;
        }
    }
}

fn look(configured: &config::Child, routes: &Routes, child: &Child) -> Option<Reason> {
    if child.live.is_empty() {
        return None;
    }
    let live = || child.live.iter().map(|(_, traffic)| traffic);
    let left = |side: fn(&Traffic) -> &Vec<TrafficSelector>| -> Vec<TrafficSelector> {
        let mut all: Vec<TrafficSelector> = live().flat_map(side).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let (left_local, left_remote) =
        (left(|traffic| &traffic.local), left(|traffic| &traffic.remote));
    let all_hosts = |network: &&IpNet| network.prefix_len() == 0;
    let locals = configured.local.iter().filter(|network| !all_hosts(network));
    let remotes = configured.remote.iter().filter(|network| !all_hosts(network));
    let v4 = configured.remote.iter().any(|network| matches!(network, IpNet::V4(_)));
    let into_tunnel: &[IpNet] = match routes {
        _ if !configured.remote.iter().any(|network| all_hosts(&network)) => &[],
        Routes::Auto => &configured.remote,
        Routes::List(list) => list,
        Routes::None => &[],
    };
    let into_tunnel = into_tunnel.iter().filter(|network| matches!(network, IpNet::V4(_)) == v4);
    let is_whole = locals.into_iter().all(|network| is_covered(network, &left_local))
        && remotes.chain(into_tunnel).all(|network| is_covered(network, &left_remote));
    (!is_whole).then(|| {
        let text = |list: Vec<String>| list.join(",");
        let asked = format!(
            "{} ⇄ {}",
            text(configured.local.iter().map(ToString::to_string).collect()),
            text(configured.remote.iter().map(ToString::to_string).collect())
        );
        let left = format!(
            "{} ⇄ {}",
            text(left_local.iter().map(ToString::to_string).collect()),
            text(left_remote.iter().map(ToString::to_string).collect())
        );
        reason::narrowed(&asked, &left)
    })
}

/// Whether selectors, together, hold every packet of a network.
fn is_covered(network: &IpNet, selectors: &[TrafficSelector]) -> bool {
    let (first, last) = (number(network.network()), number(network.broadcast()));
    let is_v4 = matches!(network, IpNet::V4(_));
    let whole = selectors.iter().filter(|one| one.start.is_ipv4() == is_v4).filter(|one| {
        // Those of some protocol or port hold a part of the packets only.
        one.protocol == 0 && one.ports == (0, u16::MAX)
    });
    let mut ranges: Vec<(u128, u128)> =
        whole.map(|one| (number(one.start), number(one.end))).collect();
    ranges.sort_unstable();
    let mut next = first;
    for (start, end) in ranges {
        if start > next {
            return false;
        }
        if end >= last {
            return true;
        }
        next = next.max(end + 1);
    }
    false
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// After the last SA that came: so long further pairs may come.
const SETTLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use ikev2::{ChildId, Start};

    use super::*;
    use crate::clock;
    use crate::control::connection::Failed;
    use crate::control::connection::tests::connection;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn selectors(networks: &[&str]) -> Vec<TrafficSelector> {
        networks.iter().map(|text| super::super::paths::selector(&net(text))).collect()
    }

    /// The reason for a child that was configured and came so, and when nothing of it was looked at yet.
    fn found(asked: [&[&str]; 2], routes: Routes, left: &[[&[&str]; 2]]) -> Option<String> {
        let now = clock::now();
        let mut one = connection(Start::Always, now);
        let list = |side: &[&str]| side.iter().map(|text| net(text)).collect();
        one.config.children[0].local = list(asked[0]);
        one.config.children[0].remote = list(asked[1]);
        one.config.routes = routes;
        for ([local, remote], id) in left.iter().zip(1_u64..) {
            let traffic = Traffic::new(selectors(local), selectors(remote));
            one.children[0].on_up(ChildId(id), traffic, false, now);
        }
        one.look_at_narrowing(now);
        assert!(one.children[0].narrowing.reason().is_none(), "more may come");
        one.look_at_narrowing(now + SETTLE);
        one.children[0].narrowing.reason().map(|reason| {
            assert_eq!((reason.code.as_str(), reason.alert.as_str()), ("E1006", "ts-narrowed"));
            assert_eq!(one.children[0].state(now), crate::status::State::Degraded);
            reason.detail.join("; ")
        })
    }

    const A: &[&str] = &["10.1.0.0/16"];
    const B: &[&str] = &["10.2.0.0/16"];
    const ANY: &[&str] = &["0.0.0.0/0"];

    #[test]
    fn less_than_was_asked_for_is_told_with_both() {
        assert_eq!(found([A, B], Routes::Auto, &[[A, B]]), None);
        let less = found([A, B], Routes::Auto, &[[A, &["10.2.0.0/24"]]]).expect("narrowed");
        assert_eq!(less, "asked  10.1.0.0/16 ⇄ 10.2.0.0/16; left   10.1.0.0/16 ⇄ 10.2.0.0/24");
        assert!(found([A, B], Routes::Auto, &[[&["10.1.0.0/17"], B]]).is_some());
        assert!(found([A, B], Routes::None, &[[A, &["10.2.0.0/24"]]]).is_some());
    }

    #[test]
    fn parts_that_make_the_whole_are_the_whole() {
        let halves: &[&str] = &["10.2.0.0/17", "10.2.128.0/17"];
        assert_eq!(found([A, B], Routes::Auto, &[[A, halves]]), None);
        assert_eq!(found([A, B], Routes::Auto, &[[A, &halves[1..]], [A, &halves[..1]]]), None);
        assert!(found([A, B], Routes::Auto, &[[A, &halves[..1]]]).is_some());
        let gap: &[&str] = &["10.2.0.0/18", "10.2.128.0/17"];
        assert!(found([A, B], Routes::Auto, &[[A, gap]]).is_some());
        let both: &[&str] = &["10.2.0.0/16", "10.3.0.0/16"];
        assert_eq!(
            found([A, both], Routes::Auto, &[[A, B], [A, &both[1..]]]),
            None,
            "pair by pair"
        );
    }

    #[test]
    fn of_all_addresses_only_what_is_routed_is_missed() {
        let list = Routes::List(vec![net("10.2.0.0/16")]);
        assert_eq!(found([ANY, ANY], list.clone(), &[[A, B]]), None);
        assert_eq!(found([ANY, ANY], Routes::None, &[[A, B]]), None);
        assert!(found([ANY, ANY], Routes::Auto, &[[A, B]]).is_some());
        assert!(found([ANY, ANY], list, &[[A, &["10.2.0.0/24"]]]).is_some());
        assert_eq!(found([ANY, ANY], Routes::Auto, &[[ANY, ANY]]), None);
    }

    #[test]
    fn what_is_not_there_at_all_is_not_narrowed_and_what_ends_is_forgotten() {
        assert_eq!(found([A, B], Routes::Auto, &[]), None);
        let now = clock::now();
        let mut one = connection(Start::Always, now);
        let child = &mut one.children[0];
        child.on_up(
            ChildId(1),
            Traffic::new(selectors(A), selectors(&["10.2.0.0/24"])),
            false,
            now,
        );
        let failed = Failed {
            traffic: Traffic::new(selectors(A), selectors(B)),
            reason: reason::narrowed("x", "y"),
            retry_at: None,
        };
        child.on_failed(failed);
        one.look_at_narrowing(now + SETTLE);
        assert!(one.children[0].narrowing.reason().is_none(), "it failed, which is told");
        one.children[0].failures.clear();
        one.children[0].narrowing.changed(now);
        one.look_at_narrowing(now + SETTLE);
        assert!(one.children[0].narrowing.reason().is_some());
        assert_eq!(one.reason(now).map(|reason| reason.code), None, "nothing of it is up");
        one.children[0].on_down(ChildId(1), now);
        assert!(one.children[0].narrowing.reason().is_none());
    }

    #[test]
    fn a_selector_of_one_port_is_a_part() {
        let port = TrafficSelector { protocol: 6, ..selectors(B)[0] };
        assert!(!is_covered(&net("10.2.0.0/16"), &[port]));
        assert!(is_covered(&net("10.2.0.0/16"), &selectors(ANY)));
        assert!(!is_covered(&net("fd00::/64"), &selectors(ANY)));
        assert!(is_covered(&net("::/0"), &[TrafficSelector::any_v6()]));
    }
}
