//! One connection: references resolved, key read, subnets spread over CHILD_SAs.
//!
//! ```text
//!   local_subnets   ["lan", "2001:db8:1::/64"]      lan = 10.1.0.0/16, 10.9.0.0/24
//!   remote_subnets  ["10.2.0.0/16", "2001:db8:2::/64"]
//!
//!     auto, combined: one per family          split: one per pair
//!       lan-1  10.1/16, 10.9.0/24 ⇄ 10.2/16     lan-1  10.1/16       ⇄ 10.2/16
//!       lan-2  2001:db8:1::/64 ⇄ 2001:db8:2::/64 lan-2  10.9.0/24     ⇄ 10.2/16
//!                                               lan-3  2001:db8:1::/64 ⇄ 2001:db8:2::/64
//! ```
//!
//! With `auto` a peer that wants one pair in each child gets that; the child then has several SA pairs, under one name.
//!
//! The result is a [`Draft`]: what could be read of a connection that may have errors, so that connections can be
//! compared with each other all the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ikev2::{Encap, Identity, Pairing, Start};
use ipnet::IpNet;

use super::address::{host, network};
use super::auth::{Auth, TheirProof};
use super::codes::Code;
use super::credentials::{self, Defaults};
use super::identities::{self, local_id, peer_identity};
use super::keys::did_you_mean;
use super::load::{Connected, Surroundings};
use super::model::{
    Child, Connection, Extensions, Failover, Gateway, Host, HostName, Monitor, MssClamp, Peer,
    Policy, Ppk, Routes, Security,
};
use super::monitor::{check_inside, failover, management_ip, monitors};
use super::policy::{Policies, built_in_proposals, derive_dpd, restarts_peer};
use super::raw_connection::{RawConnection, RawPpk, RawRoutes, Selectors};
use super::report::Diagnostic;
use super::secret::{PresharedKey, fetch};
use super::section::{Field, Findings};
use super::source::{At, Place};
use super::value::check_name;

/// Groups of `[networks]` by name; `None` for one that has errors.
pub(super) struct Networks(pub(super) BTreeMap<String, Option<Vec<IpNet>>>);

/// What a connection can refer to.
pub(super) struct Context<'c> {
    pub(super) gateway: &'c Gateway,
    pub(super) networks: &'c Networks,
    pub(super) policies: &'c Policies,
    pub(super) security: &'c Security,
    pub(super) auth: &'c Defaults,
    pub(super) surroundings: &'c Surroundings,
}

/// A connection as far as it could be read.
pub(super) struct Draft {
    pub(super) name: At<String>,
    description: Option<String>,
    pub(super) enabled: bool,
    pub(super) any: bool,
    /// Place of `peer`, or of the name of the connection.
    pub(super) peer_place: Place,
    pub(super) hosts: Vec<At<Host>>,
    pub(super) local_id: Option<Identity>,
    pub(super) peer_id: Option<Identity>,
    pub(super) psk_place: Option<Place>,
    pub(super) auth: Option<Auth>,
    ppk: Option<Ppk>,
    policy: Option<Policy>,
    pub(super) local: Vec<At<IpNet>>,
    pub(super) remote: Vec<At<IpNet>>,
    pub(super) children: Vec<Child>,
    pub(super) selectors: Selectors,
    pairing: Pairing,
    start: Start,
    encap: Encap,
    extensions: Extensions,
    replay_window: u32,
    mtu: Option<u16>,
    routes: Routes,
    pub(super) metric: u32,
    nat_keepalive: Duration,
    mss_clamp: MssClamp,
    pub(super) relay: bool,
    management_ip: Option<IpAddr>,
    log: Option<tracing::Level>,
    failover: Option<Failover>,
    monitors: Vec<Monitor>,
}

