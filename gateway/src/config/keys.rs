//! Every key of the file, by table: the names that exist, and which of them this version can serve.
//!
//! ```text
//!   file ──┬─ version, include
//!          ├─ [gateway], [log], [security], [http] ── tokens = {..}
//!          ├─ [networks]            NAME = [..]
//!          ├─ [policy.NAME] ──────── dpd = {..}
//!          └─ [connection.NAME] ──┬─ dpd, psk, ppk, key, failover = {..}
//!                                 └─ [[monitor]]
//! ```
//!
//! A key that is `later` here is read and checked like the others, and then refused with E0103: whoever builds what it asks
//! for changes its line to `key`, and adds its row to docs/configuration.md.

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
    key("http"),
    key("log"),
    key("security"),
    key("limits"),
];

pub(super) const LOG: &[Key] = &[key("level"), key("format")];

pub(super) const HTTP: &[Key] =
    &[key("listen"), key("names"), key("read_token"), key("admin_token")];

pub(super) const SECURITY: &[Key] = &[key("warn"), key("forbid")];

pub(super) const LIMITS: &[Key] = &[
    key("half_open_time"),
    key("max_init_octets"),
    key("max_half_open_octets"),
    key("max_message_octets"),
    key("max_refusals"),
    key("max_children"),
    key("max_ike_sas"),
    key("max_exchanges"),
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
    key("state"),
    key("user"),
    key("sandbox"),
    key("workers"),
    key("cookie_threshold"),
    key("max_half_open"),
    key("leak_protection"),
    key("allow_key_export"),
    key("management_ip"),
    key("cert"),
    key("key"),
    key("rsa_padding"),
    key("ca"),
    key("crl"),
    key("crl_policy"),
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
    key("pfs_check"),
    key("allow_legacy"),
    key("allow_unencrypted"),
];

pub(super) const DPD: &[Key] = &[key("interval"), key("timeout"), key("action")];

/// Of `dpd.action`.
pub(super) const RESTART_PEER: Key =
    later("restart-peer", "the restart of all connections to a peer that died");

pub(super) const FAILOVER: &[Key] = &[key("failback"), key("probe")];

pub(super) const MONITOR: &[Key] = &[
    key("kind"),
    key("target"),
    key("port"),
    key("interval"),
    key("fail_after"),
    key("max_latency"),
];

pub(super) const CONNECTION: &[Key] = &[
    key("description"),
    key("enabled"),
    key("peer"),
    key("peer_id"),
    key("local_id"),
    key("psk"),
    key("cert"),
    key("key"),
    key("rsa_padding"),
    key("ca"),
    key("crl"),
    key("crl_policy"),
    key("peer_cert"),
    key("peer_key"),
    key("ppk"),
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
    key("mss_clamp"),
    key("routes"),
    key("metric"),
    key("replay_window"),
    key("nat_keepalive"),
    later("acl", "the filter for packets in the tunnel"),
    key("failover"),
    key("log"),
    key("management_ip"),
    key("monitor"),
    later("nat", "the translation of addresses in the tunnel"),
    later("nat_unmatched", "the fate of packets that no NAT rule matches"),
    key("pfs_check"),
    key("relay"),
    later("validation_cidr", "the check of translated addresses"),
];

pub(super) const PSK: &[Key] = &[key("file"), key("credential"), key("inline")];

/// Of `key`, which names a private key.
pub(super) const PRIVATE_KEY: &[Key] = &[key("file"), key("credential")];

/// The keys that hold the path of a key rather than a key: their values are shown if they look like one.
pub(super) const PATHS_OF_KEYS: [&str; 2] = ["key", "peer_key"];

/// Whether a text can only be the name of a file with a key in it. A text that may be a key itself is never shown.
pub(super) fn names_a_file(text: &str) -> bool {
    let endings = [".pem", ".key", ".pub", ".der", ".crt", ".cert", ".p8"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-@".contains(c);
    text.chars().all(plain) && endings.iter().any(|ending| text.ends_with(ending))
}
pub(super) const PPK: &[Key] = &[
    key("file"),
    key("credential"),
    key("inline"),
    key("id"),
    key("required"),
    key("mix"),
    key("others"),
];

/// Of `ppk.others`.
pub(super) const PPK_OTHER: &[Key] = &[key("file"), key("credential"), key("inline"), key("id")];

/// Whether a key of this name, or what may be a misspelling of one, holds a secret, so that its value is never shown.
pub(super) fn may_hold_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    if lower == "allow_key_export" {
        // A word of yes or no about keys.
        return false;
    }
    let words = lower.split(['_', '-']).map(without_talk_of_keys);
    let name = words.collect::<Vec<_>>().join("_");
    let parts = ["psk", "key", "secret", "pass", "inline", "preshared", "pre_shared", "token"];
    let close = |word, distance| strsim::osa_distance(&name, word) <= distance;
    parts.iter().any(|part| name.contains(part)) || close("psk", 1) || close("inline", 2)
}

