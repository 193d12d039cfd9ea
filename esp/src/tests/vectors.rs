//! Known answers: the files in `vectors/` of the workspace, and the large sets beside it.
//!
//! ```text
//! vectors/rfcNNNN.txt                          in the tree: # comment, `name = ..`, `field = hex`, or nothing, empty line
//! $IPSEC_VECTORS or ../shared/vectors/*.json   not in the tree: a test that misses one says so and passes
//! ```

use std::{collections::BTreeMap, env, fs, path::PathBuf};

/// One case of a text file.
pub(crate) struct Case {
    pub(crate) name: String,
    fields: BTreeMap<String, Vec<u8>>,
}

impl Case {
    pub(crate) fn field(&self, name: &str) -> &[u8] {
        self.fields.get(name).unwrap_or_else(|| panic!("{}: no field {name}", self.name))
    }
}

/// Cases of a file in the tree.
pub(crate) fn load(file: &str) -> Vec<Case> {
    let path = workspace().join("vectors").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (field, value) = line.split_once(" =").unwrap_or_else(|| panic!("{file}: {line}"));
        let value = value.trim();
        if field == "name" {
            cases.push(Case { name: value.to_owned(), fields: BTreeMap::new() });
        } else {
            let octets = hex::decode(value).unwrap_or_else(|e| panic!("{file}: {line}: {e}"));
            cases.last_mut().unwrap().fields.insert(field.to_owned(), octets);
        }
    }
    cases
}

/// A file outside the tree; `None`, and a line that says so, if it is not there.
pub(crate) fn external(file: &str) -> Option<serde_json::Value> {
    let root = env::var_os("IPSEC_VECTORS")
        .map_or_else(|| workspace().join("../shared/vectors"), PathBuf::from);
    let path = root.join(file);
    match fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).unwrap()),
        Err(error) => {
            println!("skipped, {}: {error}", path.display());
            None
        }
    }
}

/// Octets of a field in hex.
pub(crate) fn octets(value: &serde_json::Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
