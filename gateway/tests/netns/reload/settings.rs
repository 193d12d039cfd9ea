//! Keys, algorithms, intervals and the log of connections that stay.
//!
//! ```text
//!   key           a new IKE SA beside the old one, when both ends have it
//!   algorithms    of children at once, of the IKE SA with its next rekey, or --now
//!   intervals     in place
//!   [log]         at once, but not against the command line or the environment
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use testkit::gateway::Ours;
use testkit::peer::{Daemon, pause, wait_for};

use super::{at, change, facts, key_file, of_both, ours, reload, replaced, rewrite, two};
use crate::case::Case;
use crate::collide::{at_rest, while_pinging};

/// Another key on one side, and a while later on the other: the tunnel stays all the time.
pub(super) fn key_rotated(case: &mut Case) -> Result<()> {
    two(case)?;
    let other = of_both(case, "other")?;
    // The connections share a file: the other one gets a copy of the old key.
    for left in [true, false] {
        let ours = ours(case, left)?;
        let (old, new) = (key_file(ours, "site"), key_file(ours, "new"));
        std::fs::copy(&old, &new)?;
        std::fs::write(&new, "another-Key-that-is-41-characters-long-x1")?;
    }
    let rotate = |ours: &Ours| {
        let (old, new) = (key_file(ours, "site"), key_file(ours, "new"));
        let (old, new) = (old.display().to_string(), new.display().to_string());
        // In the first connection alone.
        change(ours, &move |text: String| text.replacen(&old, &new, 1))
    };
    let before = of_both(case, "site")?;
    while_pinging(case, |case| {
        let (left, right) = (ours(case, true)?, ours(case, false)?);
        let said = rotate(left)?;
        ensure!(said.contains("psk") && said.contains("new IKE SA beside the old one"), "{said}");
        wait_for("W0601", Duration::from_secs(5), || {
            Ok(left.tell(&["status", "--json"])?.contains("W0601").then_some(()))
        })?;
        ensure!(of_both(case, "site")? == before, "the old SA stays");
        let said = rotate(right)?;
        ensure!(said.contains("used when the peer authenticates anew"), "{said}");
        // Nothing is different, but whoever reloads wants to know now.
        change(left, &|text| text)?;
        wait_for("a new IKE SA", Duration::from_secs(5), || {
            let now = facts(left, "site")?;
            Ok((now.up && now.ike_spi != before[0].ike_spi).then_some(()))
        })?;
        pause(Duration::from_secs(7));
        Ok(())
    })?;
    ensure!(!ours(case, true)?.tell(&["status", "--json"])?.contains("W0601"), "W0601 stays");
    ensure!(of_both(case, "other")? == other, "the other connection changed");
    // What there is now was made with the new key alone.
    testkit::peer::Peer::restart(ours(case, true)?, "site")?;
    case.wait_up(Duration::from_secs(5))
}

/// Other algorithms: of children at once, of the IKE SA when it is rekeyed, or with `--now`.
pub(super) fn algorithms(case: &mut Case) -> Result<()> {
    case.up()?;
    let suites = |case: &Case| -> Result<String> { Ok(facts(ours(case, true)?, "site")?.suites) };
    while_pinging(case, |case| {
        let before = of_both(case, "site")?;
        for left in [false, true] {
            let edit = replaced(
                "esp = [\"aes256gcm16\"]",
                "esp = [\"aes128gcm16-ecp256\", \"aes256gcm16\"]",
            );
            let said = change(ours(case, left)?, &edit)?;
            ensure!(said.contains("child SAs rekeyed now"), "{said}");
        }
        wait_for("the new algorithms", Duration::from_secs(5), || {
            let now = of_both(case, "site")?;
            let all = now.iter().all(|facts| facts.suites.contains("AES_GCM_16_128") && facts.up);
            Ok(all.then_some(()))
        })?;
        ensure!(of_both(case, "site")?[0].ike_spi == before[0].ike_spi, "the IKE SA changed");
        let text = suites(case)?;
        for left in [false, true] {
            let edit = replaced("curve25519\"", "ecp256\", \"aes256gcm16-prfsha256-curve25519\"");
            let said = change(ours(case, left)?, &edit)?;
            ensure!(said.contains("at the next IKE rekey"), "{said}");
        }
        pause(Duration::from_secs(1));
        ensure!(suites(case)? == text, "it was to wait");
        let left = ours(case, true)?;
        rewrite(left, &replaced("aes256gcm16-prfsha256-ecp256", "aes256gcm16-prfsha384-ecp256"))?;
        rewrite(
            ours(case, false)?,
            &replaced("aes256gcm16-prfsha256-ecp256", "aes256gcm16-prfsha384-ecp256"),
        )?;
        ensure!(reload(ours(case, false)?, &[])?.status.success(), "it is valid");
        let said = reload(left, &["--now"])?.stdout;
        ensure!(String::from_utf8_lossy(&said).contains("IKE SA rekeyed now"), "{said:?}");
        wait_for("another IKE SA", Duration::from_secs(5), || {
            Ok((of_both(case, "site")?[0].ike_spi != before[0].ike_spi).then_some(()))
        })
    })?;
    at_rest(case, 1)
}

