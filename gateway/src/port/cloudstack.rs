//! CloudStack: VPN connections, the customer gateways that they are to, and our gateway and VPC.
//!
//! ```text
//!   vpnconnection ─┬─ gateway, cidrlist, ipsecpsk ─► peer, remote_subnets, psk
//!                  ├─ ikepolicy, esppolicy (`aes128-sha1;modp1536`) ─► [policy.NAME]
//!                  └─ vpngateway (publicip) ─► vpc (cidr) ─► local_subnets
//! ```
//!
//! Names of the responses of listVpnConnections, listVpnCustomerGateways, listVpnGateways and listVPCs.

use std::time::Duration;

use super::foreign::{Death, Foreign, Offer, Pair, Secret, Side};
use super::json::{Object, objects};
use super::swanctl::ikev1;
use super::{Input, Parsed};
use crate::config::Diagnostic;

pub(super) fn parse(inputs: &[Input]) -> Result<Parsed, Box<Diagnostic>> {
    let objects = objects(inputs)?;
    let is_connection =
        |one: &&Object| one.has("s2scustomergatewayid") || one.has("s2svpngatewayid");
    let mut connections: Vec<Foreign> =
        objects.iter().filter(is_connection).map(|one| connection(one, &objects)).collect();
    if connections.is_empty() {
        // Customer gateways alone say all but our side.
        let is_customer = |one: &&Object| one.has("gateway") && one.has("cidrlist");
        connections =
            objects.iter().filter(is_customer).map(|one| connection(one, &objects)).collect();
    }
    Ok(Parsed { connections, notes: Vec::new() })
}

fn connection(one: &Object, all: &[Object]) -> Foreign {
    let customer = all
        .iter()
        .find(|other| other.is(&one.text("s2scustomergatewayid")) && other.has("cidrlist"));
    // The connection repeats what its customer gateway says.
    let text = |key: &str| {
        let own = one.text(key);
        if own.is_empty() { customer.map(|c| c.text(key)).unwrap_or_default() } else { own }
    };
    let flag =
        |key: &str| one.flag(key).or_else(|| customer.and_then(|customer| customer.flag(key)));
    let seconds = |key: &str| one.seconds(key).or_else(|| customer.and_then(|c| c.seconds(key)));
    let name = customer.map(|customer| customer.text("name")).filter(|name| !name.is_empty());
    let name = name.or_else(|| Some(one.text("name")).filter(|name| !name.is_empty()));
    let gateway =
        all.iter().find(|other| other.is(&one.text("s2svpngatewayid")) && other.has("vpcid"));
    let public = [one.text("publicip"), gateway.map(|g| g.text("publicip")).unwrap_or_default()];
    let public = public.into_iter().find(|address| !address.is_empty());
    let vpc = gateway.and_then(|gateway| {
        all.iter().find(|other| other.is(&gateway.text("vpcid")) && other.has("cidr"))
    });
    let peer = text("gateway");
    let mut foreign = Foreign {
        name: name.unwrap_or_else(|| format!("peer-{peer}")),
        place: Some(one.place.clone()),
        psk: Some(text("ipsecpsk")).filter(|key| !key.is_empty()).map(|key| Secret::of(&key)),
        split: flag("splitconnections") == Some(true),
        ike_lifetime: seconds("ikelifetime"),
        esp_lifetime: seconds("esplifetime"),
        start: if flag("passive") == Some(true) { "respond-only" } else { "always" },
        ..Foreign::default()
    };
    let ours = Side { addresses: public.into_iter().collect(), ..Side::default() };
    let theirs = Side { addresses: vec![peer], ..Side::default() };
    foreign.sides = [ours, theirs];
    let list = one.list("cidrlist");
    let remote = if list.is_empty() {
        customer.map(|c| c.list("cidrlist")).unwrap_or_default()
    } else {
        list
    };
    let local = vpc.map(|vpc| vpc.text("cidr")).into_iter().collect();
    foreign.pairs = vec![Pair { networks: [local, remote], place: foreign.place.clone() }];
    let offer = |key: &str| {
        let words = text(key);
        let place = Some(one.place.clone());
        if words.is_empty() { Vec::new() } else { vec![Offer { words, place }] }
    };
    foreign.ike = offer("ikepolicy");
    foreign.esp = offer("esppolicy");
    if flag("dpd") == Some(true) {
        // What its virtual router has.
        let (interval, timeout) = (Some(Duration::from_secs(30)), Some(Duration::from_mins(2)));
        foreign.dpd = Death { interval, timeout, action: "" };
    }
    if text("ikeversion") == "ikev1" {
        foreign.note(ikev1(Some(&one.place)));
    }
    foreign
}
