//! Commands of the OpenStack client that make the other side in VPNaaS.
//!
//! VPNaaS has one algorithm of each kind in a policy, so the best is chosen that our policy has and every release knows:
//! AES-CBC with SHA-2 before AES-GCM, which only newer ones have.

use std::fmt::Write as _;

use ikev2::registry::TransformType;
use ikev2::{Proposal, Transform};
use ipnet::IpNet;

use super::mirror::{Mirror, joined};

pub(super) fn text(mirror: &Mirror<'_>) -> Result<(String, Vec<String>), String> {
    let ike = choose(&mirror.policy.ike, "ike", true)?;
    let esp = choose(&mirror.policy.esp, "esp", false)?;
    let Mirror { name, remote, remote_id, .. } = mirror;
    if !mirror.is_psk() {
        return Err(
            "VPNaaS knows pre-shared keys only, and this connection has certificates".into()
        );
    }
    let nets = networks(mirror)?;
    let own: Vec<_> = mirror.children.iter().flat_map(|child| child.own).collect();
    let mut text = format!("# {}\n", mirror.headline());
    let _ =
        writeln!(text, "# ROUTER and SUBNET are those of the network(s) {}", joined(&own, ", "));
    let key = match (&mirror.key, &mirror.key_text) {
        (None, _) => "read -r PSK < THE-KEY-FILE     # what both sides have".to_owned(),
        (_, Some(text)) => format!("PSK={}", quoted(text)),
        (Some(_), None) => {
            return Err("VPNaaS takes keys of plain text only: make one with s2s-gw genpsk".into());
        }
    };
    let _ = writeln!(text, "{key}");
    let seconds = |time: std::time::Duration| format!("units=seconds,value={}", time.as_secs());
    let _ = writeln!(
        text,
        "openstack vpn ike policy create {name}-ike --ike-version v2 --encryption-algorithm {} --auth-algorithm {} --pfs {} --lifetime {}",
        ike.cipher,
        ike.hash,
        ike.group,
        seconds(mirror.policy.ike_lifetime.time)
    );
    let _ = writeln!(
        text,
        "openstack vpn ipsec policy create {name}-esp --transform-protocol esp --encapsulation-mode tunnel --encryption-algorithm {} --auth-algorithm {} --pfs {} --lifetime {}",
        esp.cipher,
        esp.hash,
        esp.group,
        seconds(mirror.policy.esp_lifetime.time)
    );
    let _ = writeln!(text, "openstack vpn service create {name}-service --router ROUTER");
    let _ = writeln!(
        text,
        "openstack vpn endpoint group create {name}-local --type subnet --value SUBNET"
    );
    let values = joined(&nets, " --value ");
    let _ = writeln!(
        text,
        "openstack vpn endpoint group create {name}-peer --type cidr --value {values}"
    );
    let local_id = if mirror.own_id.is_empty() {
        String::new()
    } else {
        format!(" --local-id {}", quoted(&mirror.own_id))
    };
    let dpd = mirror.dpd.map_or_else(String::new, |dpd| {
        format!(
            " --dpd action=restart,interval={},timeout={}",
            dpd.interval.as_secs(),
            dpd.timeout.as_secs()
        )
    });
    let _ = writeln!(
        text,
        "openstack vpn ipsec site connection create {name} --vpnservice {name}-service --ikepolicy {name}-ike --ipsecpolicy {name}-esp --local-endpoint-group {name}-local --peer-endpoint-group {name}-peer --peer-address {remote} --peer-id {}{local_id} --psk \"$PSK\" --initiator bi-directional{dpd}",
        quoted(remote_id)
    );
    let mut notes = vec!["fill in ROUTER and SUBNET".to_owned()];
    if esp.group == "group14" && !has_group(&mirror.policy.esp) {
        notes.push(
            "VPNaaS always asks for PFS; our `esp` has no group: add `modp2048` to it".into(),
        );
    }
    Ok((text, notes))
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Ours, each once.
fn networks(mirror: &Mirror<'_>) -> Result<Vec<IpNet>, String> {
    let mut nets: Vec<IpNet> =
        mirror.children.iter().flat_map(|child| child.remote).copied().collect();
    nets.sort_unstable();
    nets.dedup();
    let v6 = nets.iter().filter(|net| matches!(net, IpNet::V6(_))).count();
    if v6 == 0 || v6 == nets.len() {
        return Ok(nets);
    }
    Err("an endpoint group of VPNaaS has one IP version: make a connection for each".into())
}

/// Words of VPNaaS.
struct Choice {
    cipher: String,
    hash: &'static str,
    group: String,
}

fn has_group(all: &[Proposal]) -> bool {
    all.iter().flat_map(|proposal| &proposal.transforms).any(|one| one.kind() == TransformType::KE)
}

/// The first proposal of CBC ciphers, else of AES-GCM; of each kind what comes first and VPNaaS has.
fn choose(all: &[Proposal], key: &str, is_ike: bool) -> Result<Choice, String> {
    let further = |proposal: &&Proposal| {
        !proposal.transforms.iter().any(|one| matches!(one, Transform::AddKe(..)))
    };
    let found = all.iter().filter(further).find_map(|one| choice(one, false, is_ike));
    let found =
        found.or_else(|| all.iter().filter(further).find_map(|one| choice(one, true, is_ike)));
    found.ok_or_else(|| {
        format!(
            "VPNaaS has none of the algorithms in `{key}`: use a policy with aes256-sha256-modp2048"
        )
    })
}

fn choice(proposal: &Proposal, gcm: bool, is_ike: bool) -> Option<Choice> {
    let words: Vec<String> = proposal.transforms.iter().map(ToString::to_string).collect();
    let any = |known: &[&'static str]| {
        known.iter().find(|word| words.iter().any(|own| own == *word)).copied()
    };
    let cipher = if gcm {
        any(&["aes256gcm16", "aes192gcm16", "aes128gcm16"])
    } else {
        any(&["aes256", "aes192", "aes128"])
    }?;
    let hash = if gcm {
        // It says which PRF; ESP has none.
        let prf = any(&["prfsha256", "prfsha384", "prfsha512"]);
        if is_ike { prf?.trim_start_matches("prf") } else { "sha256" }
    } else {
        any(&["sha256", "sha384", "sha512"])?
    };
    let groups: Vec<u16> = proposal
        .transforms
        .iter()
        .filter_map(|one| {
            let Transform::Ke(method) = one else { return None };
            Some(method.0)
        })
        .collect();
    let known = [14, 19, 20, 15, 16, 21, 31, 17, 18];
    let number = known.into_iter().find(|number| groups.contains(number));
    let number = if is_ike { number? } else { number.unwrap_or(14) };
    let cipher = cipher.replace("aes", "aes-").replace("gcm16", "-gcm-16");
    Some(Choice { cipher, hash, group: format!("group{number}") })
}
