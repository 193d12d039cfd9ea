//! The JSON Schema of the configuration file, for editors: which keys there are, of what type, and what they say.
//!
//! ```text
//!   keys.rs                  which keys each table has         ┐
//!   docs/configuration.md    what each of them says            ├──► schema()      #:schema s2s-gw.schema.json
//!   `value` below            of what type it is                ┘
//! ```
//!
//! An editor finds typing errors with it; what belongs together only `check` knows.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Support};

/// The whole schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut whole = table(FILE, "", keys::FILE);
    if let Some(whole) = whole.as_object_mut() {
        let draft = "https://json-schema.org/draft/2020-12/schema";
        whole.insert("$schema".into(), draft.into());
        whole.insert("title".into(), "Configuration of s2s-gw".into());
    }
    whole
}

/// A table with these keys and no others. `chapter` of the documentation has them, each with `before` in front of its name.
fn table(chapter: &str, before: &str, keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut one = value(chapter, key.name);
        let said = match key.support {
            Support::Yes => documented(chapter, &format!("{before}{}", key.name)),
            Support::Later(purpose) => Some(format!("Not supported yet: {purpose}.")),
        };
        if let (Some(one), Some(said)) = (one.as_object_mut(), said) {
            one.insert("description".into(), said.into());
        }
        properties.insert(key.name.to_owned(), one);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The type of a key. Keys of one name have one type, but for `log`, which is a table or a level, and `policy`, which is
/// tables or the name of one.
fn value(chapter: &str, name: &str) -> Value {
    let text = || json!({ "type": "string" });
    let tables = |inner: Value| json!({ "type": "array", "items": inner });
    let list = || tables(text());
    // One text is a list of one.
    let texts = || json!({ "anyOf": [text(), list()] });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let flag = || json!({ "type": "boolean" });
    // `20s`, `1h 30m`.
    let span = || json!({ "type": "string", "pattern": "^[0-9]" });
    let named = |inner: Value| json!({ "type": "object", "propertyNames": { "pattern": "^[a-z0-9-]{1,32}$" }, "additionalProperties": inner });
    let one_of = |words: &[&str]| json!({ "enum": words });
    let either = |values: &[Value]| json!({ "anyOf": values });
    let in_file = chapter == FILE;
    match name {
        "version" => json!({ "const": 1 }),
        "gateway" => table(GATEWAY, "", keys::GATEWAY),
        "networks" => named(texts()),
        "policy" if in_file => named(table(POLICY, "", keys::POLICY)),
        "connection" => named(table(CONNECTION, "", keys::CONNECTION)),
        "log" if in_file => table("`[log]`", "", keys::LOG),
        "security" => table("`[security]`", "", keys::SECURITY),
        "limits" => table("`[limits]`", "", keys::LIMITS),
        "http" => table("`[http]`", "", keys::HTTP),
        "read_token" | "admin_token" => table(CONNECTION, "key.", keys::PRIVATE_KEY),
        "dpd" => either(&[json!({ "enum": [false, "off"] }), table(POLICY, "dpd.", keys::DPD)]),
        "psk" => table(CONNECTION, "psk.", keys::PSK),
        "key" => either(&[text(), table(CONNECTION, "key.", keys::PRIVATE_KEY)]),
        "ppk" => table(CONNECTION, "ppk.", keys::PPK),
        "others" => tables(table(CONNECTION, "ppk.", keys::PPK_OTHER)),
        "mix" => one_of(&["auto", "before-auth", "in-auth"]),
        "failover" => table(CONNECTION, "failover.", keys::FAILOVER),
        "monitor" => tables(table(CONNECTION, "monitor.", keys::MONITOR)),
        "include" | "listen" | "names" | "public_addresses" | "ike" | "esp" | "warn" | "forbid"
        | "local_subnets" | "remote_subnets" | "peer" | "ca" | "crl" | "peer_cert" => texts(),
        "routes" => either(&[one_of(&["auto", "none"]), list()]),
        "mtu" => either(&[one_of(&["auto"]), number()]),
        "mss_clamp" => either(&[one_of(&["auto", "off"]), number()]),
        "fragmentation" => either(&[flag(), number()]),
        "esp_lifebytes" => either(&[text(), number()]),
        "selectors" => one_of(&["auto", "combined", "split"]),
        "start" => one_of(&["always", "on-demand", "respond-only", "manual"]),
        "encap" => one_of(&["force", "auto"]),
        "childless" => one_of(&["allow", "prefer", "never"]),
        "leak_protection" => one_of(&["always", "running", "off"]),
        "format" => one_of(&["text", "json"]),
        "sandbox" => one_of(&["on", "off"]),
        "action" => one_of(&["restart", "clear", "trap", keys::RESTART_PEER.name]),
        "kind" => one_of(&["icmp", "tcp"]),
        "crl_policy" => one_of(&["if-present", "require"]),
        "rsa_padding" => one_of(&["pss", "pkcs1"]),
        "enabled" | "mobike" | "follow_redirects" | "relay" | "pfs_check" | "allow_legacy"
        | "allow_unencrypted" | "allow_key_export" | "required" => flag(),
        "ike_port"
        | "nat_port"
        | "workers"
        | "cookie_threshold"
        | "max_half_open"
        | "metric"
        | "replay_window"
        | "esp_lifepackets"
        | "port"
        | "fail_after"
        | "max_init_octets"
        | "max_half_open_octets"
        | "max_message_octets"
        | "max_refusals"
        | "max_children"
        | "max_ike_sas"
        | "max_exchanges" => number(),
        "half_open_time" | "ike_lifetime" | "esp_lifetime" | "interval" | "timeout" | "probe"
        | "max_latency" | "nat_keepalive" | "auth_lifetime" | "failback" => {
            if name == "failback" {
                text()
            } else {
                span()
            }
        }
        "name" | "id" | "tun" | "control" | "state" | "user" | "management_ip" | "extends"
        | "description" | "peer_id" | "local_id" | "policy" | "log" | "level" | "file"
        | "credential" | "inline" | "target" | "cert" | "peer_key" => text(),
        // What does not exist yet has no shape yet.
        _ => json!({}),
    }
}

/// What the documentation says about a key, without its marks.
fn documented(chapter: &str, key: &str) -> Option<String> {
    let chapter = TEXT.split("\n## ").find(|text| text.starts_with(chapter))?;
    let row = chapter.lines().find(|line| line.starts_with(&format!("| `{key}` |")))?;
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
    let (said, default) = match cells.as_slice() {
        [_, default, said] => (*said, Some(*default).filter(|default| !default.is_empty())),
        [_, said] => (*said, None),
        _ => return None,
    };
    let default = default.map(|default| format!(" Default: {default}.")).unwrap_or_default();
    Some(format!("{}.{default}", said.trim_end_matches('|').trim()).replace('`', ""))
}

const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"));
const FILE: &str = "# Every key";
const GATEWAY: &str = "`[gateway]`";
const POLICY: &str = "`[policy.NAME]`";
const CONNECTION: &str = "`[connection.NAME]`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::conforms;

    #[test]
    fn every_key_that_is_served_has_a_type_and_a_sentence() {
        let unserved = |key: &&Key| matches!(key.support, Support::Later(_));
        for (chapter, keys) in [
            (FILE, keys::FILE),
            (GATEWAY, keys::GATEWAY),
            (POLICY, keys::POLICY),
            (CONNECTION, keys::CONNECTION),
            ("`[log]`", keys::LOG),
            ("`[security]`", keys::SECURITY),
            ("`[limits]`", keys::LIMITS),
            ("`[http]`", keys::HTTP),
        ] {
            let table = table(chapter, "", keys);
            for key in keys.iter().filter(|key| !unserved(key)) {
                let one = &table["properties"][key.name];
                assert!(one.as_object().is_some_and(|one| one.len() > 1), "{chapter} {}", key.name);
                assert!(one["description"].is_string(), "{chapter} {}: {one}", key.name);
            }
        }
        let tries = documented(CONNECTION, "monitor.fail_after").expect("a row");
        assert_eq!(
            tries,
            "so many without an answer and it has failed; every answer takes one away, and at none it is well. Default: 3."
        );
    }

    #[test]
    fn good_files_pass_and_typing_errors_do_not() {
        let schema = schema();
        let faults = |value: &Value| conforms::faults(value, &schema, &schema, "");
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/good");
        let mut seen = 0;
        for entry in std::fs::read_dir(directory).expect("there are some") {
            let path = entry.expect("reads").path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("reads");
            let value: Value = toml::from_str(&text).expect("TOML");
            assert_eq!(faults(&value), [""; 0], "{}", path.display());
            seen += 1;
        }
        assert!(seen > 0, "{directory}");
        for wrong in [
            json!({ "gatway": {} }),
            json!({ "gateway": { "ike_port": "500" } }),
            json!({ "connection": { "berlin": { "remote_subnet": [] } } }),
            json!({ "connection": { "berlin": { "start": "allways" } } }),
            json!({ "policy": { "x": { "dpd": true } } }),
        ] {
            assert_eq!(faults(&wrong).len(), 1, "{wrong}");
        }
    }
}