impl Draft {
    pub(super) fn read(
        raw: &RawConnection,
        context: &Context<'_>,
        findings: &mut Findings,
    ) -> Self {
        check_name("connection", &raw.name, findings);
        let (any, hosts) = read_peer(raw, context, findings);
        let (local, local_complete) = subnets(&raw.local_subnets, context.networks, findings);
        let (remote, remote_complete) = subnets(&raw.remote_subnets, context.networks, findings);
        let children = if local_complete && remote_complete {
            children(raw, &local, &remote, findings)
        } else {
            Vec::new()
        };
        let policy = match &raw.policy {
            Field::Given(name) => context.policies.find(name, "policy", findings),
            Field::Absent => context.policies.default_policy(),
            Field::Wrong => None,
        };
        let inherited = policy.as_ref().and_then(|policy| policy.dpd);
        let dpd = derive_dpd(&raw.dpd, inherited, findings);
        let policy = policy.map(|policy| Policy {
            dpd,
            forbidden: context.security.forbid.clone(),
            restart_peer: restarts_peer(&raw.dpd, policy.restart_peer),
            pfs_check: raw.pfs_check.value().copied().unwrap_or(policy.pfs_check),
            ..policy
        });
        if let Some(policy) = &policy {
            let place = raw.policy.given().map_or(&raw.name.place, |at| &at.place);
            let built_in = built_in_proposals(policy);
            context.security.check_built_in(policy, &built_in, place, findings);
        }
        let auth = read_auth(raw, context, findings);
        let local_id = local_id(raw, context.gateway, auth.as_ref(), findings);
        let peer_id = peer_identity(&raw.peer_id, findings);
        let monitors = monitors(raw, remote_complete.then_some(&remote), findings);
        let mut draft = Self {
            name: raw.name.clone(),
            description: raw.description.value().cloned(),
            enabled: raw.enabled.value().copied().unwrap_or(true),
            any,
            peer_place: raw
                .peer
                .given()
                .map_or_else(|| raw.name.place.clone(), |at| at.place.clone()),
            hosts,
            local_id,
            peer_id,
            psk_place: raw.psk.given().map(|at| at.place.clone()),
            auth,
            ppk: raw.ppk.value().and_then(|raw| read_ppk(raw, context, findings)),
            policy,
            local,
            remote,
            children,
            selectors: raw.selectors.value().copied().unwrap_or(Selectors::Auto),
            pairing: pairing(raw),
            start: read_start(raw, any, findings),
            encap: raw.encap.value().copied().unwrap_or_default(),
            extensions: read_extensions(raw),
            replay_window: number(&raw.replay_window, 4096),
            mtu: read_mtu(raw, context.gateway, findings),
            routes: read_routes(&raw.routes, findings),
            metric: number(&raw.metric, 100),
            nat_keepalive: raw.nat_keepalive.value().copied().unwrap_or(Duration::from_secs(20)),
            mss_clamp: raw.mss_clamp.value().copied().unwrap_or_default(),
            relay: raw.relay.value().copied().unwrap_or(false),
            management_ip: None,
            log: raw.log.value().copied(),
            failover: failover(raw, any, findings),
            monitors,
        };
        draft.management_ip = draft.read_management_ip(raw, context.gateway, findings);
        if any && raw.peer_id.is_absent() {
            findings.add(any_needs_id(&draft.peer_place));
        } else {
            identities::check_peer_id(raw, &draft, findings);
        }
        draft.compare_sides(findings);
        draft.compare_peer_with_routes(findings);
        draft.compare_with_host(context, findings);
        draft
    }

    /// The pre-shared key that the peer is known by.
    pub(super) fn key(&self) -> Option<&PresharedKey> {
        match &self.auth.as_ref()?.theirs {
            TheirProof::Psk(key) => Some(key),
            TheirProof::Certificate(_) | TheirProof::PublicKey(_) => None,
        }
    }

