//! Known answers for the tests of this module: the small ones of the tree, and the large ones beside it.
//!
//! ```text
//!   committed("rfc5903.txt")      vectors/ of the workspace          always there
//!   external("nist/..")           $IPSEC_VECTORS, or else            None if absent; the test says so and passes
//!                                 ../shared/vectors of the workspace
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One case: fields by name, octets as hex.
pub(super) struct Case {
    pub(super) name: String,
    fields: BTreeMap<String, Vec<u8>>,
}

impl Case {
    /// The octets of a field. Panics if there is none, because then the test means another file.
    pub(super) fn octets(&self, field: &str) -> &[u8] {
        self.fields.get(field).unwrap_or_else(|| panic!("{}: no field {field}", self.name))
    }
}

/// The cases of a file in `vectors/` of the workspace; the format is in its README.
pub(super) fn committed(file: &str) -> Vec<Case> {
    let path = workspace().join("vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    cases(&text)
}

/// A file of the external vectors, gunzipped if its name ends so.
pub(crate) fn external(file: &str) -> Option<Vec<u8>> {
    let directory = std::env::var_os("IPSEC_VECTORS")
        .map_or_else(|| workspace().join("../shared/vectors"), PathBuf::from);
    let path = directory.join(file);
    let Ok(octets) = std::fs::read(&path) else {
        println!("not tested: {} is absent (set IPSEC_VECTORS)", path.display());
        return None;
    };
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Some(octets);
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(octets.as_slice()).read_to_end(&mut plain).unwrap();
    Some(plain)
}

/// An external file of JSON.
pub(super) fn external_json(file: &str) -> Option<Value> {
    external(file).map(|octets| serde_json::from_slice(&octets).unwrap())
}

/// Every test of an external Wycheproof file with its group, as (group, test).
pub(super) fn wycheproof(file: &str) -> Option<Vec<(Value, Value)>> {
    let json = external_json(&format!("wycheproof/{file}_test.json.gz"))?;
    let mut tests = Vec::new();
    for group in json["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            tests.push((group.clone(), test.clone()));
        }
    }
    assert!(!tests.is_empty());
    Some(tests)
}

/// The octets of a hexadecimal field in JSON.
pub(super) fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn cases(text: &str) -> Vec<Case> {
    let blocks = text.split("\n\n").filter(|block| block.contains("name = "));
    let cases: Vec<Case> = blocks.map(case).collect();
    assert!(!cases.is_empty());
    cases
}

fn case(block: &str) -> Case {
    let mut case = Case { name: String::new(), fields: BTreeMap::new() };
    for line in block.lines().filter(|line| !line.starts_with('#')) {
        let (field, value) = line.split_once(" = ").unwrap();
        if field == "name" {
            case.name = value.into();
        } else {
            case.fields.insert(field.into(), hex::decode(value).unwrap());
        }
    }
    case
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}
