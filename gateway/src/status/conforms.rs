//! Whether JSON is as a schema says, as far as our own schemas go: types, properties, words. For tests.

use serde_json::Value;

/// Where `value` is not as `schema`, a part of `whole`, says; empty if it is.
pub(crate) fn faults(value: &Value, schema: &Value, whole: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let fault = |what: String| vec![format!("{at}: {what}")];
    if let Some(target) = schema["$ref"].as_str() {
        let target = whole.pointer(target.trim_start_matches('#')).expect("it leads somewhere");
        found.extend(faults(value, target, whole, at));
    }
    let one = &schema["type"];
    let types = one.as_array().cloned().unwrap_or_else(|| vec![one.clone()]);
    if !one.is_null() && !types.iter().any(|name| is_a(value, name.as_str().unwrap_or("?"))) {
        found.extend(fault(format!("{value} is no {types:?}")));
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        found.extend(fault(format!("{value} is none of {words:?}")));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        found.extend(fault(format!("{value} is not {}", schema["const"])));
    }
    for kind in ["anyOf", "oneOf"] {
        let Some(all) = schema[kind].as_array() else { continue };
        if !all.iter().any(|one| faults(value, one, whole, at).is_empty()) {
            found.extend(fault(format!("{value} is none of {} alternatives", all.len())));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(item, &schema["items"], whole, &format!("{at}/{index}")));
    }
    let Some(object) = value.as_object() else { return found };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.extend(fault(format!("{name} is missing")));
        }
    }
    for (name, inner) in object {
        let at = format!("{at}/{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(property), _) => found.extend(faults(inner, property, whole, &at)),
            (None, Value::Bool(false)) => found.push(format!("{at}: unknown")),
            (None, others) => found.extend(faults(inner, others, whole, &at)),
        }
    }
    found
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}
