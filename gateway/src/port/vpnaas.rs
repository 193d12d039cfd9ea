//! OpenStack VPNaaS: site connections and the policies, services and endpoint groups that they refer to.
//!
//! ```text
//!   ipsec_site_connection ─┬─ ikepolicy, ipsecpolicy ─► [policy.NAME]
//!      peer_address, psk   ├─ vpnservice ─► our address; subnet ─► local_subnets
//!      dpd, initiator      └─ endpoint groups, peer_cidrs ─► remote_subnets
//! ```
//!
//! Words of neutron's API: api-ref "VPNaaS", and the titles of `openstack vpn .. -f json`.

use std::time::Duration;

use super::foreign::{Foreign, Offer, Pair, Secret, Side};
use super::json::{Object, objects};
use super::note::Note;
use super::swanctl::{NOT_TUNNEL, ikev1};
use super::{Input, Parsed};
use crate::config::{Diagnostic, group};

pub(super) fn parse(inputs: &[Input]) -> Result<Parsed, Box<Diagnostic>> {
    let objects = objects(inputs)?;
    let is_connection = |one: &&Object| one.has("peer_address");
    let connections = objects.iter().filter(is_connection).map(|one| connection(one, &objects));
    Ok(Parsed { connections: connections.collect(), notes: Vec::new() })
}

fn connection(site: &Object, all: &[Object]) -> Foreign {
    let named = if site.text("name").is_empty() { site.text("id") } else { site.text("name") };
    let mut one = Foreign {
        name: named,
        place: Some(site.place.clone()),
        description: site.text("description"),
        disabled: site.flag("admin_state_up").or(site.flag("state")) == Some(false),
        ..Foreign::default()
    };
    let service = all
        .iter()
        .find(|other| other.is(&site.text("vpnservice_id")) && !other.has("peer_address"));
    one.sides = [ours(site, service), theirs(site)];
    one.psk = Some(site.text("psk")).filter(|key| !key.is_empty()).map(|key| Secret::of(&key));
    if !["", "psk"].contains(&site.text("auth_mode").as_str()) {
        one.impossible = Some("it proves identities by something else than a key".into());
    }
    one.pairs = vec![Pair {
        networks: [local(site, service, all, &mut one), remote(site, all)],
        place: one.place.clone(),
    }];
    for (key, is_ike) in [("ikepolicy_id", true), ("ipsecpolicy_id", false)] {
        let name = site.text(key);
        let policy =
            all.iter().find(|other| other.is(&name) && (other.has("encryption_algorithm")));
        match policy {
            Some(policy) if is_ike => ike_policy(policy, &mut one),
            Some(policy) => ipsec_policy(policy, &mut one),
            None => {
                let what = format!(
                    "its {key} `{name}` is not among the files; the built-in policy is used"
                );
                let fix = "give the JSON of `openstack vpn ike policy show` and `openstack vpn ipsec policy show`, too";
                one.note(Note::new(Some(&site.place), what).fix(fix).grave());
            }
        }
    }
    dpd(site, &mut one);
    one.start = if site.text("initiator") == "response-only" { "respond-only" } else { "always" };
    if let Some(mtu) = site.text("mtu").parse::<u16>().ok().filter(|mtu| (576..1500).contains(mtu))
    {
        one.extra.push(("mtu", mtu.to_string()));
    }
    one
}

fn ours(site: &Object, service: Option<&Object>) -> Side {
    let v6 = site.text("peer_address").contains(':');
    let key = if v6 { "external_v6_ip" } else { "external_v4_ip" };
    let address = service.map(|service| service.text(key)).filter(|text| !text.is_empty());
    let id = site.text("local_id");
    Side { addresses: address.into_iter().collect(), id, proof: None }
}

fn theirs(site: &Object) -> Side {
    let id = site.text("peer_id");
    Side { addresses: vec![site.text("peer_address")], id, proof: None }
}

