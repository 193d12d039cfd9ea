//! swanctl.conf for the other side, as strongSwan 5.9 and later load it.

use std::fmt::Write as _;

use super::mirror::{Mirror, joined, proposals, seconds};

pub(super) fn text(mirror: &Mirror<'_>) -> (String, Vec<String>) {
    let mut notes = Vec::new();
    let Mirror { name, remote, own_id, remote_id, .. } = mirror;
    let own = if mirror.own.is_empty() { "%any".into() } else { mirror.own.join(",") };
    let mut text = format!(
        "# {}\n# /etc/swanctl/conf.d/{name}.conf, then: swanctl --load-all\n",
        mirror.headline()
    );
    let _ = write!(
        text,
        "connections {{\n  {name} {{\n    version = 2\n    local_addrs = {own}\n    remote_addrs = {remote}\n"
    );
    if mirror.remote_port != 500 {
        let _ = writeln!(text, "    remote_port = {}", mirror.remote_port);
    }
    line(&mut text, 4, "proposals", &known(&mirror.policy.ike, "proposals", &mut notes));
    line(&mut text, 4, "rekey_time", &seconds(mirror.policy.ike_lifetime.time));
    if let Some(dpd) = mirror.dpd {
        line(&mut text, 4, "dpd_delay", &seconds(dpd.interval));
    }
    line(&mut text, 4, "keyingtries", "0");
    if !mirror.connection.extensions.mobike {
        line(&mut text, 4, "mobike", "no");
    }
    if let Some(ppk) = &mirror.connection.ppk {
        line(&mut text, 4, "ppk_id", &quoted(&ppk.id));
        line(&mut text, 4, "ppk_required", if ppk.required { "yes" } else { "no" });
        notes.push("the post-quantum key is not in it: put it into `secrets { ppk-.. { id = .. secret = .. } }`".into());
    }
    for (side, proof, id) in
        [("local", mirror.own_proof, own_id), ("remote", mirror.remote_proof, remote_id)]
    {
        let _ = writeln!(text, "    {side} {{");
        line(&mut text, 6, "auth", if proof == "psk" { "psk" } else { "pubkey" });
        if !id.is_empty() {
            line(&mut text, 6, "id", &quoted(id));
        }
        if proof != "psk" {
            let what = match (side, proof) {
                ("local", "certificate") => {
                    "certs = FILE            # in /etc/swanctl/x509, its key in /etc/swanctl/private"
                }
                ("local", _) => {
                    "pubkeys = FILE          # in /etc/swanctl/pubkey, its key in /etc/swanctl/private"
                }
                (_, "certificate") => {
                    "cacerts = FILE          # in /etc/swanctl/x509ca, or certs = FILE"
                }
                _ => "pubkeys = FILE          # in /etc/swanctl/pubkey",
            };
            let _ = writeln!(text, "      # {what}");
            notes.push(format!("fill in the file in `{side}`, where a comment stands"));
        }
        text.push_str("    }\n");
    }
    text.push_str("    children {\n");
    for child in &mirror.children {
        let _ = writeln!(text, "      {} {{", child.name);
        line(&mut text, 8, "local_ts", &joined(child.own, ","));
        line(&mut text, 8, "remote_ts", &joined(child.remote, ","));
        line(
            &mut text,
            8,
            "esp_proposals",
            &known(&mirror.policy.esp, "esp_proposals", &mut notes),
        );
        line(&mut text, 8, "rekey_time", &seconds(mirror.policy.esp_lifetime.time));
        line(&mut text, 8, "start_action", if mirror.calls { "start" } else { "trap|start" });
        line(&mut text, 8, "close_action", "start");
        line(&mut text, 8, "dpd_action", "restart");
        text.push_str("      }\n");
    }
    text.push_str("    }\n  }\n}\n");
    secrets(mirror, &mut text);
    notes.dedup();
    (text, notes)
}

fn secrets(mirror: &Mirror<'_>, text: &mut String) {
    if !mirror.has_psk {
        return;
    }
    let _ = writeln!(text, "secrets {{\n  ike-{} {{", mirror.name);
    for (key, id) in [("id-own", &mirror.own_id), ("id-remote", &mirror.remote_id)] {
        if !id.is_empty() {
            line(text, 4, key, &quoted(id));
        }
    }
    match &mirror.key {
        Some(key) => line(text, 4, "secret", key),
        None => text.push_str("    # secret = THE KEY        what both sides have; export with --with-psk has it here\n"),
    }
    text.push_str("  }\n}\n");
}

fn line(text: &mut String, indent: usize, key: &str, value: &str) {
    let _ = writeln!(text, "{:indent$}{key} = {value}", "");
}

/// strongSwan splits a value at commas and ends it at `#`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What it knows; all of them where it knows none.
fn known(all: &[ikev2::Proposal], key: &str, notes: &mut Vec<String>) -> String {
    let (known, unknown) = proposals(all);
    if known.is_empty() {
        notes.push(format!(
            "`{key}` needs strongSwan 6 for ML-KEM, and has no words for implicit IVs"
        ));
        return unknown.join(",");
    }
    known.join(",")
}
