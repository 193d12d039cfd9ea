//! Networks and connections that come and go.
//!
//! ```text
//!   a network more, a network less    the same child or one more; no ping lost
//!   a connection more, one less       gone on both ends with its routes; who was removed is a stranger
//! ```

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use testkit::peer::{pause, wait_for};

use super::{
    answers, at, change, facts, less, more, of_both, ours, reload, replaced, rewrite, two, up,
    warnings,
};
use crate::case::Case;
use crate::collide::while_pinging;

/// A network more in the list of a child, then one less: not a ping is lost, and the other connection notices nothing.
pub(super) fn subnets(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "other")?;
    let ike = of_both(case, "site")?.map(|facts| facts.ike_spi);
    while_pinging(case, |case| {
        pause(Duration::from_millis(300));
        let said = change(ours(case, false)?, &more(case, false))?;
        ensure!(
            said.contains("site: changed") && said.contains("1 connection unchanged"),
            "{said}"
        );
        ensure!(said.contains("local_subnets +10.12.0.0/24"), "{said}");
        change(ours(case, true)?, &more(case, true))?;
        wait_for(
            "the new network",
            Duration::from_secs(5),
            || Ok(answers(case, 1)?.then_some(())),
        )?;
        pause(Duration::from_secs(8));
        Ok(())
    })?;
    let counted = ours(case, true)?.json()?;
    let lists = counted.pointer("/connections/0/children").and_then(Value::as_array).map(Vec::len);
    ensure!(lists == Some(1), "one child is left: {counted}");
    while_pinging(case, |case| {
        change(ours(case, false)?, &less(case, false))?;
        change(ours(case, true)?, &less(case, true))?;
        pause(Duration::from_secs(8));
        Ok(())
    })?;
    ensure!(!answers(case, 1)?, "the network is not part of it any more");
    let routes = case.sites.left.gateway.run("ip", &["route", "show", "dev", "s2s0"])?;
    ensure!(!routes.contains("10.12.0.0") && routes.contains("10.2.0.0"), "{routes}");
    ensure!(of_both(case, "other")? == before, "the other connection changed");
    ensure!(of_both(case, "site")?.map(|facts| facts.ike_spi) == ike, "the IKE SA changed");
    let warned = warnings(ours(case, true)?)?;
    ensure!(warned == "[]", "{warned}");
    Ok(())
}

/// The side that calls knows of the network first: what there was goes on, what is new comes when the other side knows it.
pub(super) fn caller_first(case: &mut Case) -> Result<()> {
    for left in [true, false] {
        rewrite(ours(case, left)?, &replaced("\"combined\"", "\"auto\""))?;
    }
    two(case)?;
    while_pinging(case, |case| {
        change(ours(case, true)?, &more(case, true))?;
        pause(Duration::from_secs(5));
        ensure!(!answers(case, 1)?, "the other side does not know it yet");
        change(ours(case, false)?, &more(case, false))?;
        wait_for("the new network", Duration::from_secs(75), || {
            Ok(answers(case, 1)?.then_some(()))
        })?;
        pause(Duration::from_secs(4));
        Ok(())
    })
}