/// What is logged, and how, follows the file at once; not what the command line or the environment says.
pub(super) fn log(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let config = ours(case, true)?.config().display().to_string();
    let mut command = ours(case, true)?.command(&["run", "-c", &config]);
    command.env_remove("S2S_GW_LOG");
    let mut daemon = Daemon::new(case.dir.path().join("left.out"));
    daemon.spawn(command)?;
    wait_for("it to answer", Duration::from_secs(10), || {
        Ok(ours(case, true)?.json().ok().map(drop))
    })?;
    case.wait_up(Duration::from_secs(10))?;
    let since = |case: &Case, before: &str| -> Result<String> {
        let log = case.left.log();
        Ok(log.strip_prefix(before).context("the log grew")?.to_owned())
    };

    let said = change(ours(case, true)?, &|text| text + "\n[log]\nlevel = \"error\"\n")?;
    ensure!(said.contains("[log] level") && said.contains("in place"), "{said}");
    let before = case.left.log();
    ours(case, true)?.tell(&["down", "site"])?;
    ensure!(!since(case, &before)?.contains("down-requested"), "{}", since(case, &before)?);
    ensure!(ours(case, true)?.tell(&["events"])?.contains("down-requested"), "but it is an event");

    let louder = replaced("level = \"error\"", "level = \"info\"\nformat = \"json\"");
    let said = change(ours(case, true)?, &louder)?;
    ensure!(said.contains("[log] level, [log] format"), "{said}");
    let before = case.left.log();
    ours(case, true)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    let lines = since(case, &before)?;
    let told: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let has = |told: &[Value], event: &str| told.iter().any(|line| at(line, "/event") == event);
    ensure!(has(&told, "up-requested") && has(&told, "up"), "{lines}");
    ensure!(!told.iter().any(|line| at(line, "/level") == "debug"), "{lines}");

    let said = change(
        ours(case, true)?,
        &replaced("[connection.site]", "[connection.site]\nlog = \"debug\""),
    )?;
    ensure!(said.contains("log"), "{said}");
    let before = case.left.log();
    ours(case, true)?.tell(&["rekey", "site"])?;
    wait_for("a line about details", Duration::from_secs(5), || {
        let lines = since(case, &before)?;
        let is_detail = |line: &str| line.contains("\"debug\"") && line.contains("\"site\"");
        Ok(lines.lines().any(is_detail).then_some(()))
    })?;

    // This one was started with $S2S_GW_LOG.
    let said = change(ours(case, false)?, &|text| text + "\n[log]\nlevel = \"error\"\n")?;
    ensure!(said.contains("goes before it"), "{said}");
    let before = case.right.log();
    ours(case, false)?.tell(&["rekey", "site"])?;
    wait_for("the other to log as before", Duration::from_secs(5), || {
        let log = case.right.log();
        Ok(log.strip_prefix(&before).unwrap_or_default().contains("INFO").then_some(()))
    })?;
    let (status, _) = daemon.stop(Signal::TERM)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The same with another implementation at the other end.
pub(super) fn with_swan(case: &mut Case) -> Result<()> {
    case.up()?;
    let left = case.left.kind() == "ours";
    let before = case.facts()?;
    let ours_now = ours(case, left)?;
    let said = change(ours_now, &replaced("interval = \"1s\"", "interval = \"2s\""))?;
    ensure!(said.contains("dpd") && said.contains("in place"), "{said}");
    pause(Duration::from_secs(1));
    ensure!(case.facts()? == before, "something changed");
    change(ours_now, &|text| {
        text.split("\n[connection.site]").next().unwrap_or_default().to_owned()
    })?;
    let swan = if left { &case.right } else { &case.left };
    wait_for("the other end to be without it", Duration::from_secs(3), || {
        Ok(swan.sas()?.iter().all(|sa| !sa.established).then_some(()))
    })
}
