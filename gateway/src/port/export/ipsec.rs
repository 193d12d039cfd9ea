//! ipsec.conf and ipsec.secrets of strongSwan for the other side, in one text: the secrets are in comments below.
//!
//! `ike` and `esp` end in `!`, which says that nothing else is accepted.

use std::fmt::Write as _;

use super::mirror::{Mirror, joined, proposals, seconds};

/// Where ipsec.secrets begins.
pub(super) const SECRETS: &str = "# ---- /etc/ipsec.secrets, mode 0600 ----";

pub(super) fn text(mirror: &Mirror<'_>) -> (String, Vec<String>) {
    let mut notes =
        vec![format!("what follows the line `{SECRETS}` belongs into /etc/ipsec.secrets")];
    let Mirror { name, remote, own_id, remote_id, .. } = mirror;
    let mut text =
        format!("# {}\n# ---- /etc/ipsec.conf, then: ipsec reload ----\n", mirror.headline());
    let own = if mirror.own.is_empty() { "%any".into() } else { mirror.own.join(",") };
    let known = |all: &[ikev2::Proposal]| {
        let (known, unknown) = proposals(all);
        if known.is_empty() { unknown.join(",") } else { known.join(",") }
    };
    let several = mirror.children.len() > 1;
    for (at, child) in mirror.children.iter().enumerate() {
        let conn = if several { format!("{name}-{}", child.name) } else { name.clone() };
        let _ = writeln!(text, "conn {conn}");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "\t{key}={value}");
        };
        line("leftsubnet", &joined(child.own, ","));
        line("rightsubnet", &joined(child.remote, ","));
        line("auto", "start");
        if at > 0 {
            line(
                "also",
                &format!("{name}-{}", mirror.children.first().map_or("", |first| first.name)),
            );
            continue;
        }
        line("keyexchange", "ikev2");
        line("left", &own);
        line("right", remote);
        for (side, id, proof) in
            [("left", own_id, mirror.own_proof), ("right", remote_id, mirror.remote_proof)]
        {
            if !id.is_empty() {
                line(&format!("{side}id"), &quoted(id));
            }
            line(&format!("{side}auth"), if proof == "psk" { "psk" } else { "pubkey" });
            if proof != "psk" {
                notes.push(format!("add `{side}cert` (or `{side}sigkey`) with the file"));
            }
        }
        if mirror.remote_port != 500 {
            line("rightikeport", &mirror.remote_port.to_string());
        }
        line("ike", &format!("{}!", known(&mirror.policy.ike)));
        line("esp", &format!("{}!", known(&mirror.policy.esp)));
        line("ikelifetime", &seconds(mirror.policy.ike_lifetime.time));
        line("lifetime", &seconds(mirror.policy.esp_lifetime.time));
        if let Some(dpd) = mirror.dpd {
            line("dpddelay", &seconds(dpd.interval));
            line("dpdaction", "restart");
        }
        line("closeaction", "restart");
        line("keyingtries", "%forever");
        if !mirror.connection.extensions.mobike {
            line("mobike", "no");
        }
    }
    if mirror.has_psk {
        let key = mirror.key.as_ref().map_or_else(
            || "# THE KEY (export with --with-psk has it here)".to_owned(),
            |key| key.to_string(),
        );
        let comment = if mirror.key.is_some() { "" } else { "# " };
        let _ =
            writeln!(text, "{SECRETS}\n{comment}{} {} : PSK {key}", bare(own_id), bare(remote_id));
    }
    (text, notes)
}

fn quoted(text: &str) -> String {
    if text.contains([' ', ',', '#', '=']) { format!("\"{text}\"") } else { text.to_owned() }
}

/// As ipsec.secrets has it.
fn bare(id: &str) -> String {
    if id.is_empty() { "%any".into() } else { quoted(id) }
}