fn local(
    site: &Object,
    service: Option<&Object>,
    all: &[Object],
    one: &mut Foreign,
) -> Vec<String> {
    let group = all.iter().find(|other| other.is(&site.text("local_ep_group_id")));
    let mut names = group.map(|group| group.list("endpoints")).unwrap_or_default();
    if names.is_empty() {
        names.extend(service.map(|service| service.text("subnet_id")).filter(|id| !id.is_empty()));
    }
    let mut nets = Vec::new();
    for name in names {
        let subnet = all.iter().find(|other| other.is(&name) && other.has("cidr"));
        match subnet {
            Some(subnet) => nets.push(subnet.text("cidr")),
            None if name.contains('/') => nets.push(name),
            None => {
                let what = format!("the network of subnet `{name}` is not among the files");
                let fix =
                    "give the JSON of `openstack subnet show -f json`, too, or --local NETWORK";
                one.notes.push(Note::new(Some(&site.place), what).fix(fix));
            }
        }
    }
    nets
}

fn remote(site: &Object, all: &[Object]) -> Vec<String> {
    let group = all.iter().find(|other| other.is(&site.text("peer_ep_group_id")));
    let grouped = group.map(|group| group.list("endpoints")).unwrap_or_default();
    if grouped.is_empty() { site.list("peer_cidrs") } else { grouped }
}

fn ike_policy(policy: &Object, one: &mut Foreign) {
    one.ike = vec![offer(policy)];
    if policy.text("ike_version") == "v1" {
        one.note(ikev1(Some(&policy.place)));
    }
    one.ike_lifetime = lifetime(policy);
}

fn ipsec_policy(policy: &Object, one: &mut Foreign) {
    one.esp = vec![offer(policy)];
    let transform = policy.text("transform_protocol");
    if !["", "esp"].contains(&transform.as_str())
        || policy.text("encapsulation_mode") == "transport"
    {
        one.impossible.get_or_insert(NOT_TUNNEL.into());
    }
    one.esp_lifetime = lifetime(policy);
    if policy.inner("lifetime", "units") == "kilobytes" {
        let kilobytes: Option<u64> = policy.inner("lifetime", "value").parse().ok();
        one.esp_lifebytes = kilobytes.and_then(|number| number.checked_mul(1024));
        let what = "its lifetime in kilobytes was never enforced there; here it is";
        one.note(Note::new(Some(&policy.place), what));
    }
}

/// Seconds, if it is in seconds.
fn lifetime(policy: &Object) -> Option<Duration> {
    let units = policy.inner("lifetime", "units");
    let value = policy.inner("lifetime", "value").parse::<u64>().ok().filter(|value| *value > 0);
    value.filter(|_| ["", "seconds"].contains(&units.as_str())).map(Duration::from_secs)
}

/// `aes-256-gcm-16`, `sha256`, `group14` in the words of strongSwan.
fn offer(policy: &Object) -> Offer {
    let cipher = policy.text("encryption_algorithm").replace('-', "");
    let hash = policy.text("auth_algorithm").replace('-', "");
    let pfs = policy.text("pfs");
    let number = pfs.strip_prefix("group").and_then(|number| number.parse().ok());
    let group = number.and_then(group).map_or(pfs, str::to_owned);
    let words = [cipher, hash, group].into_iter().filter(|word| !word.is_empty());
    Offer { words: words.collect::<Vec<_>>().join("-"), place: Some(policy.place.clone()) }
}

fn dpd(site: &Object, one: &mut Foreign) {
    let seconds = |key: &str| site.inner("dpd", key).parse::<u64>().ok().map(Duration::from_secs);
    one.dpd.interval = seconds("interval").filter(|time| !time.is_zero());
    one.dpd.timeout = seconds("timeout").filter(|time| !time.is_zero());
    one.dpd.action = match site.inner("dpd", "action").as_str() {
        "hold" => "trap",
        "clear" => "clear",
        "restart-by-peer" => {
            let what = "`restart-by-peer` restarts this connection alone here";
            one.note(Note::new(Some(&site.place), what));
            ""
        }
        _ => "",
    };
}
