//! Keys of other programs, which people write from memory: what they are called here. And whole files of theirs.
//!
//! ```text
//!   leftsubnet = "10.1.0.0/16"   ─► E0101  that is `local_subnets` here
//!   [Interface]                  ─► E0101  that is [gateway] here
//!   conn berlin                  ─► E0100  s2s-gw import ipsec ..
//!   keyexchange = "ikev1"        ─► E0201  IKEv1 is not spoken
//!   type = "transport"           ─► E0202  tunnel mode only
//! ```

use std::path::Path;

use toml::de::DeValue;

use super::codes::Code;
use super::report::{Diagnostic, for_shell};
use super::section::WHOLE_FILE;
use super::source::Place;

/// A key of another program.
struct Foreign {
    name: &'static str,
    /// Ours, if there is one in the same table: its absence is not reported on top.
    ours: Option<&'static str>,
    /// What to do instead.
    help: &'static str,
}

const fn is(name: &'static str, ours: &'static str, help: &'static str) -> Foreign {
    Foreign { name, ours: Some(ours), help }
}

const fn other(name: &'static str, help: &'static str) -> Foreign {
    Foreign { name, ours: None, help }
}

/// Of a connection. strongSwan (both of its files), Libreswan, VPNaaS.
const FOREIGN: &[Foreign] = &[
    other("left", "that is `listen` in [gateway] here"),
    is("leftid", "local_id", "that is `local_id` here"),
    is("leftsubnet", "local_subnets", "that is `local_subnets` here"),
    is("leftsubnets", "local_subnets", "that is `local_subnets` here"),
    is("right", "peer", "that is `peer` here"),
    is("rightid", "peer_id", "that is `peer_id` here"),
    is("rightsubnet", "remote_subnets", "that is `remote_subnets` here"),
    is("rightsubnets", "remote_subnets", "that is `remote_subnets` here"),
    other("local_addrs", "that is `listen` in [gateway] here"),
    is("remote_addrs", "peer", "that is `peer` here"),
    is("remote", "peer", "that is `peer` here"),
    is("peer_address", "peer", "that is `peer` here"),
    is("remote_id", "peer_id", "that is `peer_id` here"),
    is("local_ts", "local_subnets", "that is `local_subnets` here"),
    is("remote_ts", "remote_subnets", "that is `remote_subnets` here"),
    is("peer_cidrs", "remote_subnets", "that is `remote_subnets` here"),
    is("secret", "psk", "that is `psk = { file = \"PATH\" }` here"),
    is("leftcert", "cert", "that is `cert` here, with `key`"),
    is("rightcert", "peer_cert", "that is `peer_cert` here"),
    is("leftsigkey", "key", "that is `key` here: our private key"),
    is("rightsigkey", "peer_key", "that is `peer_key` here"),
    is("cacerts", "ca", "that is `ca` here"),
    is("rightca", "ca", "that is `ca` here: the file of the authority"),
    other(
        "authby",
        "`psk`, or `cert`, `key` and `ca`, say how both sides prove who they are; delete it",
    ),
    other("keyingtries", "the gateway always tries again, for ever; delete it"),
    other("rekey_time", "that is `ike_lifetime` or `esp_lifetime` of a policy here"),
    other("over_time", "that is `ike_lifetime` or `esp_lifetime` of a policy here"),
    other("life_time", "that is `esp_lifetime` of a policy here"),
    other("ikelifetime", "that is `ike_lifetime` of a policy here"),
    other("lifetime", "that is `ike_lifetime` or `esp_lifetime` of a policy here"),
    other("keylife", "that is `esp_lifetime` of a policy here"),
    other("salifetime", "that is `esp_lifetime` of a policy here"),
    other("reauth_time", "that is `auth_lifetime` here"),
    other("reauth", "that is `auth_lifetime` here"),
    is(
        "auto",
        "start",
        "that is `start` here: `start` is \"always\", `route` \"on-demand\", `add` \"respond-only\"",
    ),
    is(
        "start_action",
        "start",
        "that is `start` here: `start` is \"always\", `trap` \"on-demand\", `none` \"respond-only\"",
    ),
    is(
        "initiator",
        "start",
        "that is `start` here: `bi-directional` is \"always\", `response-only` \"respond-only\"",
    ),
    is("admin_state_up", "enabled", "that is `enabled` here"),
    other("close_action", "a connection with `start = \"always\"` always comes back; delete it"),
    other("dpdaction", "that is `dpd = { action = \"..\" }` here"),
    other("dpd_action", "that is `dpd = { action = \"..\" }` here"),
    other("dpddelay", "that is `dpd = { interval = \"..\" }` here"),
    other("dpd_delay", "that is `dpd = { interval = \"..\" }` here"),
    other("dpdtimeout", "that is `dpd = { timeout = \"..\" }` here"),
    other("dpd_timeout", "that is `dpd = { timeout = \"..\" }` here"),
    other(
        "ike",
        "that is `ike` of a policy here: write it in [policy.NAME] and `policy = \"NAME\"`",
    ),
    other(
        "esp",
        "that is `esp` of a policy here: write it in [policy.NAME] and `policy = \"NAME\"`",
    ),
    other("proposals", "that is `ike` of a policy here"),
    other("esp_proposals", "that is `esp` of a policy here"),
    other("pfs", "a group in `esp` of a policy asks for it: \"aes256gcm16-ecp384\""),
    is("forceencaps", "encap", "that is `encap = \"force\"` here, which is the default"),
    // What they say is always so, unless they ask for what there is not.
    other("keyexchange", "IKEv2 is always spoken; delete it"),
    other("ike_version", "IKEv2 is always spoken; delete it"),
    other("ikev2", "IKEv2 is always spoken; delete it"),
    other("aggressive", "that is of IKEv1; delete it"),
    other("type", "it is always tunnel mode; delete it"),
    other("mode", "it is always tunnel mode; delete it"),
    other("encapsulation_mode", "it is always tunnel mode; delete it"),
    other("transform_protocol", "it is always ESP; delete it"),
    other("ah", "packets are protected by ESP, which also encrypts; delete it"),
    other("ah_proposals", "packets are protected by ESP, which also encrypts; delete it"),
];