/// The other side knows it a moment later, at any moment of what the first one does: nothing is left half done.
/// `S2S_MOMENTS` rounds, each with another pause.
pub(super) fn other_just_after(case: &mut Case) -> Result<()> {
    two(case)?;
    let rounds = std::env::var("S2S_MOMENTS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(4);
    for round in 0..rounds {
        let moment = Duration::from_millis(round * 37 % 400);
        let whole = |case: &Case, what: &str| {
            wait_for(&format!("{what} to be whole, {moment:?} apart"), PATIENCE, || {
                let mut all = true;
                for left in [true, false] {
                    let told = ours(case, left)?.json()?;
                    all &= at(&told, "/connections/0/state") == "up";
                }
                Ok(all.then_some(()))
            })
        };
        change(ours(case, true)?, &more(case, true))?;
        pause(moment);
        change(ours(case, false)?, &more(case, false))?;
        whole(case, "what was widened")?;
        ensure!(answers(case, 1)?, "the new network does not answer");
        change(ours(case, true)?, &less(case, true))?;
        pause(moment);
        change(ours(case, false)?, &less(case, false))?;
        whole(case, "what was narrowed")?;
    }
    case.ping_all()
}

/// The called side waits for five seconds for the caller to ask.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whatever happens to one connection, the other keeps its SPIs and loses nothing.
pub(super) fn other_changed(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    while_pinging(case, |case| {
        let left = ours(case, true)?;
        let edits = [
            (
                "start = \"always\"\nselectors",
                "start = \"always\"\ndescription = \"x\"\nselectors",
                "in place",
            ),
            ("[\"10.202.0.0/24\"]", "[\"10.202.0.0/24\"]\nmetric = 300", "routes changed"),
            ("[\"10.202.0.0/24\"]", "[\"10.203.0.0/24\"]", "CREATE_CHILD_SA for the new pair"),
            ("right-other.example.org", "nobody.example.org", "new IKE SA beside the old one"),
        ];
        for (from, to, words) in edits {
            let said = change(left, &replaced(from, to))?;
            ensure!(said.contains(words), "{words} is not in {said}");
            pause(Duration::from_millis(700));
        }
        Ok(())
    })?;
    ensure!(of_both(case, "site")? == before, "the connection changed");
    let told = ours(case, true)?.json()?;
    let mut all = at(&told, "/connections").as_array().into_iter().flatten();
    let other = all.find(|connection| at(connection, "/name") == "other");
    ensure!(
        other.is_some_and(|other| at(other, "/warnings").to_string().contains("W0601")),
        "{told}"
    );
    Ok(())
}

/// A connection that is taken out is gone on both ends, its routes too; what is added comes up.
pub(super) fn removed_and_added(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    let left = ours(case, true)?;
    let good = std::fs::read_to_string(left.config())?;
    let routes = || case.sites.left.gateway.run("ip", &["route", "show", "dev", "s2s0"]);
    ensure!(routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    let without =
        |text: String| text.split("\n[connection.other]").next().unwrap_or_default().to_owned();
    rewrite(left, &without)?;
    let output = reload(left, &["--dry-run"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && said.contains("other: removed"), "{said}");
    ensure!(facts(left, "other")?.up, "a dry run does nothing");
    let said = change(left, &without)?;
    ensure!(said.contains("loss: intended"), "{said}");
    ensure!(facts(left, "other").is_err(), "it is not known any more");
    ensure!(!routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    let right = ours(case, false)?;
    wait_for("the other end to be without it", Duration::from_secs(2), || {
        Ok((!facts(right, "other")?.up).then_some(()))
    })?;
    // Whoever was removed and calls is a stranger (CVE-2025-9242: it was not).
    right.tell(&["up", "other"])?;
    pause(Duration::from_secs(2));
    let in_again = facts(right, "other")?.up;
    testkit::measured::measured("T38", "a removed peer let in again", in_again, "false");
    ensure!(!in_again, "a peer that was removed is up");
    let told = left.tell(&["status", "--json"])?;
    ensure!(!told.contains("\"name\":\"other\"") && !told.contains("10.202"), "{told}");
    // It comes back, with another one before it: places change, nothing else.
    change(left, &|_| good.replace("\n[connection.site]", "\n[connection.site]\nmetric = 100"))?;
    up(case, "other")?;
    ensure!(routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    ensure!(of_both(case, "site")? == before, "the first connection changed");
    case.ping_all()
}

/// `enabled = false` is gone without being forgotten.
pub(super) fn disabled(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    let left = ours(case, true)?;
    let routes = || case.sites.left.gateway.run("ip", &["route", "show", "dev", "s2s0"]);
    let off = "[connection.other]\nenabled = false\n";
    let said = change(left, &replaced("[connection.other]\n", off))?;
    ensure!(said.contains("other: disabled"), "{said}");
    ensure!(!facts(left, "other")?.up, "it is known, and not up");
    ensure!(!routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    let right = ours(case, false)?;
    wait_for("the other end to be without it", Duration::from_secs(2), || {
        Ok((!facts(right, "other")?.up).then_some(()))
    })?;
    let said = change(left, &replaced(off, "[connection.other]\n"))?;
    ensure!(said.contains("other: enabled"), "{said}");
    up(case, "other")?;
    ensure!(routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    ensure!(of_both(case, "site")? == before, "the first connection changed");
    case.ping_all()
}
