//! Two children of one connection that lead lives of their own, and networks that are wider on one side than on the other
//! (RFC 7296 §1.3, §2.9).
//!
//! ```text
//!   10.1.0.0/24 ⇄ 10.2.0.0/24     first, in IKE_AUTH      deleted, made anew, rekeyed:
//!   10.1.0.0/24 ⇄ 10.12.0.0/24    second, after it        nothing to the other
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::Family;
use testkit::peer::{ChildSa, ConnectionSpec, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, STALL, Tunnel};
use crate::collide::{at_rest, while_pinging};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.every_pair("children/two", two, both_carry);
    for pair in Pair::all().into_iter().filter(|pair| pair.has_swan()) {
        list.tunnel("children/one-deleted", two(pair), one_deleted);
        list.tunnel("children/one-rekeyed", two(pair), one_rekeyed);
    }
    list.tunnel("children/one-commanded", two(Pair::OursToOurs), one_commanded);
    list.every_pair("narrowing/asked-for-everything", everything, narrowed);
    list.every_pair("narrowing/asked-for-more", wider, missed);
}

/// Two children: the right side has two networks, and each is a child.
fn two(pair: Pair) -> Tunnel {
    Tunnel {
        subnets: 2,
        edit: |left, right| {
            left.local_subnets.truncate(1);
            right.remote_subnets.truncate(1);
            (left.split, right.split) = (true, true);
        },
        ..gcm(pair)
    }
}

fn both_carry(case: &mut Case) -> Result<()> {
    case.up()?;
    at_rest(case, 2)?;
    for index in 0..2 {
        let to = case.sites.right.host_address(Family::V4, index);
        ensure!(case.sites.left.host.ping(to, 5, GAP)? == 5, "pings to {to} lost");
        testkit::flow::exchange(&case.sites.left.host, &case.sites.right.host, to, STALL)?;
    }
    case.encrypted()
}

/// strongSwan deletes the second child: the initiator makes it anew, and the first does not notice.
fn one_deleted(case: &mut Case) -> Result<()> {
    case.up()?;
    let [first, second] = children(case)?.context("two children")?;
    while_pinging(case, |case| {
        let swan = [&case.left, &case.right].into_iter().find_map(|peer| peer.as_swan());
        let swan = swan.context("one of them is strongSwan")?;
        swan.swanctl(&["--terminate", "--child", &second.name])?;
        if case.left.kind() == "swan" {
            // It takes its own order for final.
            swan.swanctl(&["--initiate", "--child", &second.name, "--timeout", "5"])?;
        }
        wait_for("the second child to come back", Duration::from_secs(5), || {
            Ok(children(case)?.filter(|[_, now]| now.spis != second.spis).map(drop))
        })
    })?;
    let [now, _] = children(case)?.context("two children")?;
    ensure!(now == first, "the first child changed: {first:?} {now:?}");
    both_answer(case)?;
    at_rest(case, 2)
}

/// One is rekeyed under traffic; the other keeps its SPIs.
fn one_rekeyed(case: &mut Case) -> Result<()> {
    case.up()?;
    let [first, second] = children(case)?.context("two children")?;
    case.while_flowing(|case| {
        let swan = [&case.left, &case.right].into_iter().find_map(|peer| peer.as_swan());
        let swan = swan.context("one of them is strongSwan")?;
        swan.swanctl(&["--rekey", "--child", FIRST])?;
        wait_for("the first child to be another", Duration::from_secs(5), || {
            Ok(children(case)?.filter(|[now, _]| now.spis != first.spis).map(drop))
        })
    })?;
    let [_, now] = children(case)?.context("two children")?;
    ensure!(now == second, "the second child changed: {second:?} {now:?}");
    at_rest(case, 2)?;
    both_answer(case)
}

