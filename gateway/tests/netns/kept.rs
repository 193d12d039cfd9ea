//! What a command decided outlives the daemon, however that ends, and a file that tells of it may be broken.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::gateway::Ours;
use testkit::peer::{pause, wait_for};

use crate::List;
use crate::case::{Case, KEY, Pair};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("kept/down-and-up", gcm(Pair::OursToOurs), down_and_up);
    list.tunnel("kept/broken-file", gcm(Pair::OursToOurs), broken);
}

fn ours(case: &Case) -> Result<&Ours> {
    case.left.as_ours().context("the left one is ours")
}

fn file(case: &Case) -> PathBuf {
    case.dir.path().join("left.state.json")
}

fn restart(case: &mut Case) -> Result<()> {
    case.left.daemon().kill()?;
    case.left.start()
}

fn state(case: &Case) -> Result<String> {
    let status = ours(case)?.json()?;
    let state = status.pointer("/connections/0/state").and_then(Value::as_str);
    Ok(state.context("a state")?.to_owned())
}

fn warns(case: &Case) -> Result<bool> {
    Ok(ours(case)?.json()?.pointer("/warnings").context("warnings")?.to_string().contains("W0604"))
}

fn down_and_up(case: &mut Case) -> Result<()> {
    case.up()?;
    ensure!(!file(case).exists(), "nothing was decided");
    ours(case)?.tell(&["down", "site"])?;
    // The answer is there, so it is written: killed without warning.
    restart(case)?;
    pause(Duration::from_millis(1500));
    ensure!(state(case)? == "disabled", "it came up: {}", ours(case)?.tell(&["status"])?);
    ensure!(ours(case)?.tell(&["events"])?.contains("event=recalled conn=site"), "no event");
    ensure!(!fs::read_to_string(file(case))?.contains(KEY), "the key is in the file");
    ours(case)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    restart(case)?;
    case.wait_up(Duration::from_secs(10))?;
    ensure!(!warns(case)?, "there is nothing to warn of");

    // One that waits for a command goes on as it was told.
    let config = ours(case)?.config();
    let text = fs::read_to_string(&config)?.replace("start = \"always\"", "start = \"manual\"");
    fs::write(&config, text)?;
    restart(case)?;
    pause(Duration::from_millis(1500));
    ensure!(state(case)? == "waiting", "nobody has told it to come up");
    ours(case)?.tell(&["up", "site", "--wait", "5s"])?;
    restart(case)?;
    case.wait_up(Duration::from_secs(10))?;
    ours(case)?.tell(&["restart", "site", "--wait", "5s"])?;
    restart(case)?;
    case.wait_up(Duration::from_secs(10))
}

fn broken(case: &mut Case) -> Result<()> {
    fs::write(file(case), "{\"version\": 1, \"connections\": {\"site\": {\"decision\": \"do")?;
    case.up()?;
    ensure!(warns(case)?, "the file is broken");
    ensure!(case.left.log().contains("event=state-ignored"), "the log does not say so");
    ours(case)?.tell(&["down", "site"])?;
    ensure!(!warns(case)?, "it is written anew");
    let kept: Value = serde_json::from_str(&fs::read_to_string(file(case))?)?;
    ensure!(kept.pointer("/connections/site/decision").is_some_and(|it| it == "down"), "{kept}");
    ours(case)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    // Nobody, not even root, writes where a directory is.
    fs::remove_file(file(case))?;
    fs::create_dir(file(case))?;
    ours(case)?.tell(&["down", "site"])?;
    wait_for("a warning", Duration::from_secs(2), || Ok(warns(case)?.then_some(())))?;
    ensure!(case.left.log().contains("event=state-unwritten"), "the log does not say so");
    ours(case)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))
}
