//! Commands of the AWS client that make the other side: a customer gateway, a VPN connection, a route for each of our networks.
//!
//! ```text
//!   our address ─► customer gateway ─┐
//!   policy ─► TunnelOptions ×2 ──────┴─► VPN connection ─► vpn.json ─► s2s-gw import aws    (the two tunnels, with their keys)
//! ```
//!
//! Without a key in it AWS makes one for each tunnel. The words and ranges are those of `VpnTunnelOptionsSpecification` in the
//! EC2 API reference.

use std::fmt::Write as _;
use std::time::Duration;

use ikev2::{DpdAction, Proposal, Transform};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::mirror::Mirror;

pub(super) fn text(mirror: &Mirror<'_>) -> Result<(String, Vec<String>), String> {
    if !mirror.is_psk() {
        return Err("this has pre-shared keys only; AWS takes certificates of its own private CA, and this connection has others".into());
    }
    let networks = networks(mirror)?;
    let mut notes = vec![
        "fill in VGW, the virtual private gateway of the VPC (or --transit-gateway-id)".to_owned(),
        "s2s-gw import aws vpn.json makes the two connections of this side, in the place of this one".to_owned(),
    ];
    let tunnel = tunnel(mirror, &mut notes)?;
    let options = json!({ "StaticRoutesOnly": true, "TunnelOptions": [tunnel, tunnel] });
    let (name, remote) = (&mirror.name, &mirror.remote);
    let tag = |kind: &str| {
        format!("--tag-specifications 'ResourceType={kind},Tags=[{{Key=Name,Value={name}}}]'")
    };
    let mut text = format!("# {}\n", mirror.headline());
    let _ = writeln!(
        text,
        "CGW=$(aws ec2 create-customer-gateway --type ipsec.1 --ip-address {remote} --bgp-asn 65000 {} --query CustomerGateway.CustomerGatewayId --output text)",
        tag("customer-gateway")
    );
    let _ = writeln!(
        text,
        "VPN=$(aws ec2 create-vpn-connection --type ipsec.1 --customer-gateway-id \"$CGW\" --vpn-gateway-id VGW {} --options '{options}' --query VpnConnection.VpnConnectionId --output text)",
        tag("vpn-connection")
    );
    for network in networks {
        let _ = writeln!(
            text,
            "aws ec2 create-vpn-connection-route --vpn-connection-id \"$VPN\" --destination-cidr-block {network}"
        );
    }
    text.push_str("aws ec2 wait vpn-connection-available --vpn-connection-ids \"$VPN\"\n");
    text.push_str("aws ec2 describe-vpn-connections --vpn-connection-ids \"$VPN\" > vpn.json\n");
    Ok((text, notes))
}

/// Ours, each once: what AWS sends into the tunnels.
fn networks(mirror: &Mirror<'_>) -> Result<Vec<IpNet>, String> {
    let mut all: Vec<IpNet> =
        mirror.children.iter().flat_map(|child| child.remote).copied().collect();
    all.sort_unstable();
    all.dedup();
    if all.iter().any(|net| matches!(net, IpNet::V6(_))) {
        return Err("routes of a VPN connection of AWS are IPv4; make a connection for those networks alone".into());
    }
    Ok(all)
}

/// One entry of `TunnelOptions`.
fn tunnel(mirror: &Mirror<'_>, notes: &mut Vec<String>) -> Result<Value, String> {
    let (ike, esp) = (Words::of(&mirror.policy.ike, "ike")?, Words::of(&mirror.policy.esp, "esp")?);
    let mut within = |what: &str, time: Duration, range: (u64, u64)| {
        let seconds = time.as_secs().clamp(range.0, range.1);
        if seconds != time.as_secs() {
            notes.push(format!(
                "AWS takes {} to {} seconds for the lifetime of {what}: {seconds} in the place of {}",
                range.0,
                range.1,
                time.as_secs()
            ));
        }
        seconds
    };
    let lifetimes = [
        within("IKE", mirror.policy.ike_lifetime.time, (900, 28_800)),
        within("ESP", mirror.policy.esp_lifetime.time, (900, 3_600)),
    ];
    let mut options = json!({
        "IKEVersions": [{ "Value": "ikev2" }],
        "StartupAction": if mirror.calls { "start" } else { "add" },
        "Phase1LifetimeSeconds": lifetimes.first(),
        "Phase2LifetimeSeconds": lifetimes.last(),
    });
    if let Some(dpd) = mirror.dpd {
        let action = match dpd.action {
            DpdAction::Restart => "restart",
            DpdAction::Clear | DpdAction::Trap => "clear",
        };
        set(&mut options, "DPDTimeoutSeconds", json!(dpd.timeout.as_secs().max(30)));
        set(&mut options, "DPDTimeoutAction", json!(action));
    }
    ike.add(&mut options, "Phase1");
    esp.add(&mut options, "Phase2");
    if esp.groups.is_empty() {
        notes.push("AWS always asks for PFS; our `esp` has no group: add `ecp384` to it".into());
    }
    if mirror.key.is_some() {
        set(&mut options, "PreSharedKey", json!(key(mirror)?));
    }
    Ok(options)
}

