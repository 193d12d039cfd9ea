//! Every key of the file, by table: the names that exist, and which of them this version can serve.
//!
//! ```text
//!   file ──┬─ version, include
//!          ├─ [gateway]
//!          ├─ [networks]            NAME = [..]
//!          ├─ [policy.NAME] ──────── dpd = {..}
//!          └─ [connection.NAME] ──┬─ dpd = {..}
//!                                 └─ psk = {..}
//! ```

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) support: Support,
}

/// Whether this version can do what a key asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Support {
    Yes,
    /// Refused with E0103; the text says what the key will be for.
    Later(&'static str),
}

const fn key(name: &'static str) -> Key {
    Key { name, support: Support::Yes }
}

const fn later(name: &'static str, purpose: &'static str) -> Key {
    Key { name, support: Support::Later(purpose) }
}

pub(super) const FILE: &[Key] = &[
    key("version"),
    key("include"),
    key("gateway"),
    key("networks"),
    key("policy"),
    key("connection"),
    later("http", "the status page and the metrics"),
    later("log", "the choice of what is logged and where"),
    later("security", "the lists of algorithms to warn of and to forbid"),
];

pub(super) const GATEWAY: &[Key] = &[
    key("name"),
    key("id"),
    key("listen"),
    key("ike_port"),
    key("nat_port"),
    key("tun"),
    key("mtu"),
    key("control"),
    key("workers"),
    key("cookie_threshold"),
    key("max_half_open"),
    later("management_ip", "the source address of pings, traces and monitors"),
    later("public_addresses", "the addresses in front of a NAT that exports show"),
];

pub(super) const POLICY: &[Key] = &[
    key("extends"),
    key("ike"),
    key("esp"),
    key("ike_lifetime"),
    key("esp_lifetime"),
    key("esp_lifebytes"),
    key("esp_lifepackets"),
    key("dpd"),
    later("pfs_check", "the early rekey that finds out whether the peer agrees on PFS"),
];

pub(super) const DPD: &[Key] = &[key("interval"), key("timeout"), key("action")];

pub(super) const CONNECTION: &[Key] = &[
    key("description"),
    key("enabled"),
    key("peer"),
    key("peer_id"),
    key("local_id"),
    key("psk"),
    key("policy"),
    key("local_subnets"),
    key("remote_subnets"),
    key("start"),
    key("encap"),
    key("mobike"),
    key("follow_redirects"),
    key("auth_lifetime"),
    key("fragmentation"),
    key("childless"),
    key("selectors"),
    key("dpd"),
    key("mtu"),
    key("routes"),
    key("metric"),
    key("replay_window"),
    key("nat_keepalive"),
    later("acl", "the filter for packets in the tunnel"),
    later("failover", "the way back to a preferred endpoint"),
    later("log", "the choice of what is logged"),
    later("monitor", "the probes through the tunnel"),
    later("mss_clamp", "the limit on TCP segments"),
    later("nat", "the translation of addresses in the tunnel"),
    later("nat_unmatched", "the fate of packets that no NAT rule matches"),
    later("pfs_check", "the early rekey that finds out whether the peer agrees on PFS"),
    later("relay", "the forwarding between tunnels"),
    later("validation_cidr", "the check of translated addresses"),
];

pub(super) const PSK: &[Key] = &[key("file"), key("credential"), key("inline")];

/// Whether a key of this name, or what may be a misspelling of one, holds a secret, so that its value is never shown.
pub(super) fn may_hold_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["psk", "key", "secret", "pass", "inline", "preshared", "pre-shared"];
    let close = |word, distance| strsim::osa_distance(&name, word) <= distance;
    parts.iter().any(|part| name.contains(part)) || close("psk", 1) || close("inline", 2)
}

/// The candidates nearest to a word, if they are near enough to be meant: usually one, several if equally near.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Vec<&'c str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    let mut best = (limit, Vec::new());
    for candidate in candidates {
        let distance = strsim::osa_distance(&word, &candidate.to_lowercase());
        if distance < best.0 {
            best = (distance, vec![candidate]);
        } else if distance == best.0 {
            best.1.push(candidate);
        }
    }
    best.1
}

/// ``did you mean `a` or `b`?``
pub(super) fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let quoted: Vec<_> = nearest(word, candidates).iter().map(|near| format!("`{near}`")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        assert_eq!(
            nearest("remote_subnet", ["remote_subnets", "local_subnets"]),
            ["remote_subnets"]
        );
        assert_eq!(nearest("tu", ["mtu", "tun", "id"]), ["mtu", "tun"]);
        assert_eq!(nearest("colour", ["peer", "psk"]), [""; 0]);
        assert_eq!(did_you_mean("pks", ["psk"]).as_deref(), Some("did you mean `psk`?"));
    }

    #[test]
    fn every_key_stands_in_the_documentation() {
        const TEXT: &str =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"));
        let documented = |row: &str| TEXT.lines().any(|line| line.starts_with(row));
        let section = |keys: &'static [Key], before: &'static str| {
            let served = keys.iter().filter(|key| matches!(key.support, Support::Yes));
            served.map(move |key| format!("| `{before}{}` |", key.name))
        };
        let all = [
            (FILE, ""),
            (GATEWAY, ""),
            (POLICY, ""),
            (CONNECTION, ""),
            (DPD, "dpd."),
            (PSK, "psk."),
        ];
        for row in all.into_iter().flat_map(|(keys, before)| section(keys, before)) {
            assert!(documented(&row), "no row {row}");
        }
        for key in all.iter().flat_map(|(keys, _)| keys.iter()) {
            if matches!(key.support, Support::Later(_)) {
                assert!(!documented(&format!("| `{}` |", key.name)), "{} is served", key.name);
            }
        }
    }

    #[test]
    fn secrets_are_suspected_by_name() {
        for name in ["psk", "pks", "ps", "inline", "inlin", "INLINE", "preshared_key", "passwd"] {
            assert!(may_hold_secret(name), "{name}");
        }
        let harmless = FILE.iter().chain(GATEWAY).chain(POLICY).chain(DPD).chain(CONNECTION);
        for key in harmless.filter(|key| key.name != "psk") {
            assert!(!may_hold_secret(key.name), "{}", key.name);
        }
    }
}
