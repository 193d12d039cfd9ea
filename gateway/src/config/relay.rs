//! `relay = true`: what is behind one peer is, for another one, behind us.
//!
//! ```text
//!   berlin  10.2.0.0/16  relay     local networks of berlin:  10.1.0.0/16, 10.3.0.0/16
//!   paris   10.3.0.0/16  relay     local networks of paris:   10.1.0.0/16, 10.2.0.0/16
//!   rome    10.4.0.0/16            local networks of rome:    10.1.0.0/16
//! ```
//!
//! So a packet from a host in Berlin to one in Paris comes out of one tunnel, is routed, and goes into the other, and both
//! peers have agreed to that: on their side it has to be among the remote networks. No two connections are joined unless
//! both say so.

use ipnet::IpNet;

use super::connection::Draft;
use super::model::Child;
use super::raw_connection::Selectors;

/// Extends the local networks of every connection that relays by the remote ones of the others that do.
pub(super) fn join(drafts: &mut [Draft]) {
    let relays = |draft: &&Draft| draft.relay && draft.enabled;
    let behind: Vec<(String, Vec<IpNet>)> = drafts
        .iter()
        .filter(relays)
        .map(|draft| (draft.name.value.clone(), remotes(draft)))
        .collect();
    for draft in drafts.iter_mut().filter(|draft| draft.relay) {
        let own = remotes(draft);
        let mut others: Vec<IpNet> = behind
            .iter()
            .filter(|(name, _)| *name != draft.name.value)
            .flat_map(|(_, networks)| networks.iter().copied())
            // Another way to the same site.
            .filter(|network| !own.contains(network))
            .collect();
        others.sort_unstable();
        others.dedup();
        extend(draft, &others);
    }
}

fn remotes(draft: &Draft) -> Vec<IpNet> {
    draft.children.iter().flat_map(|child| child.remote.iter().copied()).collect()
}

/// Adds local networks: to the children of their family, or as children of their own where each has one pair.
fn extend(draft: &mut Draft, networks: &[IpNet]) {
    let is_new = |child: &Child, network: &IpNet| {
        let fits = child.local.iter().all(|own| is_v4(own) == is_v4(network));
        fits && !child.local.iter().any(|own| own.contains(network))
    };
    if draft.selectors != Selectors::Split {
        for child in &mut draft.children {
            let new: Vec<_> = networks.iter().copied().filter(|it| is_new(child, it)).collect();
            child.local.extend(new);
        }
        return;
    }
    let mut own = remotes(draft);
    own.sort_unstable();
    own.dedup();
    for remote in own {
        for network in networks.iter().filter(|network| is_v4(network) == is_v4(&remote)) {
            let to_it = |child: &&Child| child.remote == [remote];
            if draft.children.iter().filter(to_it).all(|child| is_new(child, network)) {
                let name = format!("lan-{}", draft.children.len() + 1);
                let child = Child { name, local: vec![*network], remote: vec![remote] };
                draft.children.push(child);
            }
        }
    }
}

const fn is_v4(network: &IpNet) -> bool {
    matches!(network, IpNet::V4(_))
}
