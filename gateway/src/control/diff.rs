//! What differs between what runs and what the files say, and what has to be done about it. Pure: nothing is changed here.
//!
//! ```text
//!   description, metric, monitors, dpd, lifetimes, log ..    in place
//!   subnets                  CREATE_CHILD_SA for a new pair of lists, DELETE for one that is gone; a list that grew or
//!                            shrank is both, the new one first
//!   esp, pfs, replay_window  child SAs rekeyed now
//!   ike                      at the next IKE rekey, or now
//!   peer, ids, keys, ppk, certificates, and what is announced when an SA begins  a new IKE SA beside the old one
//!   listen, ports, tun, workers, control                     nothing at all is changed before a restart
//! ```
//!
//! Every structure is taken apart field by field, so that a key which nobody thought of here does not compile.

use std::collections::{BTreeMap, BTreeSet};

use ikev2::{Encap, Start};
use ipnet::IpNet;

use crate::config::{self, Gateway, Http, Log, Peer, Policy, Security};
use crate::status::reload::{Action, Change, ConnectionPlan, Step};

/// A configuration, without what only tells where it comes from.
#[derive(Debug)]
pub(super) struct Side<'c> {
    pub(super) gateway: &'c Gateway,
    pub(super) log: &'c Log,
    /// The command line has said what is logged.
    pub(super) log_is_pinned: bool,
    pub(super) security: &'c Security,
    pub(super) connections: Vec<&'c config::Connection>,
}

/// What to do, for people and for `reload.rs`.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// About no connection.
    pub(super) gateway: Vec<Step>,
    /// By name; connections that do not differ are not in it.
    pub(super) differences: BTreeMap<String, Difference>,
}

/// What became of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    Added,
    Removed,
    Enabled(Changed),
    Disabled,
    Changed(Changed),
}

/// Which parts of a connection are others now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Line by line, for people.
    pub(super) steps: Vec<Step>,
    /// Which of the old children each new one is.
    pub(super) kept: Vec<Option<usize>>,
    /// Those of the old ones that are none of the new ones.
    pub(super) gone: Vec<usize>,
    pub(super) rekey_children: bool,
    pub(super) ike_proposals: bool,
    /// Peer, identities, key, or what is said only when an SA begins.
    pub(super) supersede: bool,
}

/// What differs; or the keys that cannot change while the gateway runs.
///
/// # Errors
/// Those keys, as `[gateway] listen`.
pub(super) fn diff(old: &Side<'_>, new: &Side<'_>, now: bool) -> Result<Plan, Vec<String>> {
    let mut fixed = fixed(old.gateway, new.gateway);
    let raw = |c: &&&config::Connection| c.encap == Encap::Auto;
    let (before, after) = (old.connections.iter().find(raw), new.connections.iter().find(raw));
    if let (None, Some(first)) = (before, after) {
        // There is no socket for ESP without UDP, and the right to open one may be gone.
        fixed.push(format!("[connection.{}] encap", first.name));
    }
    if !fixed.is_empty() {
        return Err(fixed);
    }
    let known: BTreeMap<&str, &config::Connection> =
        old.connections.iter().map(|c| (c.name.as_str(), *c)).collect();
    let mut plan = Plan { gateway: of_gateway(old, new), ..Plan::default() };
    for connection in &new.connections {
        let difference = match known.get(connection.name.as_str()) {
            None => Some(Difference::Added),
            Some(before) => of_connection(before, connection, now),
        };
        let name = connection.name.clone();
        plan.differences.extend(difference.map(|difference| (name, difference)));
    }
    let kept: BTreeSet<&str> = new.connections.iter().map(|c| c.name.as_str()).collect();
    for name in known.keys().filter(|name| !kept.contains(*name)) {
        plan.differences.insert((*name).to_owned(), Difference::Removed);
    }
    Ok(plan)
}

impl Plan {
    /// For people and programs: connections in the order of the new file, then those that are gone.
    pub(super) fn connections(&self, new: &[config::Connection]) -> Vec<ConnectionPlan> {
        let present = new.iter().map(|connection| connection.name.as_str());
        let gone = self.differences.iter().filter(|(_, what)| **what == Difference::Removed);
        let names = present.chain(gone.map(|(name, _)| name.as_str()));
        let plan = |name: &str| {
            let (change, steps) = self.differences.get(name)?.told();
            Some(ConnectionPlan { name: name.to_owned(), change, steps })
        };
        names.filter_map(plan).collect()
    }
}