    /// That of the connection, which has to fit it, or that of the gateway, where it fits.
    fn read_management_ip(
        &self,
        raw: &RawConnection,
        gateway: &Gateway,
        findings: &mut Findings,
    ) -> Option<IpAddr> {
        let local = || self.local.iter().map(|at| &at.value);
        if let Some(own) = management_ip(&raw.management_ip, findings) {
            if !self.local.is_empty() {
                check_inside(&own, local(), &format!("[connection.{}]", self.name.value), findings);
            }
            return Some(own.value);
        }
        gateway.management_ip.filter(|ip| local().any(|network| network.contains(ip)))
    }

    /// E0310: a network that this host itself is connected to, which we would have to route into the tunnel.
    fn compare_with_host(&self, context: &Context<'_>, findings: &mut Findings) {
        if !self.enabled || self.routes != Routes::Auto {
            return;
        }
        for remote in &self.remote {
            let ours = context
                .surroundings
                .connected
                .iter()
                .find(|one| one.network == remote.value && one.device != context.gateway.tun);
            let Some(Connected { device, network }) = ours else { continue };
            findings.add(
                Diagnostic::at(
                    Code::LocalOverlap,
                    &remote.place,
                    format!("{network} is behind the peer and on `{device}` of this host"),
                )
                .label(format!("this host is connected to it by `{device}`"))
                .why("there would be two routes to the same addresses")
                .fix("one of the two sites has to use other addresses, or have them translated"),
            );
        }
    }

    /// E0127 and W0315: networks of the two sides that have addresses in common.
    fn compare_sides(&self, findings: &mut Findings) {
        for local in &self.local {
            for remote in &self.remote {
                let (here, there) = (&local.value, &remote.value);
                if here.prefix_len() == 0 || there.prefix_len() == 0 {
                    continue;
                }
                if here == there {
                    findings.add(
                        Diagnostic::at(
                            Code::Overlap,
                            &remote.place,
                            format!("{there} is both local and remote"),
                        )
                        .label("behind the peer")
                        .related(&local.place, "and behind this gateway")
                        .why("the gateway cannot know on which side a host of it is")
                        .fix(
                            "delete it on one side; if both sites use it, one has to be translated",
                        ),
                    );
                } else if super::address::overlap(here, there) {
                    let (inner, outer) =
                        if here.contains(there) { (there, here) } else { (here, there) };
                    findings.add(
                        Diagnostic::at(
                            Code::LocalRemoteNested,
                            &remote.place,
                            format!("{inner} lies within {outer} across the tunnel"),
                        )
                        .label(format!("{there} is behind the peer"))
                        .related(&local.place, format!("{here} is behind this gateway"))
                        .why("the most specific network wins, which hubs and spokes rely on")
                        .fix("nothing, if it is meant so"),
                    );
                }
            }
        }
    }

    /// W0316: a route into the tunnel that takes the peer itself along.
    fn compare_peer_with_routes(&self, findings: &mut Findings) {
        let remotes: Vec<_> = self.remote.iter().map(|at| at.value).collect();
        let routed = match &self.routes {
            Routes::Auto => remotes.as_slice(),
            Routes::None => &[],
            Routes::List(list) => list.as_slice(),
        };
        for host in &self.hosts {
            let HostName::Address(address) = host.value.name else { continue };
            if let Some(network) = routed.iter().find(|network| network.contains(&address)) {
                let message = format!("peer {address} is inside {network}, which is routed to it");
                findings.add(
                    Diagnostic::at(Code::PeerInside, &host.place, message)
                        .label("packets to the peer must not enter its tunnel")
                        .fix("nothing, if it is meant so: the gateway adds a route to the peer"),
                );
            }
        }
    }

