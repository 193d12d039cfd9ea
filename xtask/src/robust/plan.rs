//! From citations to as few runs of cargo as there can be: one for each package and environment.
//!
//! ```text
//!   esp/src/tests/damage.rs::no_flipped_bit          ─► cargo test -p esp --lib -- --exact tests::damage::no_flipped_bit ..
//!   ikev2/tests/pair/letter/x.rs::y                  ─► cargo test -p ikev2 --lib --test pair -- --exact letter::x::y ..
//!   netns:suite, netns:rekey/ike                     ─► S2S_NETNS=1 S2S_TESTS="suite rekey/ike" cargo test -p gateway --test netns
//!   xtask:bench flood                                ─► cargo run -p xtask -- bench flood
//!   bench:ikev2/benches/constant.rs                  ─► cargo bench -p ikev2 --bench constant
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::page::{Cited, Row};
use crate::cited::{split, tests_in};

/// One run of cargo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// What it is, for people.
    pub(super) title: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// The tests that it runs: as cited, and as their program calls them. None if the whole run is one.
    pub(super) tests: BTreeMap<Cited, Named>,
}

/// What a program calls a test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    /// So and not otherwise; several if a whole file is cited.
    Exactly(BTreeSet<String>),
    /// So, or so with a part behind it: one test for each pair of gateways, or all with that beginning if it ends with a slash.
    Below(String),
    /// The run as a whole.
    All,
}

impl Named {
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Self::Exactly(own) => own.contains(name),
            Self::Below(own) if own.ends_with('/') => name.starts_with(own),
            Self::Below(own) => {
                name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::All => false,
        }
    }
}

/// Where cargo has a test.
struct Place {
    package: String,
    /// `--lib`, `--bins`, `--test NAME`
    target: Vec<String>,
    names: BTreeSet<String>,
}

/// The targets of a package, and the tests in them.
type OfCrate = (BTreeSet<Vec<String>>, BTreeMap<Cited, Named>);

pub(super) fn runs(rows: &[&Row], long: bool, root: &Path) -> Result<Vec<Run>> {
    let tests: BTreeSet<&Cited> = rows.iter().flat_map(|row| &row.tests).collect();
    let tests = tests.into_iter().filter(|test| long || !test.long);
    let mut crates: BTreeMap<(String, Vec<(String, String)>), OfCrate> = BTreeMap::new();
    let mut netns: BTreeMap<&[(String, String)], BTreeMap<Cited, Named>> = BTreeMap::new();
    let mut alone = Vec::new();
    for test in tests {
        if let Some(name) = test.name.strip_prefix("netns:") {
            let named = Named::Below(name.trim_end_matches('*').into());
            netns.entry(&test.env).or_default().insert(test.clone(), named);
        } else if let Some(words) = test.name.strip_prefix("xtask:") {
            let args = ["run", "--quiet", "-p", "xtask", "--"].into_iter().chain(words.split(' '));
            alone.push(whole(test, words, args));
        } else if let Some(path) = test.name.strip_prefix("bench:") {
            let Place { package, target, .. } = place(path, root)?;
            let target = target.iter().map(String::as_str);
            alone.push(whole(test, path, ["bench", "-p", &package].into_iter().chain(target)));
        } else {
            let place = place(&test.name, root)?;
            let (targets, tests) = crates.entry((place.package, test.env.clone())).or_default();
            targets.insert(place.target);
            tests.insert(test.clone(), Named::Exactly(place.names));
        }
    }
    let of_crates = crates.into_iter().map(|((package, env), (targets, tests))| {
        let mut args = words(&["test", "-p", &package, "--no-fail-fast"]);
        args.extend(targets.into_iter().flatten());
        args.extend(words(&["--", "--exact"]));
        let names: BTreeSet<_> = tests.values().flat_map(Named::names).collect();
        args.extend(names.into_iter().cloned());
        Run { title: package, args, env, tests }
    });
    let of_netns = netns.into_iter().map(|(env, tests)| {
        let names: BTreeSet<_> =
            tests.values().flat_map(Named::names).map(String::as_str).collect();
        let mut env = env.to_vec();
        env.push(("S2S_NETNS".into(), "1".into()));
        env.push(("S2S_TESTS".into(), names.into_iter().collect::<Vec<_>>().join(" ")));
        let args = words(&["test", "-p", "gateway", "--test", "netns"]);
        Run { title: "gateways in namespaces".into(), args, env, tests }
    });
    Ok(of_crates.chain(of_netns).chain(alone).collect())
}

impl Named {
    fn names(&self) -> Vec<&String> {
        match self {
            Self::Exactly(names) => names.iter().collect(),
            Self::Below(name) => vec![name],
            Self::All => Vec::new(),
        }
    }

    /// How many results there are at least.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Exactly(names) => names.len(),
            Self::Below(_) | Self::All => 1,
        }
    }
}

/// A run that is one test.
fn whole<'a>(test: &Cited, title: &str, args: impl Iterator<Item = &'a str>) -> Run {
    let tests = BTreeMap::from([(test.clone(), Named::All)]);
    let args = args.map(str::to_owned).collect();
    Run { title: title.into(), args, env: test.env.clone(), tests }
}

fn place(cited: &str, root: &Path) -> Result<Place> {
    let (path, names) = split(cited);
    let (directory, file) = path.split_once('/').with_context(|| format!("{cited}: no crate"))?;
    let package = package(&root.join(directory).join("Cargo.toml"))?;
    let mut modules: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    let kind = modules.remove(0);
    let target = if kind == "tests" && !modules.is_empty() {
        words(&["--test", modules.remove(0)])
    } else if kind == "benches" && !modules.is_empty() {
        words(&["--bench", modules.remove(0)])
    } else if file == "src/main.rs" || !root.join(directory).join("src/lib.rs").exists() {
        words(&["--bins"])
    } else {
        words(&["--lib"])
    };
    if let Some("mod" | "lib" | "main") = modules.last().copied() {
        modules.pop();
    }
    let prefix = modules.iter().flat_map(|module| [*module, "::"]).collect::<String>();
    let names = match names[..] {
        ["*"] => {
            let text = std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
            tests_in(&text)
        }
        _ => vec![names.join("::")],
    };
    let names = names.into_iter().map(|name| format!("{prefix}{name}")).collect();
    Ok(Place { package, target, names })
}

/// The name in a manifest, which may not be that of its directory.
fn package(manifest: &Path) -> Result<String> {
    let text = std::fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    Ok(name.with_context(|| format!("{}: no name", manifest.display()))?.to_owned())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