impl Difference {
    fn told(&self) -> (Change, Vec<Step>) {
        let only = |action| vec![Step::new(action, Vec::new())];
        match self {
            Self::Added => (Change::Added, only(Action::BringUp)),
            Self::Removed => (Change::Removed, only(Action::TakeDown)),
            Self::Enabled(_) => (Change::Enabled, only(Action::BringUp)),
            Self::Disabled => (Change::Disabled, only(Action::TakeDown)),
            Self::Changed(changed) => (Change::Changed, changed.steps.clone()),
        }
    }
}

/// What cannot change while the gateway runs.
fn fixed(old: &Gateway, new: &Gateway) -> Vec<String> {
    let Gateway {
        listen,
        ike_port,
        nat_port,
        tun,
        mtu,
        control,
        user,
        sandbox,
        workers,
        cookie_threshold,
        max_half_open,
        allow_key_export,
        limits,
        name: _,
        id: _,
        state: _,
        leak_protection: _,
        management_ip: _,
        public_addresses: _,
        http,
    } = new;
    let keys = [
        ("listen", old.listen != *listen),
        ("ike_port", old.ike_port != *ike_port),
        ("nat_port", old.nat_port != *nat_port),
        ("tun", old.tun != *tun),
        ("mtu", old.mtu != *mtu),
        ("control", old.control != *control),
        ("user", old.user != *user),
        ("sandbox", old.sandbox != *sandbox),
        ("workers", old.workers != *workers),
        ("cookie_threshold", old.cookie_threshold != *cookie_threshold),
        ("max_half_open", old.max_half_open != *max_half_open),
        ("allow_key_export", old.allow_key_export != *allow_key_export),
    ];
    let of_gateway = keys.iter().filter(|(_, differs)| *differs);
    let of_limits = old.limits.apart(limits).map(|key| format!("[limits] {key}"));
    let listens = |http: &Option<Http>| http.as_ref().map(|http| http.listen.clone());
    let page = (listens(&old.http) != listens(http)).then(|| "[http] listen".to_owned());
    of_gateway.map(|(key, _)| format!("[gateway] {key}")).chain(of_limits).chain(page).collect()
}

/// What may change and is of no connection. (`id` is part of every connection that has none of its own.)
fn of_gateway(old: &Side<'_>, new: &Side<'_>) -> Vec<Step> {
    let mut steps = Steps::default();
    let (before, now) = (old.gateway, new.gateway);
    steps.of(Action::InPlace, "[gateway] name", before.name != now.name);
    steps.of(Action::InPlace, "[gateway] id", before.id != now.id);
    steps.of(Action::InPlace, "[gateway] state", before.state != now.state);
    let differs = before.leak_protection != now.leak_protection;
    steps.of(Action::InPlace, "[gateway] leak_protection", differs);
    let differs = before.management_ip != now.management_ip;
    steps.of(Action::InPlace, "[gateway] management_ip", differs);
    let differs = before.public_addresses != now.public_addresses;
    steps.of(Action::InPlace, "[gateway] public_addresses", differs);
    if let (Some(before), Some(now)) = (&before.http, &now.http) {
        steps.of(Action::InPlace, "[http] names", before.names != now.names);
        let differs = before.read_token != now.read_token;
        steps.of(Action::InPlace, "[http] read_token", differs);
        let differs = before.admin_token != now.admin_token;
        steps.of(Action::InPlace, "[http] admin_token", differs);
    }
    let Log { level, format } = new.log;
    let heard = if new.log_is_pinned { Action::Overridden } else { Action::InPlace };
    steps.of(heard, "[log] level", old.log.level != *level);
    steps.of(Action::InPlace, "[log] format", old.log.format != *format);
    let Security { warn, forbid } = new.security;
    steps.of(Action::InPlace, "[security] warn", old.security.warn != *warn);
    steps.of(Action::InPlace, "[security] forbid", old.security.forbid != *forbid);
    steps.0
}

/// Lines, one for each action, in the order in which the actions come up.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn of(&mut self, action: Action, key: &str, differs: bool) {
        if differs {
            self.add(action, key.to_owned());
        }
    }

    fn add(&mut self, action: Action, key: String) {
        match self.0.iter_mut().find(|step| step.action == action) {
            Some(step) => step.keys.push(key),
            None => self.0.push(Step::new(action, vec![key])),
        }
    }
}