    /// The connection, if everything that it needs is there.
    pub(super) fn into_connection(self) -> Option<Connection> {
        let hosts = self.hosts.into_iter().map(|host| host.value).collect();
        let peer = if self.any { Peer::Any } else { Peer::Hosts(hosts) };
        Some(Connection {
            name: self.name.value,
            description: self.description,
            enabled: self.enabled,
            peer,
            local_id: self.local_id,
            peer_id: self.peer_id,
            auth: self.auth?,
            ppk: self.ppk,
            policy: self.policy?,
            children: self.children,
            pairing: self.pairing,
            start: self.start,
            encap: self.encap,
            extensions: self.extensions,
            replay_window: self.replay_window,
            mtu: self.mtu,
            mss_clamp: self.mss_clamp,
            routes: self.routes,
            metric: self.metric,
            nat_keepalive: self.nat_keepalive,
            relay: self.relay,
            management_ip: self.management_ip,
            log: self.log,
            failover: self.failover,
            monitors: self.monitors,
        })
    }
}

fn read_auth(raw: &RawConnection, context: &Context<'_>, findings: &mut Findings) -> Option<Auth> {
    let surroundings = context.surroundings;
    let psk = raw.psk.clone().and_then(|at| {
        let key = fetch(&at.value, surroundings, findings)?;
        Some(At::new(PresharedKey::new(key), at.place))
    });
    credentials::auth(raw, &psk, context.auth, surroundings, findings)
}

/// Of this connection; more than what the device was given can never come.
fn read_mtu(raw: &RawConnection, gateway: &Gateway, findings: &mut Findings) -> Option<u16> {
    let at = raw.mtu.given()?;
    let mtu = at.value.and_then(|octets| u16::try_from(octets).ok())?;
    if let Some(device) = gateway.mtu.filter(|device| *device < mtu) {
        findings.add(
            Diagnostic::at(Code::OutOfRange, &at.place, "`mtu` is more than that of the device")
                .label(format!("[gateway] has `mtu = {device}`"))
                .why("a connection bounds its own packets; no larger ones come out of the device")
                .fix(format!("write {device} or less, or raise `mtu` in [gateway]")),
        );
    }
    Some(mtu)
}

fn read_ppk(raw: &RawPpk, context: &Context<'_>, findings: &mut Findings) -> Option<Ppk> {
    let key = fetch(&raw.source, context.surroundings, findings)?;
    let required = raw.required.value().copied().unwrap_or(true);
    let mix = raw.mix.value().copied().unwrap_or_default();
    let others = raw.others.iter().map(|(id, source)| {
        let key = fetch(source, context.surroundings, findings)?;
        Some((id.value.clone(), PresharedKey::new(key)))
    });
    let others = others.collect::<Option<_>>()?;
    Some(Ppk { id: raw.id.value.clone(), key: PresharedKey::new(key), required, mix, others })
}

fn read_extensions(raw: &RawConnection) -> Extensions {
    let defaults = Extensions::default();
    Extensions {
        mobike: raw.mobike.value().copied().unwrap_or(defaults.mobike),
        follow_redirects: raw
            .follow_redirects
            .value()
            .copied()
            .unwrap_or(defaults.follow_redirects),
        auth_lifetime: raw.auth_lifetime.value().copied(),
        fragmentation: raw.fragmentation.value().copied().unwrap_or_default(),
        childless: raw.childless.value().copied().unwrap_or_default(),
    }
}

/// What `ikev2` may do with a child of several networks. Where we split them, there is nothing left to divide: each pair
/// has its name, counters and place in status, and a peer that offers them all at once is given one after the other.
fn pairing(raw: &RawConnection) -> Pairing {
    match raw.selectors.value() {
        None | Some(Selectors::Auto) => Pairing::Auto,
        Some(Selectors::Combined | Selectors::Split) => Pairing::Combined,
    }
}

/// The form has checked the range already.
fn number(field: &Field<u64>, default: u32) -> u32 {
    field.value().and_then(|&value| u32::try_from(value).ok()).unwrap_or(default)
}