/// Of WireGuard, in whatever table.
const WIREGUARD: &[Foreign] = &[
    is("Endpoint", "peer", "that is `peer` of a connection here"),
    is("AllowedIPs", "remote_subnets", "that is `remote_subnets` of a connection here"),
    is("PresharedKey", "psk", "that is `psk = { file = \"PATH\" }` of a connection here"),
    is("PersistentKeepalive", "nat_keepalive", "that is `nat_keepalive` of a connection here"),
    is(
        "PrivateKey",
        "key",
        "that is `key` here, a file with a key of another kind; a `psk` alone will do",
    ),
    is(
        "PublicKey",
        "peer_key",
        "that is `peer_key` here, a file with a key of another kind; a `psk` alone will do",
    ),
    is("Table", "routes", "that is `routes` of a connection here, and `off` is \"none\""),
    other("Address", "a tunnel needs no address of its own here; delete it"),
    other(
        "ListenPort",
        "that is `ike_port` and `nat_port` of [gateway] here, 500 and 4500 as peers expect; delete it",
    ),
    other("DNS", "name servers stay as they are here; delete it"),
    other("FwMark", "packets get no mark here; delete it"),
    other("SaveConfig", "the file is only read here; delete it"),
    other("PreUp", "no commands are run here; delete it"),
    other("PostUp", "no commands are run here; delete it"),
    other("PreDown", "no commands are run here; delete it"),
    other("PostDown", "no commands are run here; delete it"),
];

/// The tables of WireGuard.
const TABLES: &[Foreign] = &[
    other("Interface", "a table of WireGuard: that is [gateway] here, see docs/peers/wireguard.md"),
    other(
        "Peer",
        "a table of WireGuard: that is [connection.NAME] here, see docs/peers/wireguard.md",
    ),
];

/// What there is to say about a key that is not ours, and which of ours it is.
pub(super) fn recognised(
    name: &str,
    value: &DeValue<'_>,
    title: &str,
    place: &Place,
) -> Option<(Diagnostic, Option<&'static str>)> {
    let takes_all = title.starts_with("[connection.") || title.starts_with("[policy.");
    let of_others = FOREIGN.iter().filter(|_| takes_all);
    let tables = TABLES.iter().filter(|_| title == WHOLE_FILE);
    let mut all = of_others.chain(WIREGUARD).chain(tables);
    let known = all.find(|one| one.name == name)?;
    let diagnostic = impossible(name, value, place).unwrap_or_else(|| {
        Diagnostic::at(Code::UnknownKey, place, format!("unknown key `{name}` in {title}"))
            .label("a key of another program")
            .help(Some(known.help))
    });
    Some((diagnostic, known.ours))
}

