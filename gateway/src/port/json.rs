//! JSON of cloud platforms: one document or several after each other, and the objects in them, however deep.
//!
//! ```text
//!   {"vpnservices": [{..}, {..}]}        API          ┐
//!   [{..}, {..}]                         .. list      ├─► every object, its keys in one spelling: `Peer CIDRs` is `peer_cidrs`
//!   {..} {..}                            several show ┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Input;
use super::text::{place, source, syntax};
use crate::config::{Diagnostic, Place, Source};

/// An object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) values: BTreeMap<String, Value>,
    /// Where its `id` or `name` stands.
    pub(super) place: Place,
}

impl Object {
    /// Text, or a number or truth as text; empty if there is none.
    pub(super) fn text(&self, key: &str) -> String {
        match self.values.get(key) {
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// `true`, `"True"`, `"UP"`; `None` if it says neither.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.text(key).to_ascii_lowercase().as_str() {
            "true" | "yes" | "up" | "1" | "enabled" => Some(true),
            "false" | "no" | "down" | "0" | "disabled" => Some(false),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        let seconds = self.text(key).parse().ok().filter(|seconds| *seconds > 0);
        seconds.map(Duration::from_secs)
    }

    /// A list, or text with what would be one: `['10.1.0.0/16']`, `10.1.0.0/16,10.2.0.0/16`.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let Some(value) = self.values.get(key) else { return Vec::new() };
        let text = value.as_str().unwrap_or("");
        let parsed = as_python(text);
        if let Some(items) = value.as_array().or_else(|| parsed.as_ref()?.as_array()) {
            return items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
        }
        let words = text.split([',', '\n', ' ']).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// A value of an object in this one, which may be the text of one.
    pub(super) fn inner(&self, key: &str, inner: &str) -> String {
        let Some(value) = self.values.get(key) else { return String::new() };
        let parsed = value.as_str().and_then(as_python);
        let found = parsed.as_ref().unwrap_or(value).get(inner);
        let text = found.and_then(|found| found.as_str().map(str::to_owned));
        text.or_else(|| Some(found?.as_number()?.to_string())).unwrap_or_default()
    }

    /// Whether it goes by this name or identifier.
    pub(super) fn is(&self, name: &str) -> bool {
        !name.is_empty() && (self.text("id") == name || self.text("name") == name)
    }
}

/// Some versions of the client print a list or object as Python has it.
fn as_python(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with(['[', '{']) {
        return None;
    }
    serde_json::from_str(&text.replace('\'', "\"").replace("u\"", "\"")).ok()
}

/// Every object of the files.
pub(super) fn objects(inputs: &[Input]) -> Result<Vec<Object>, Box<Diagnostic>> {
    let mut objects = Vec::new();
    for input in inputs {
        let source = source(input);
        for document in documents(input, &source)? {
            walk(&document, input, &source, &mut objects);
            if objects.len() > OBJECTS_MAX {
                let start = place(&source, &input.text, 0..1);
                return Err(syntax(&start, "too many objects", "no gateway has so many tunnels"));
            }
        }
    }
    Ok(objects)
}

/// They are looked up by each other's names.
const OBJECTS_MAX: usize = 20_000;

/// The documents of one file.
pub(super) fn documents(
    input: &Input,
    source: &Arc<Source>,
) -> Result<Vec<Value>, Box<Diagnostic>> {
    let all: Result<Vec<Value>, serde_json::Error> =
        serde_json::Deserializer::from_str(&input.text).into_iter().collect();
    let all = all.map_err(|error| {
        let at = offset(&input.text, error.line(), error.column());
        // Its words may repeat a value.
        let cut = error.is_eof();
        let message = if cut { "this JSON is cut off" } else { "this is not JSON" };
        syntax(
            &place(source, &input.text, at..at + 1),
            message,
            "reading stopped making sense here",
        )
    })?;
    if all.is_empty() {
        return Err(syntax(&place(source, &input.text, 0..0), "the file is empty", ""));
    }
    Ok(all)
}

/// The octet at a line and column, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

fn walk(value: &Value, input: &Input, source: &Arc<Source>, objects: &mut Vec<Object>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, input, source, objects)),
        Value::Object(map) => {
            for inner in map.values() {
                walk(inner, input, source, objects);
            }
            let values: BTreeMap<String, Value> =
                map.iter().map(|(key, value)| (spelled(key), value.clone())).collect();
            let small = objects.len() < 1000;
            let named = ["id", "name"].iter().find_map(|key| values.get(*key)?.as_str());
            let found = named.filter(|_| small).and_then(|name| {
                let at = input.text.find(&format!("\"{name}\""))?;
                Some(at..at + name.len() + 2)
            });
            let place = place(source, &input.text, found.unwrap_or(0..0));
            objects.push(Object { values, place });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Titles of the OpenStack client by the names of its API.
fn spelled(key: &str) -> String {
    let plain = key.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    match plain.as_str() {
        "pre_shared_key" => "psk",
        "vpn_service" => "vpnservice_id",
        "ipsec_policy" => "ipsecpolicy_id",
        "ike_policy" => "ikepolicy_id",
        "local_endpoint_group_id" | "local_endpoint_group" => "local_ep_group_id",
        "peer_endpoint_group_id" | "peer_endpoint_group" => "peer_ep_group_id",
        "perfect_forward_secrecy_(pfs)" | "perfect_forward_secrecy" => "pfs",
        "ext_v4_ip" | "external_v4_address" => "external_v4_ip",
        "ext_v6_ip" | "external_v6_address" => "external_v6_ip",
        "authentication_algorithm" => "auth_algorithm",
        "router" => "router_id",
        "subnet" => "subnet_id",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_every_form() {
        let text = "{\"a\": [{\"ID\": \"x\", \"Peer CIDRs\": \"['10.1.0.0/16', '10.2.0.0/16']\"}]}\n\
                    {\"Name\": \"y\", \"DPD\": \"{'interval': 30}\", \"cidrs\": \"1,2\"}";
        let input = Input { name: "a.json".into(), text: text.into() };
        let all = objects(&[input]).unwrap();
        let x = all.iter().find(|one| one.is("x")).unwrap();
        assert_eq!(x.list("peer_cidrs"), ["10.1.0.0/16", "10.2.0.0/16"]);
        let y = all.iter().find(|one| one.is("y")).unwrap();
        assert_eq!((y.inner("dpd", "interval").as_str(), y.list("cidrs").len()), ("30", 2));
        assert_eq!(y.place.line_column().0, 2);
    }

    #[test]
    fn damaged_json_is_refused_with_a_place_and_without_its_values() {
        for (text, line) in
            [("{\"a\": 1,\n \"psk\": \"hunter2\"", 2), ("{\n\"psk\": hunter2}", 2), ("", 1)]
        {
            let input = Input { name: "a.json".into(), text: text.into() };
            let shown = objects(&[input]).unwrap_err().render(false);
            assert!(
                shown.contains(&format!("a.json:{line}:")) && !shown.contains("hunter2"),
                "{shown}"
            );
        }
    }
}