fn of_connection(
    old: &config::Connection,
    new: &config::Connection,
    now: bool,
) -> Option<Difference> {
    if old == new {
        return None;
    }
    if old.enabled && !new.enabled {
        return Some(Difference::Disabled);
    }
    let changed = changed(old, new, now);
    Some(if new.enabled && !old.enabled {
        Difference::Enabled(changed)
    } else {
        Difference::Changed(changed)
    })
}

fn changed(old: &config::Connection, new: &config::Connection, now: bool) -> Changed {
    let config::Connection {
        name: _,
        description,
        enabled: _,
        peer,
        local_id,
        peer_id,
        auth,
        ppk,
        policy,
        children: _,
        pairing,
        start,
        encap,
        extensions,
        replay_window,
        mtu,
        mss_clamp,
        routes,
        metric,
        nat_keepalive,
        relay,
        management_ip,
        log,
        failover,
        monitors,
    } = new;
    let mut steps = Steps::default();
    let in_place = [
        ("description", old.description != *description),
        ("start", old.start != *start),
        ("mtu", old.mtu != *mtu),
        ("mss_clamp", old.mss_clamp != *mss_clamp),
        ("nat_keepalive", old.nat_keepalive != *nat_keepalive),
        ("relay", old.relay != *relay),
        ("management_ip", old.management_ip != *management_ip),
        ("log", old.log != *log),
        ("failover", old.failover != *failover),
        ("monitor", old.monitors != *monitors),
    ];
    for (key, differs) in in_place {
        steps.of(Action::InPlace, key, differs);
    }
    let (esp, ike_proposals) = of_policy(&old.policy, policy, &mut steps);
    steps.of(Action::Routes, "metric", old.metric != *metric);
    steps.of(Action::Routes, "routes", old.routes != *routes);
    let (kept, gone) = of_children(&old.children, &new.children, &mut steps);
    steps.of(Action::RekeyChildren, "replay_window", old.replay_window != *replay_window);
    let rekey = if now { Action::RekeyIke } else { Action::NextIkeRekey };
    steps.of(rekey, "ike", ike_proposals);
    let at_begin = [
        ("peer", old.peer != *peer),
        ("local_id", old.local_id != *local_id),
        ("peer_id", old.peer_id != *peer_id),
        ("ppk", old.ppk != *ppk),
        ("selectors", old.pairing != *pairing),
        ("encap", old.encap != *encap),
        ("mobike", old.extensions.mobike != extensions.mobike),
        ("follow_redirects", old.extensions.follow_redirects != extensions.follow_redirects),
        ("auth_lifetime", old.extensions.auth_lifetime != extensions.auth_lifetime),
        ("fragmentation", old.extensions.fragmentation != extensions.fragmentation),
        ("childless", old.extensions.childless != extensions.childless),
    ];
    let anew = if calls(new) { Action::Supersede } else { Action::NextAuthentication };
    let of_auth = old.auth.differences(auth);
    let elsewhere = of_auth.is_empty() && old.auth.dated != auth.dated;
    steps.of(Action::InPlace, "paths of certificates", elsewhere);
    let of_auth = of_auth.into_iter().map(|key| (key, true));
    let at_begin: Vec<_> = at_begin.into_iter().chain(of_auth).collect();
    for (key, differs) in &at_begin {
        steps.of(anew, key, *differs);
    }
    Changed {
        steps: steps.0,
        kept,
        gone,
        rekey_children: esp || old.replay_window != *replay_window,
        ike_proposals,
        supersede: at_begin.iter().any(|(_, differs)| *differs),
    }
}

/// Whether it is ours to begin an SA with the peer.
pub(super) fn calls(connection: &config::Connection) -> bool {
    connection.start != Start::RespondOnly && connection.peer != Peer::Any
}

