//! Connections compared with each other: who gets a packet, and who a caller is.
//!
//! ```text
//!   same packets, same metric        E0312      same packets, other metric     standby, fine
//!   subnet within a subnet           W0313
//!   same peer, same identities       E0141      "any" with somebody's key      E0148
//! ```
//!
//! Disabled connections are left out. "Same packets" means the same remote subnet and local subnets that have addresses
//! in common: the pair decides which tunnel a packet takes.

use super::address::overlap;
use super::codes::Code;
use super::connection::Draft;
use super::report::Diagnostic;
use super::section::Findings;

pub(super) fn compare(drafts: &[Draft], findings: &mut Findings) {
    let enabled: Vec<_> = drafts.iter().filter(|draft| draft.enabled).collect();
    for (index, later) in enabled.iter().enumerate() {
        for earlier in enabled.iter().take(index) {
            compare_subnets(earlier, later, findings);
            compare_peers(earlier, later, findings);
            compare_keys(earlier, later, findings);
        }
    }
}

fn compare_subnets(earlier: &Draft, later: &Draft, findings: &mut Findings) {
    let common = earlier
        .local
        .iter()
        .any(|one| later.local.iter().any(|other| overlap(&one.value, &other.value)));
    if !common {
        return;
    }
    let (first, second) = (&earlier.name.value, &later.name.value);
    for new in &later.remote {
        for old in &earlier.remote {
            let (inner, outer) =
                match (new.value.contains(&old.value), old.value.contains(&new.value)) {
                    (true, true) if earlier.metric == later.metric => {
                        findings.add(
                            Diagnostic::at(
                                Code::SubnetTwice,
                                &new.place,
                                format!("subnet {} is claimed by two connections", new.value),
                            )
                            .label(format!(
                                "connection `{second}` claims it again, same metric {}",
                                later.metric
                            ))
                            .related(&old.place, format!("connection `{first}` has it"))
                            .why(format!(
                                "the gateway cannot know which tunnel should get packets to {}",
                                new.value
                            ))
                            .fix("delete one, or give the standby connection a higher `metric`"),
                        );
                        continue;
                    }
                    (true, false) => (old, new),
                    (false, true) => (new, old),
                    (true, true) | (false, false) => continue,
                };
            // A default route into one tunnel is meant to have exceptions.
            if outer.value.prefix_len() > 0 {
                findings.add(
                    Diagnostic::at(
                        Code::Nested,
                        &new.place,
                        format!("subnet {} lies within {}", inner.value, outer.value),
                    )
                    .label(format!("connection `{second}` has {}", new.value))
                    .related(&old.place, format!("connection `{first}` has {}", old.value))
                    .why(format!(
                        "the most specific wins, so {} is taken out of the larger one",
                        inner.value
                    ))
                    .fix("nothing, if it is meant so"),
                );
            }
        }
    }
}

fn compare_peers(earlier: &Draft, later: &Draft, findings: &mut Findings) {
    if earlier.local_id != later.local_id || earlier.peer_id != later.peer_id {
        return;
    }
    let host = later
        .hosts
        .iter()
        .find(|host| earlier.hosts.iter().any(|other| other.value.name == host.value.name));
    // With an identity the address does not matter to somebody who calls; without one the address is the identity.
    let same_caller = later.peer_id.is_some() && (earlier.any || later.any);
    let place = match host {
        Some(host) => &host.place,
        None if same_caller => &later.peer_place,
        None => return,
    };
    let (first, second) = (&earlier.name.value, &later.name.value);
    findings.add(
        Diagnostic::at(
            Code::SamePeer,
            place,
            format!("connections `{first}` and `{second}` are for the same peer"),
        )
        .label("same peer and same identities on both sides")
        .related(&earlier.peer_place, format!("as in connection `{first}`"))
        .why("an incoming request could belong to either")
        .fix("put the subnets of both into one connection, or give them different identities"),
    );
}

fn compare_keys(earlier: &Draft, later: &Draft, findings: &mut Findings) {
    let (Some(old), Some(new)) = (earlier.key(), later.key()) else { return };
    let (Some(old_place), Some(new_place)) = (&earlier.psk_place, &later.psk_place) else { return };
    if !(earlier.any || later.any) || old != new {
        return;
    }
    let (first, second) = (&earlier.name.value, &later.name.value);
    findings.add(
        Diagnostic::at(Code::SharedKey, new_place, format!("connections `{first}` and `{second}` have the same key"))
            .label("the same key")
            .related(old_place, "as here")
            .why("a peer \"any\" is known by its key alone, so whoever has it could claim to be the other one")
            .fix("make a key of its own for each: s2s-gw genpsk"),
    );
}