fn read_peer(
    raw: &RawConnection,
    context: &Context<'_>,
    findings: &mut Findings,
) -> (bool, Vec<At<Host>>) {
    let Some(list) = raw.peer.value() else { return (false, Vec::new()) };
    let is_any = |at: &At<String>| matches!(at.value.as_str(), "any" | "%any");
    if let Some(any) = list.iter().find(|at| is_any(at)) {
        if list.len() > 1 {
            findings.add(
                Diagnostic::at(Code::AnyNeedsId, &any.place, "`any` stands beside other peers")
                    .label("it includes them all")
                    .fix("write `peer = \"any\"` alone, or delete `any`"),
            );
        }
        return (true, Vec::new());
    }
    let mut hosts: Vec<At<Host>> = Vec::new();
    for text in list {
        let Some(host) = host(text, findings) else { continue };
        if hosts.iter().any(|other| other.value == host.value) {
            findings.add(repeated(&host.place, format!("{} is listed already", host.value)));
            continue;
        }
        check_family(&host, &context.gateway.listen, findings);
        hosts.push(host);
    }
    (false, hosts)
}

fn check_family(host: &At<Host>, listen: &[IpAddr], findings: &mut Findings) {
    let HostName::Address(address) = host.value.name else { return };
    if listen.is_empty() || listen.iter().any(|ours| ours.is_ipv4() == address.is_ipv4()) {
        return;
    }
    let family = family_name(address.is_ipv4());
    findings.add(
        Diagnostic::at(
            Code::PeerFamily,
            &host.place,
            format!("`listen` has no {family} address for peer {address}"),
        )
        .label(format!("an {family} address"))
        .why("no packet can be sent to the peer")
        .fix(format!(
            "add an {family} address to `listen` in [gateway], or leave `listen` out to use all"
        )),
    );
}