/// Whether the child SAs, and whether the IKE SA is to be made with other algorithms.
fn of_policy(old: &Policy, new: &Policy, steps: &mut Steps) -> (bool, bool) {
    let Policy {
        name,
        ike,
        esp,
        ike_lifetime,
        esp_lifetime,
        dpd,
        forbidden,
        restart_peer,
        pfs_check,
        allow,
    } = new;
    steps.of(Action::InPlace, "policy", old.name != *name);
    let differs = old.dpd != *dpd || old.restart_peer != *restart_peer;
    steps.of(Action::InPlace, "dpd", differs);
    steps.of(Action::InPlace, "ike_lifetime", old.ike_lifetime != *ike_lifetime);
    steps.of(Action::InPlace, "esp_lifetime", old.esp_lifetime.time != esp_lifetime.time);
    steps.of(Action::InPlace, "pfs_check", old.pfs_check != *pfs_check);
    // What they let in is in `ike` and `esp`.
    steps.of(Action::InPlace, "allow_legacy", old.allow.legacy != allow.legacy);
    steps.of(Action::InPlace, "allow_unencrypted", old.allow.unencrypted != allow.unencrypted);
    steps.of(Action::InPlace, "forbid", old.forbidden != *forbidden);
    // What an SA may carry the data plane is told when it begins.
    let octets = old.esp_lifetime.octets != esp_lifetime.octets;
    let packets = old.esp_lifetime.packets != esp_lifetime.packets;
    steps.of(Action::RekeyChildren, "esp", old.esp != *esp);
    steps.of(Action::RekeyChildren, "esp_lifebytes", octets);
    steps.of(Action::RekeyChildren, "esp_lifepackets", packets);
    (old.esp != *esp || octets || packets, old.ike != *ike)
}

/// Which old child each new one is, by its networks and never by its name, and which old ones are gone.
fn of_children(
    old: &[config::Child],
    new: &[config::Child],
    steps: &mut Steps,
) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut left: Vec<usize> = (0..old.len()).collect();
    let mut kept = Vec::new();
    for child in new {
        let same = |place: &usize| old.get(*place).is_some_and(|other| is_same(other, child));
        let found = left.iter().position(same).map(|at| left.remove(at));
        kept.push(found);
    }
    let added = || new.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(child, _)| child);
    let gone = || left.iter().filter_map(|place| old.get(*place));
    let is_replaced = |old: &config::Child| added().any(|new| overlap(old, new));
    let replaces = |new: &config::Child| gone().any(|old| overlap(old, new));
    let pair = |sign: char, child: &config::Child| {
        let list = |networks: &[IpNet]| {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        format!("{sign}{} ⇄ {}", list(&child.local), list(&child.remote))
    };
    for child in added() {
        if replaces(child) {
            steps.add(Action::ReplaceChild, grown(&gone().collect::<Vec<_>>(), child));
        } else {
            steps.add(Action::AddChild, pair('+', child));
        }
    }
    for child in gone().filter(|child| !is_replaced(child)) {
        steps.add(Action::RemoveChild, pair('-', child));
    }
    if old != new && left.is_empty() && kept.iter().all(Option::is_some) {
        steps.add(Action::InPlace, "order of subnets".to_owned());
    }
    (kept, left)
}

/// The networks that make a list another one: `local_subnets +10.9.0.0/24`.
fn grown(gone: &[&config::Child], new: &config::Child) -> String {
    let side = |key: &str, before: BTreeSet<&IpNet>, now: &[IpNet]| {
        let now: BTreeSet<&IpNet> = now.iter().collect();
        let more = now.difference(&before).map(|net| format!("+{net}"));
        let words: Vec<String> =
            more.chain(before.difference(&now).map(|net| format!("-{net}"))).collect();
        (!words.is_empty()).then(|| format!("{key} {}", words.join(" ")))
    };
    let old = || gone.iter().filter(|old| overlap(old, new));
    let local = side("local_subnets", old().flat_map(|old| &old.local).collect(), &new.local);
    let remote = side("remote_subnets", old().flat_map(|old| &old.remote).collect(), &new.remote);
    let sides: Vec<String> = [local, remote].into_iter().flatten().collect();
    if sides.is_empty() { "selectors".to_owned() } else { sides.join(" ") }
}

fn is_same(a: &config::Child, b: &config::Child) -> bool {
    let same = |a: &[IpNet], b: &[IpNet]| {
        a.iter().collect::<BTreeSet<_>>() == b.iter().collect::<BTreeSet<_>>()
    };
    same(&a.local, &b.local) && same(&a.remote, &b.remote)
}

/// Whether some packet belongs to both.
pub(super) fn overlap(a: &config::Child, b: &config::Child) -> bool {
    let meet = |a: &[IpNet], b: &[IpNet]| {
        a.iter().any(|a| b.iter().any(|b| a.contains(b) || b.contains(a)))
    };
    meet(&a.local, &b.local) && meet(&a.remote, &b.remote)
}

#[cfg(test)]
pub(super) mod tests;
