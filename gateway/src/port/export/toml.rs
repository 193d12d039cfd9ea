//! s2s-gw.toml for the other side: the same policy, the sides exchanged.

use std::fmt::Write as _;

use ikev2::keyword::Allow;

use super::mirror::{Mirror, joined};
use crate::config::{built_in_policy, shown_duration};

pub(super) fn text(mirror: &Mirror<'_>) -> (String, Vec<String>) {
    let quoted = |text: &str| ::toml::Value::String(text.to_owned()).to_string();
    let mut text =
        format!("# {}\n[gateway]\nname = {}\n", mirror.headline(), quoted(mirror.peer_name));
    let policy = policy(mirror, &mut text);
    let list = |children: Vec<String>| {
        let quoted: Vec<String> = children.iter().map(|text| quoted(text)).collect();
        format!("[{}]", quoted.join(", "))
    };
    let nets = |own: bool| {
        let mut all: Vec<String> = Vec::new();
        for child in &mirror.children {
            for net in if own { child.own } else { child.remote } {
                let net = net.to_string();
                if !all.contains(&net) {
                    all.push(net);
                }
            }
        }
        list(all)
    };
    let _ = writeln!(text, "\n[connection.{}]", mirror.name);
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {value}");
    };
    line("peer", &quoted(&mirror.remote));
    line("peer_id", &quoted(&mirror.remote_id));
    if !mirror.own_id.is_empty() {
        line("local_id", &quoted(&mirror.own_id));
    }
    if mirror.has_psk {
        line("psk", &format!("{{ file = {} }}", quoted(&format!("{}.psk", mirror.name))));
    }
    if policy != "default" {
        line("policy", &quoted(&policy));
    }
    line("local_subnets", &nets(true));
    line("remote_subnets", &nets(false));
    if !mirror.calls {
        // One of two that calls is enough.
        line("start", &quoted("respond-only"));
    }
    let mut notes = vec![format!("the key belongs into {}.psk beside it, mode 0600", mirror.name)];
    if !mirror.is_psk() {
        notes.push("add `cert`, `key` and `ca` (docs/certificates.md)".into());
    }
    (text, notes)
}

/// The name of the policy; its table, unless it is built in.
fn policy(mirror: &Mirror<'_>, text: &mut String) -> String {
    let policy = mirror.policy;
    if let Some(built_in) = built_in_policy(&policy.name)
        && built_in.ike == policy.ike
        && built_in.esp == policy.esp
    {
        return policy.name.clone();
    }
    let list = |all: &[ikev2::Proposal]| {
        let all: Vec<String> = all.iter().map(|one| format!("\"{one}\"")).collect();
        format!("[{}]", joined(&all, ", "))
    };
    let _ = write!(
        text,
        "\n[policy.{}]\nike = {}\nesp = {}\n",
        policy.name,
        list(&policy.ike),
        list(&policy.esp)
    );
    let lives = [("ike_lifetime", policy.ike_lifetime), ("esp_lifetime", policy.esp_lifetime)];
    for (key, life) in lives {
        let _ = writeln!(text, "{key} = \"{}\"", shown_duration(life.time));
    }
    let Allow { legacy, unencrypted } = policy.allow;
    for (key, said) in [("allow_legacy", legacy), ("allow_unencrypted", unencrypted)] {
        if said {
            let _ = writeln!(text, "{key} = true");
        }
    }
    policy.name.clone()
}