const fn family_name(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn any_needs_id(place: &Place) -> Diagnostic {
    Diagnostic::at(Code::AnyNeedsId, place, "peer \"any\" needs a `peer_id`")
        .label("every address may call")
        .why("the identity alone says which connection a caller belongs to, and which key it must have")
        .fix("write `peer_id = \"NAME\"` with the identity that the peer sends")
}

fn read_start(raw: &RawConnection, any: bool, findings: &mut Findings) -> Start {
    match raw.start.given() {
        None if any => Start::RespondOnly,
        None => Start::default(),
        Some(at) => {
            if any && at.value != Start::RespondOnly {
                findings.add(
                    Diagnostic::at(Code::AnyNeedsId, &at.place, "peer \"any\" cannot be called")
                        .label("there is no address to call")
                        .fix("write `start = \"respond-only\"`, or delete `start`"),
                );
            }
            at.value
        }
    }
}

/// The networks of a list, names resolved, and whether that is all of them: nothing in the list is wrong or missing.
fn subnets(
    field: &Field<Vec<At<String>>>,
    networks: &Networks,
    findings: &mut Findings,
) -> (Vec<At<IpNet>>, bool) {
    let mut found: Vec<At<IpNet>> = Vec::new();
    let mut complete = field.value().is_some();
    for entry in field.value().into_iter().flatten() {
        let members: Vec<At<IpNet>> = if entry.value.contains(['.', ':', '/']) {
            network(entry, findings).into_iter().collect()
        } else {
            let group = networks.find(entry, findings).unwrap_or_default();
            group.iter().map(|&member| At::new(member, entry.place.clone())).collect()
        };
        complete &= !members.is_empty();
        for member in members {
            if found.iter().any(|other| other.value == member.value) {
                let message = format!("{} is listed already", member.value);
                findings.add(repeated(&member.place, message));
                continue;
            }
            if let Some(wider) = found.iter().find(|other| other.value.contains(&member.value)) {
                let message = format!("{} lies within {} of this list", member.value, wider.value);
                findings.add(repeated(&member.place, message));
            }
            found.push(member);
        }
    }
    (found, complete)
}

impl Networks {
    fn find(&self, name: &At<String>, findings: &mut Findings) -> Option<Vec<IpNet>> {
        if let Some(group) = self.0.get(&name.value) {
            return group.clone();
        }
        let names = || self.0.keys().map(String::as_str);
        findings.add(
            Diagnostic::at(
                Code::UnknownNetwork,
                &name.place,
                format!("unknown network `{}`", name.value),
            )
            .label("no group in [networks] has this name")
            .fix("write a network such as \"10.1.0.0/16\", or define the group in [networks]")
            .help(did_you_mean(&name.value, names())),
        );
        None
    }
}

pub(super) fn repeated(place: &Place, message: String) -> Diagnostic {
    Diagnostic::at(Code::Repeated, place, message).label("this has no effect").fix("delete it")
}

/// Spreads the subnets over CHILD_SAs: IPv4 first, `lan-1`, `lan-2` ... in the order of the file.
fn children(
    raw: &RawConnection,
    local: &[At<IpNet>],
    remote: &[At<IpNet>],
    findings: &mut Findings,
) -> Vec<Child> {
    let selectors = raw.selectors.value().copied().unwrap_or(Selectors::Auto);
    let mut pairs: Vec<(Vec<IpNet>, Vec<IpNet>)> = Vec::new();
    for is_ipv4 in [true, false] {
        let of_family = |list: &[At<IpNet>]| {
            let same = |at: &&At<IpNet>| at.value.addr().is_ipv4() == is_ipv4;
            list.iter().filter(same).cloned().collect::<Vec<_>>()
        };
        let (here, there) = (of_family(local), of_family(remote));
        match (here.first(), there.first()) {
            (None, None) => continue,
            (Some(lonely), None) => findings.add(family_alone(lonely, "local", "remote")),
            (None, Some(lonely)) => findings.add(family_alone(lonely, "remote", "local")),
            (Some(_), Some(_)) => {}
        }
        let values = |list: &[At<IpNet>]| list.iter().map(|at| at.value).collect::<Vec<_>>();
        match selectors {
            Selectors::Auto | Selectors::Combined => pairs.push((values(&here), values(&there))),
            Selectors::Split => pairs.extend(here.iter().flat_map(|local| {
                there.iter().map(|remote| (vec![local.value], vec![remote.value]))
            })),
        }
    }
    if pairs.len() > CHILDREN_MAX || pairs.iter().any(|(l, r)| l.len().max(r.len()) > SELECTORS_MAX)
    {
        findings.add(too_many(&raw.name));
    }
    let named =
        |(index, (local, remote))| Child { name: format!("lan-{}", index + 1), local, remote };
    pairs.into_iter().enumerate().map(named).collect()
}

/// Chosen so that a peer is not flooded with exchanges.
const CHILDREN_MAX: usize = 128;

/// A TS payload counts its selectors in one octet (RFC 7296 §3.13), and the first may be taken by a packet's own.
const SELECTORS_MAX: usize = 254;

fn family_alone(lonely: &At<IpNet>, side: &str, other: &str) -> Diagnostic {
    let family = family_name(lonely.value.addr().is_ipv4());
    Diagnostic::at(
        Code::FamilyAlone,
        &lonely.place,
        format!("{} has no {family} network on the {other} side", lonely.value),
    )
    .label(format!("{family} in `{side}_subnets` only"))
    .why("source and destination of a packet are of one family, so none could ever match")
    .fix(format!("add an {family} network to `{other}_subnets`, or delete this one"))
}

fn too_many(name: &At<String>) -> Diagnostic {
    Diagnostic::at(
        Code::OutOfRange,
        &name.place,
        format!("connection `{}` has too many subnets", name.value),
    )
    .label(format!("at most {SELECTORS_MAX} networks on a side, {CHILDREN_MAX} pairs when split"))
    .fix("summarise networks, or split the connection")
}

fn read_routes(field: &Field<RawRoutes>, findings: &mut Findings) -> Routes {
    match field.value() {
        None | Some(RawRoutes::Auto) => Routes::Auto,
        Some(RawRoutes::None) => Routes::None,
        Some(RawRoutes::List(list)) => {
            let routes = list.iter().filter_map(|entry| network(entry, findings));
            Routes::List(routes.map(|at| at.value).collect())
        }
    }
}
