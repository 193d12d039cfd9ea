//! The configuration changed under a running gateway: what changes, what does not, and that nothing is lost on the way.
//!
//! ```text
//!   site    10.1.0.0/24 ⇄ 10.2.0.0/24        under pings all the time
//!   other   10.201.0.0/24 ⇄ 10.202.0.0/24    its SPIs say whether anything happened to it
//! ```

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::gateway::Ours;
use testkit::netns::Family;
use testkit::peer::{Facts, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair};
use crate::traffic::gcm;

mod networks;
mod refused;
mod settings;

pub(crate) fn list(list: &mut List) {
    let mut add = |what: &str, body: fn(&mut Case) -> Result<()>| {
        list.tunnel(&format!("reload/{what}"), gcm(Pair::OursToOurs), body);
    };
    add("subnet-added-and-removed", networks::subnets);
    add("subnet-added-by-the-caller-first", networks::caller_first);
    add("other-side-just-after", networks::other_just_after);
    add("other-connection-changed", networks::other_changed);
    add("broken-file", refused::broken);
    add("needs-restart", refused::needs_restart);
    add("connection-removed-and-added", networks::removed_and_added);
    add("disabled-and-enabled", networks::disabled);
    add("key-rotated", settings::key_rotated);
    add("algorithms", settings::algorithms);
    add("signal", refused::signal);
    add("again-and-again", refused::again_and_again);
    add("log", settings::log);
    for pair in [Pair::OursToSwan, Pair::SwanToOurs] {
        list.tunnel("reload/in-place-and-removed", gcm(pair), settings::with_swan);
    }
}

/// A change of the text of a configuration.
pub(crate) type Edit<'e> = &'e dyn Fn(String) -> String;

fn ours(case: &Case, left: bool) -> Result<&Ours> {
    let peer = if left { &case.left } else { &case.right };
    peer.as_ours().context("this one is ours")
}

/// Writes another configuration, in one step, as an editor does.
pub(crate) fn rewrite(ours: &Ours, edit: Edit<'_>) -> Result<()> {
    let file = ours.config();
    let text = edit(std::fs::read_to_string(&file)?);
    let beside = file.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, file)?;
    Ok(())
}

fn replaced(from: &str, to: &str) -> impl Fn(String) -> String + use<> {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |text| {
        assert!(text.contains(&from), "{from} is not in\n{text}");
        text.replace(&from, &to)
    }
}

fn reload(ours: &Ours, args: &[&str]) -> Result<Output> {
    let socket = ours.config().with_extension("sock");
    let mut command = ours.command(&[&["reload"], args].concat());
    Ok(command.arg("--control").arg(socket).output()?)
}

/// Rewrites and reloads; what the command printed.
pub(crate) fn change(ours: &Ours, edit: Edit<'_>) -> Result<String> {
    rewrite(ours, edit)?;
    let output = reload(ours, &[])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}{complaint}", output.status);
    Ok(said)
}

fn key_file(ours: &Ours, connection: &str) -> PathBuf {
    let stem = ours.config().with_extension("");
    stem.with_file_name(format!(
        "{}-{connection}.psk",
        stem.file_name().unwrap_or_default().display()
    ))
}

/// A second connection between the same gateways, with the key of the first.
pub(crate) fn other(ours: &Ours, left: bool) -> String {
    let (here, there) = if left { (201, 202) } else { (202, 201) };
    let (us, them) = if left { ("left", "right") } else { ("right", "left") };
    let start = if left { "always" } else { "respond-only" };
    let peer = if left { "192.0.2.2" } else { "192.0.2.1" };
    let key = key_file(ours, "site").display().to_string();
    format!(
        "\n[connection.other]\npeer = \"{peer}\"\npeer_id = \"{them}-other.example.org\"\n\
         local_id = \"{us}-other.example.org\"\npsk = {{ file = {key:?} }}\npolicy = \"site\"\n\
         local_subnets = [\"10.{here}.0.0/24\"]\nremote_subnets = [\"10.{there}.0.0/24\"]\n\
         start = \"{start}\"\n"
    )
}

/// Both up with two connections, the second one from the beginning.
fn two(case: &mut Case) -> Result<()> {
    for left in [true, false] {
        let ours = ours(case, left)?;
        let peer = if left { &case.sites.right } else { &case.sites.left };
        let more = other(ours, left)
            .replace(if left { "192.0.2.2" } else { "192.0.2.1" }, &peer.outer(Family::V4));
        rewrite(ours, &|text| text + &more)?;
    }
    case.up()?;
    up(case, "other")
}

fn up(case: &Case, name: &str) -> Result<()> {
    for left in [true, false] {
        let ours = ours(case, left)?;
        wait_for(&format!("{name} to be up"), Duration::from_secs(10), || {
            Ok(facts(ours, name)?.up.then_some(()))
        })?;
    }
    Ok(())
}

fn facts(ours: &Ours, name: &str) -> Result<Facts> {
    testkit::peer::Peer::facts(ours, name)
}

fn of_both(case: &Case, name: &str) -> Result<[Facts; 2]> {
    Ok([facts(ours(case, true)?, name)?, facts(ours(case, false)?, name)?])
}

fn warnings(ours: &Ours) -> Result<String> {
    Ok(at(&ours.json()?, "/warnings").to_string())
}

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn answers(case: &Case, index: u8) -> Result<bool> {
    let to = case.sites.right.host_address(Family::V4, index);
    Ok(case.sites.left.host.ping(to, 1, GAP)? == 1)
}

pub(crate) fn more(case: &Case, left: bool) -> impl Fn(String) -> String + use<> {
    // The right site gets one network more.
    let (old, new) =
        (case.sites.right.subnet(Family::V4, 0), case.sites.right.subnet(Family::V4, 1));
    let key = if left { "remote_subnets" } else { "local_subnets" };
    replaced(&format!("{key} = [{old:?}]"), &format!("{key} = [{old:?}, {new:?}]"))
}

pub(crate) fn less(case: &Case, left: bool) -> impl Fn(String) -> String + use<> {
    let (old, new) =
        (case.sites.right.subnet(Family::V4, 0), case.sites.right.subnet(Family::V4, 1));
    let key = if left { "remote_subnets" } else { "local_subnets" };
    replaced(&format!("{key} = [{old:?}, {new:?}]"), &format!("{key} = [{old:?}]"))
}