/// Down, up and anew by command: the other one keeps its SPIs and loses nothing.
fn one_commanded(case: &mut Case) -> Result<()> {
    case.up()?;
    at_rest(case, 2)?;
    let ours = || case.left.as_ours().context("the left one is ours");
    let spi = |child: usize| -> Result<String> {
        let status = ours()?.json()?;
        let spi = status.pointer(&format!("/connections/0/children/{child}/spi_in"));
        Ok(spi.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
    };
    let answers = |index: u8| -> Result<u16> {
        let to = case.sites.right.host_address(Family::V4, index);
        case.sites.left.host.ping(to, 3, GAP)
    };
    let (first, second) = (spi(0)?, spi(1)?);
    let said = ours()?.tell(&["down", "site/lan-2", "--wait", "5s"])?;
    ensure!(said.contains("site/lan-2 is down until"), "{said}");
    ensure!((answers(0)?, answers(1)?) == (3, 0), "the first passes and the second does not");
    ensure!(state(ours()?)? == "up", "what was taken down is not missed");
    let status = ours()?.json()?;
    let child = status.pointer("/connections/0/children/1/state");
    ensure!(child.is_some_and(|state| state == "disabled"), "{status}");
    wait_for("the other side to lose it", Duration::from_secs(3), || {
        let sas = case.right.sas()?;
        Ok((sas.iter().map(|sa| sa.children.len()).sum::<usize>() == 1).then_some(()))
    })?;
    let said = ours()?.tell(&["down", "site/lan-1"]).expect_err("nothing would be left");
    ensure!(said.to_string().contains("`s2s-gw down site`"), "{said}");
    ours()?.tell(&["up", "site/lan-2", "--wait", "5s"])?;
    at_rest(case, 2)?;
    both_answer(case)?;
    ensure!(spi(0)? == first && spi(1)? != second, "only the second is another one");
    let second = spi(1)?;
    let said = ours()?.tell(&["restart", "site/lan-2", "--wait", "5s"])?;
    ensure!(said.contains("site/lan-2 is deleted and is asked for"), "{said}");
    wait_for("the second to be another one", Duration::from_secs(5), || {
        let now = spi(1)?;
        Ok((!now.is_empty() && now != second).then_some(()))
    })?;
    at_rest(case, 2)?;
    both_answer(case)?;
    ensure!(spi(0)? == first, "the first one changed");
    // The connection as a whole has them all.
    ours()?.tell(&["down", "site/lan-1"])?;
    ours()?.tell(&["up", "site"])?;
    at_rest(case, 2)?;
    both_answer(case)?;
    let said = ours()?.tell(&["up", "site/lan-7"]).expect_err("no such child").to_string();
    ensure!(said.contains("lan-1, lan-2"), "{said}");
    let said = ours()?.tell(&["failover", "site/lan-1"]).expect_err("of the whole").to_string();
    ensure!(said.contains("works on whole connections"), "{said}");
    Ok(())
}

fn both_answer(case: &Case) -> Result<()> {
    for index in 0..2 {
        let to = case.sites.right.host_address(Family::V4, index);
        ensure!(case.sites.left.host.ping(to, 5, GAP)? == 5, "pings to {to} lost");
    }
    Ok(())
}

/// Both children as strongSwan has them, in the order of their names; `None` while there are not two that are in use.
fn children(case: &Case) -> Result<Option<[ChildSa; 2]>> {
    let swan = [&case.left, &case.right].into_iter().find(|peer| peer.kind() == "swan");
    let sas = swan.context("one of them is strongSwan")?.sas()?;
    let mut children: Vec<_> = sas.into_iter().flat_map(|sa| sa.children).collect();
    children.retain(|child| child.installed);
    children.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(children.try_into().ok())
}

/// The initiator asks for all traffic there is.
fn everything(pair: Pair) -> Tunnel {
    let edit = |left: &mut ConnectionSpec, _: &mut ConnectionSpec| {
        left.local_subnets = vec!["0.0.0.0/0".into()];
        left.remote_subnets = vec!["0.0.0.0/0".into()];
        left.ours_extra = "routes = [\"10.2.0.0/16\"]".into();
    };
    Tunnel { edit, ..gcm(pair) }
}

/// The initiator asks for a network that the responder has but a part of.
fn wider(pair: Pair) -> Tunnel {
    let edit = |left: &mut ConnectionSpec, _: &mut ConnectionSpec| {
        left.remote_subnets = vec!["10.2.0.0/16".into()];
    };
    Tunnel { edit, ..gcm(pair) }
}

/// The one who asked for more says what it did not get; the one who has less on purpose does not.
fn missed(case: &mut Case) -> Result<()> {
    narrowed(case)?;
    if let Some(right) = case.right.as_ours() {
        ensure!(state(right)? == "up", "the right side has all that it wants");
    }
    let Some(ours) = case.left.as_ours() else { return Ok(()) };
    wait_for("the left to miss something", Duration::from_secs(5), || {
        Ok((state(ours)? == "degraded").then_some(()))
    })?;
    let status = ours.json()?;
    for place in ["/connections/0/reason", "/connections/0/children/0/reason"] {
        let reason = status.pointer(place).context("a reason")?;
        let text = reason.to_string();
        for word in ["E1006", "ts-narrowed", "asked ", "10.2.0.0/16", "left ", "10.2.0.0/24"] {
            ensure!(text.contains(word), "no {word} in {place}: {text}");
        }
    }
    let said = ours.tell(&["status", "site"])?;
    ensure!(said.contains("E1006") || said.contains("ts-narrowed"), "{said}");
    let events = ours.tell(&["events"])?;
    ensure!(events.contains("event=narrowed conn=site"), "{events}");
    // Of the whole world only what is routed is missed.
    let text = std::fs::read_to_string(ours.config())?;
    let world = text.replace("10.2.0.0/16", "0.0.0.0/0").replace("10.1.0.0/24", "0.0.0.0/0");
    let world = world.replace("[connection.site]", "[connection.site]\nroutes = [\"10.2.0.0/24\"]");
    std::fs::write(ours.config(), world)?;
    ours.tell(&["reload"])?;
    wait_for("the left to be content", Duration::from_secs(10), || {
        Ok((state(ours)? == "up").then_some(()))
    })?;
    // It is not content for want of a look.
    testkit::peer::pause(Duration::from_secs(4));
    ensure!(state(ours)? == "up", "{}", ours.tell(&["status"])?);
    case.ping_all()
}

fn state(ours: &Ours) -> Result<String> {
    let status = ours.json()?;
    let state = status.pointer("/connections/0/state").and_then(serde_json::Value::as_str);
    Ok(state.context("a state")?.to_owned())
}

/// What the responder left of it passes; what it took off is dropped here, and counted.
fn narrowed(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    for peer in [&case.left, &case.right] {
        let told = match (peer.as_ours(), peer.as_swan()) {
            (Some(ours), _) => ours.tell(&["status", "--json"])?,
            (None, Some(swan)) => swan.swanctl(&["--list-sas", "--raw"])?,
            (None, None) => String::new(),
        };
        for network in ["10.1.0.0/24", "10.2.0.0/24"] {
            ensure!(
                told.contains(network),
                "{network} is not in what {} says: {told}",
                peer.kind()
            );
        }
    }
    let outside = "10.2.5.5".parse()?;
    let dropped = || -> Result<u64> {
        let Some(ours) = case.left.as_ours() else { return Ok(0) };
        let status = ours.json()?;
        let of_child = status.pointer("/connections/0/children/0/drops/selector-mismatch");
        Ok(of_child.and_then(serde_json::Value::as_u64).unwrap_or(0))
    };
    let before = dropped()?;
    ensure!(case.sites.left.host.ping(outside, 3, GAP)? == 0, "who answered from {outside}?");
    if case.left.kind() == "ours" {
        let counted = dropped()? - before;
        ensure!(counted == 3, "{counted} packets counted that are in no SA");
    }
    case.ping_all()
}

/// The child of the first networks of both sides, as strongSwan has it.
const FIRST: &str = "site-0-0";