/// `rekey_time`, `keyingtries`, `keyexchange`, `keylife` speak about keys and hold none.
fn without_talk_of_keys(word: &str) -> &str {
    let known = ["rekey", "keying", "keyexchange", "keylife"];
    known.iter().find_map(|known| word.strip_prefix(known)).unwrap_or(word)
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
        let chapter = |title: &str| {
            let found = TEXT.split("\n## ").find(|text| text.starts_with(title));
            found.unwrap_or_else(|| panic!("no chapter {title}"))
        };
        // Keys of an inner table are served if the table is.
        let all = [
            ("# Every key", FILE, "", None),
            ("`[gateway]`", GATEWAY, "", None),
            ("`[log]`", LOG, "", None),
            ("`[security]`", SECURITY, "", None),
            ("`[limits]`", LIMITS, "", None),
            ("`[http]`", HTTP, "", None),
            ("`[policy.NAME]`", POLICY, "", None),
            ("`[policy.NAME]`", DPD, "dpd.", None),
            ("`[connection.NAME]`", CONNECTION, "", None),
            ("`[connection.NAME]`", PSK, "psk.", None),
            ("`[connection.NAME]`", PRIVATE_KEY, "key.", None),
            ("`[connection.NAME]`", PPK, "ppk.", None),
            ("`[connection.NAME]`", FAILOVER, "failover.", Some("failover")),
            ("`[connection.NAME]`", MONITOR, "monitor.", Some("monitor")),
        ];
        let is_served = |key: &Key| matches!(key.support, Support::Yes);
        for (title, keys, before, parent) in all {
            let parent = parent.and_then(|name| CONNECTION.iter().find(|key| key.name == name));
            for key in keys {
                let row = format!("\n| `{before}{}` |", key.name);
                let documented = chapter(title).contains(&row);
                let expected = is_served(key) && parent.is_none_or(is_served);
                assert_eq!(documented, expected, "served and documented: {row}");
            }
        }
        let word = TEXT.contains(&format!("`\"{}\"`", RESTART_PEER.name));
        assert_eq!(word, is_served(&RESTART_PEER), "{}", RESTART_PEER.name);
    }

    #[test]
    fn secrets_are_suspected_by_name() {
        for name in [
            "psk",
            "pks",
            "ps",
            "inline",
            "inlin",
            "INLINE",
            "preshared_key",
            "passwd",
            "read_token",
        ] {
            assert!(may_hold_secret(name), "{name}");
        }
        for name in ["prekey", "PresharedKey", "pre-shared", "my-key", "rekeypsk", "rekey_key"] {
            assert!(may_hold_secret(name), "{name}");
        }
        for name in ["rekey_time", "rekey_tmie", "keyingtries", "keyexchange", "ikelifetime"] {
            assert!(!may_hold_secret(name), "{name}");
        }
        let harmless = FILE.iter().chain(GATEWAY).chain(POLICY).chain(DPD).chain(CONNECTION);
        let harmless =
            harmless.chain(LOG).chain(SECURITY).chain(LIMITS).chain(FAILOVER).chain(MONITOR);
        let paths =
            |key: &&Key| matches!(key.name, "psk" | "ppk") || PATHS_OF_KEYS.contains(&key.name);
        for key in harmless.filter(|key| !paths(key)) {
            assert!(!may_hold_secret(key.name), "{}", key.name);
        }
        for path in ["fra1.key", "/etc/s2s-gw/fra1.example.com.pem", "keys/ops@example.com.pub"] {
            assert!(names_a_file(path), "{path}");
        }
        for other in ["hunter2", "-----BEGIN PRIVATE KEY-----.key", "aGVs/bG8.key=", "a b.key"] {
            assert!(!names_a_file(other), "{other}");
        }
    }
}