/// 8 to 64 letters, digits, dots and underscores, of which the first is no zero.
fn key<'m>(mirror: &'m Mirror<'_>) -> Result<&'m str, String> {
    let text = mirror.key_text.as_ref().map_or("", |text| text.as_str());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    if (8..=64).contains(&text.len()) && !text.starts_with('0') && text.chars().all(plain) {
        return Ok(text);
    }
    Err("AWS takes keys of 8 to 64 letters, digits, dots and underscores that do not begin with 0, and this one is another; without --with-psk AWS makes one for each tunnel".into())
}

fn set(options: &mut Value, name: &str, value: Value) {
    if let Value::Object(map) = options {
        map.insert(name.to_owned(), value);
    }
}

/// What AWS calls the algorithms of some proposals: sets, of which it takes any mixture.
struct Words {
    ciphers: Vec<&'static str>,
    hashes: Vec<&'static str>,
    groups: Vec<u16>,
}

impl Words {
    fn of(all: &[Proposal], key: &str) -> Result<Self, String> {
        let mut words = Self { ciphers: Vec::new(), hashes: Vec::new(), groups: Vec::new() };
        for proposal in all {
            if proposal.transforms.iter().any(|one| matches!(one, Transform::AddKe(..))) {
                continue;
            }
            for transform in &proposal.transforms {
                if let Transform::Ke(method) = transform {
                    let group = method.0;
                    if (14..=24).contains(&group) && !words.groups.contains(&group) {
                        words.groups.push(group);
                    }
                }
                let own = transform.to_string();
                let own = own.trim_start_matches("prf");
                add(&mut words.ciphers, CIPHERS, own);
                add(&mut words.hashes, HASHES, own);
            }
        }
        if words.ciphers.is_empty() {
            return Err(format!(
                "AWS has none of the algorithms in `{key}`: use the policy `aws`, or aes256gcm16-prfsha384-ecp384"
            ));
        }
        Ok(words)
    }

    fn add(&self, options: &mut Value, phase: &str) {
        let values = |all: Vec<Value>| -> Value {
            all.into_iter().map(|one| json!({ "Value": one })).collect()
        };
        let texts = |all: &[&str]| all.iter().map(|one| json!(one)).collect();
        set(options, &format!("{phase}EncryptionAlgorithms"), values(texts(&self.ciphers)));
        if !self.hashes.is_empty() {
            set(options, &format!("{phase}IntegrityAlgorithms"), values(texts(&self.hashes)));
        }
        if !self.groups.is_empty() {
            let groups = self.groups.iter().map(|one| json!(one)).collect();
            set(options, &format!("{phase}DHGroupNumbers"), values(groups));
        }
    }
}

fn add(found: &mut Vec<&'static str>, known: &[(&str, &'static str)], own: &str) {
    let theirs = known.iter().find(|(word, _)| *word == own).map(|(_, theirs)| *theirs);
    if let Some(theirs) = theirs.filter(|theirs| !found.contains(theirs)) {
        found.push(theirs);
    }
}

const CIPHERS: &[(&str, &str)] = &[
    ("aes256gcm16", "AES256-GCM-16"),
    ("aes128gcm16", "AES128-GCM-16"),
    ("aes256", "AES256"),
    ("aes128", "AES128"),
];

const HASHES: &[(&str, &str)] =
    &[("sha256", "SHA2-256"), ("sha384", "SHA2-384"), ("sha512", "SHA2-512")];