/// E0201 and E0202: what this program never does, whatever the key is called.
fn impossible(name: &str, value: &DeValue<'_>, place: &Place) -> Option<Diagnostic> {
    let word = value.as_str().map(str::to_ascii_lowercase);
    let number = value.as_integer().map(|number| number.as_str().to_owned());
    let says = |what: &str| word.as_deref() == Some(what) || number.as_deref() == Some(what);
    let is_v1 = match name {
        "keyexchange" | "ike_version" => ["ikev1", "v1", "1"].into_iter().any(says),
        "ikev2" => ["no", "never"].into_iter().any(says) || value.as_bool() == Some(false),
        "aggressive" => says("yes") || value.as_bool() == Some(true),
        _ => false,
    };
    if is_v1 {
        return Some(
            Diagnostic::at(Code::Ikev1, place, "IKEv1 is not spoken")
                .label("this asks for it")
                .why("IKEv1 is deprecated (RFC 9395); nearly every peer that has it has IKEv2, too")
                .fix("switch the peer to IKEv2, and delete this line"),
        );
    }
    let is_ah = matches!(name, "ah" | "ah_proposals")
        || name == "transform_protocol" && (says("ah") || says("ah-esp"));
    let is_transport = matches!(name, "type" | "mode" | "encapsulation_mode") && says("transport");
    (is_ah || is_transport).then(|| {
        let what = if is_ah { "AH" } else { "transport mode" };
        Diagnostic::at(Code::NotEspTunnel, place, format!("{what} is not supported"))
            .label("this asks for it")
            .why("a gateway carries packets of networks behind it, which takes ESP in tunnel mode")
            .fix("set the peer to ESP in tunnel mode, and delete this line")
    })
}

/// What to do with a file that is not ours, by a line that no file of ours has; `path` is where it lies.
pub(super) fn remedy(text: &str, path: &Path) -> Option<String> {
    let import = |program: &str, usual: &str| {
        // Who pasted it into a file of ours has the original elsewhere.
        let is_ours = path.extension().is_none_or(|ending| ending == "toml");
        let file = for_shell(if is_ours { Path::new(usual) } else { path });
        let name = Path::new(usual).file_name().unwrap_or_default().display();
        format!(
            "this looks like {name}; translate it: s2s-gw import {program} {file} -o s2s-gw.toml"
        )
    };
    text.lines().find_map(|line| {
        if is_of_ipsec_conf(line) {
            Some(import("ipsec", "/etc/ipsec.conf"))
        } else if is_of_swanctl_conf(line) {
            Some(import("swanctl", "/etc/swanctl/swanctl.conf"))
        } else if TABLES.iter().any(|table| line.trim() == format!("[{}]", table.name)) {
            Some("this looks like WireGuard; docs/peers/wireguard.md says what its words are here, and `s2s-gw init` makes a first file".to_owned())
        } else {
            None
        }
    })
}

/// `conn NAME`, `ca NAME`, `config setup`.
fn is_of_ipsec_conf(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    let &[kind, name] = words.as_slice() else { return false };
    line.starts_with(kind)
        && (matches!(kind, "conn" | "ca") && !name.contains('=')
            || (kind, name) == ("config", "setup"))
}

/// `NAME {`.
fn is_of_swanctl_conf(line: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-%*".contains(c);
    let name = line.trim().strip_suffix('{').map(str::trim_end);
    name.is_some_and(|name| !name.is_empty() && name.chars().all(is_word))
}

#[cfg(test)]
mod tests {
    use super::super::keys::CONNECTION;
    use super::*;
    use crate::config::{Config, Surroundings};

    #[test]
    fn foreign_keys_are_not_ours_and_lead_to_ours() {
        for one in FOREIGN.iter().chain(WIREGUARD) {
            assert!(CONNECTION.iter().all(|key| key.name != one.name), "{} is ours", one.name);
            let leads = |ours| CONNECTION.iter().any(|key| key.name == ours);
            assert!(one.ours.is_none_or(leads), "{} leads nowhere", one.name);
            let all = FOREIGN.iter().chain(WIREGUARD);
            let same = all.filter(|other| other.name == one.name).count();
            assert_eq!(same, 1, "{}", one.name);
        }
    }

    #[test]
    fn every_foreign_key_gets_its_own_help() {
        for one in FOREIGN.iter().chain(WIREGUARD) {
            let text = format!("[connection.berlin]\n{} = 'x'\n", one.name);
            let report = Config::load_text_in(Path::new("f"), &text, &Surroundings::default());
            let found = report.unwrap_err().diagnostics;
            let said = found.iter().find(|said| said.line_column() == Some((2, 1))).unwrap();
            let is_refused = said.code == Code::NotEspTunnel;
            assert!(is_refused || said.help.as_deref() == Some(one.help), "{}: {said:?}", one.name);
        }
    }
}
