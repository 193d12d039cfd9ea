//! Files that cannot be loaded, or not without a restart: nothing changes, and it is said why.
//!
//! ```text
//!   bad file ─► exit code 2, the line, W0603      what needs a restart ─► exit code 1, the keys      good again ─► W0603 goes
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use testkit::peer::wait_for;

use super::{Edit, at, change, facts, of_both, ours, reload, replaced, rewrite, two, warnings};
use crate::case::Case;

/// A file that cannot be loaded changes nothing, and says so.
pub(super) fn broken(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = [of_both(case, "site")?, of_both(case, "other")?];
    let left = ours(case, true)?;
    let good = std::fs::read_to_string(left.config())?;
    let missing = replaced("/left-site.psk", "/nothing.psk");
    let half = |text: String| text[..text.len() * 2 / 3].to_owned() + "\nremote_sub";
    let typo = replaced("local_subnets", "local_subnet");
    let edits: [(Edit<'_>, &str); 3] =
        [(&half, "error"), (&missing, "nothing.psk"), (&typo, "did you mean `local_subnets`")];
    for (edit, words) in edits {
        rewrite(left, edit)?;
        let check = |args: &[&str]| -> Result<()> {
            let output = reload(left, args)?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
            ensure!(said.contains("running configuration NOT changed"), "{said}");
            ensure!(said.contains(words), "{words} is not in {said}");
            Ok(())
        };
        check(&["--dry-run"])?;
        check(&[])?;
        ensure!(warnings(left)?.contains("W0603"), "no W0603: {}", warnings(left)?);
        let output = reload(left, &["--json"])?;
        let json: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(output.status.code() == Some(2) && at(&json, "/outcome") == "invalid", "{json}");
        ensure!(
            at(&json, "/schema") == "s2s-gw/reload/1" && at(&json, "/check/ok") == false,
            "{json}"
        );
        rewrite(left, &|_| good.clone())?;
    }
    let said = change(left, &|text| text)?;
    ensure!(said.contains("nothing to do"), "{said}");
    ensure!(!warnings(left)?.contains("W0603"), "W0603 stays: {}", warnings(left)?);
    ensure!([of_both(case, "site")?, of_both(case, "other")?] == before, "something changed");
    case.ping_all()
}

/// What cannot change is refused as a whole, by name, and so is what stands beside it.
pub(super) fn needs_restart(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = [of_both(case, "site")?, of_both(case, "other")?];
    let left = ours(case, true)?;
    rewrite(left, &|text| {
        let text = replaced("[gateway]\n", "[gateway]\nworkers = 2\ntun = \"other0\"\n")(text);
        replaced("[\"10.202.0.0/24\"]", "[\"10.203.0.0/24\"]")(text)
    })?;
    for args in [&["--dry-run"][..], &[]] {
        let output = reload(left, args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(said.contains("needs restart: [gateway] tun, [gateway] workers"), "{said}");
    }
    ensure!([of_both(case, "site")?, of_both(case, "other")?] == before, "something changed");
    case.ping_all()
}

/// Good and bad files in turn, hundreds of times (`S2S_RELOADS`): the SAs are the same, and so is the memory.
pub(super) fn again_and_again(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = [of_both(case, "site")?, of_both(case, "other")?];
    let pid = case.left.daemon().pid().context("it runs")?;
    let left = ours(case, true)?;
    let good = std::fs::read_to_string(left.config())?;
    let edits: [fn(&str) -> String; 6] = [
        |good| good.replace("[connection.other]\n", "[connection.other]\ndescription = \"x\"\n"),
        |good| good.replace("/left-site.psk", "/nothing.psk"),
        |good| good[..good.len() / 2].to_owned(),
        |good| good.replace("10.201.0.0/24", "10.1.0.0/24").replace("10.202.0.0/24", "10.2.0.0/24"),
        |good| good.to_owned() + "\n[connection.site]\npeer = \"192.0.2.9\"\n",
        |good| good.replace("local_subnets", "local_subnet"),
    ];
    let rounds = std::env::var("S2S_RELOADS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(120);
    ensure!(rounds > 30, "S2S_RELOADS={rounds}: memory is compared with that after 30");
    // What the first ones fill stays filled.
    let mut memory = 0;
    for round in 0..rounds {
        if round == 30 {
            memory = resident(pid)?;
        }
        let edit = edits.get(round % edits.len()).context("an edit")?;
        std::fs::write(left.config(), edit(&good))?;
        let output = reload(left, &[])?;
        let expected = if round % edits.len() == 0 { Some(0) } else { Some(2) };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == expected, "{round}: {}: {said}", output.status);
        ensure!(expected == Some(0) || said.contains("NOT changed"), "{round}: {said}");
    }
    let grown = resident(pid)?.saturating_sub(memory);
    std::fs::write(left.config(), good)?;
    reload(left, &[])?;
    ensure!([of_both(case, "site")?, of_both(case, "other")?] == before, "something changed");
    testkit::measured::measured(
        "T38",
        &format!("SAs changed by {rounds} reloads, five of six of them bad"),
        0,
        "0",
    );
    testkit::measured::measured(
        "T38",
        &format!("memory grown by {rounds} reloads"),
        format!("{grown} KiB"),
        "<= 5 MiB",
    );
    ensure!(grown <= 5 << 10, "{grown} KiB more after {rounds} reloads");
    case.ping_all()
}

/// Resident memory in KiB (proc_pid_status(5)).
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

/// SIGHUP does the same, and the log says how it went.
pub(super) fn signal(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    let good = std::fs::read_to_string(ours(case, true)?.config())?;
    let hang_up = |case: &mut Case| case.left.daemon().signal(Signal::HUP);
    rewrite(ours(case, true)?, &|text| text + "\nnonsense\n")?;
    hang_up(case)?;
    wait_for("W0603", Duration::from_secs(2), || {
        Ok(warnings(ours(case, true)?)?.contains("W0603").then_some(()))
    })?;
    ensure!(case.left.log().contains("event=config-error"), "the log does not say what is wrong");
    rewrite(ours(case, true)?, &|_| {
        good.split("\n[connection.other]").next().unwrap_or_default().to_owned()
    })?;
    // Many at once are one, or two.
    for _ in 0..20 {
        hang_up(case)?;
    }
    wait_for("the connection to be gone", Duration::from_secs(2), || {
        Ok(facts(ours(case, true)?, "other").is_err().then_some(()))
    })?;
    ensure!(!warnings(ours(case, true)?)?.contains("W0603"), "W0603 stays");
    ensure!(of_both(case, "site")? == before, "the first connection changed");
    ensure!(case.left.log().contains("event=reloaded"), "the log does not say so");
    case.ping_all()
}
