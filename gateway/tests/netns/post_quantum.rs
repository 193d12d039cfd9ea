//! Keys that outlast quantum computers: ML-KEM after the first key exchange (RFC 9370) and pre-shared keys that are mixed in (RFC
//! 8784), between two of ours and with strongSwan 5.9.8, which has the second but not the first.
//!
//! ```text
//!   default, cnsa2   ours ⇄ ours: with ML-KEM, also after rekeys       ours ⇄ strongSwan: the next proposal, without
//!   ppk              both have it ─► used; one insists and the other has another or none ─► refused, with a reason
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::peer::{PpkSpec, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};

pub(crate) fn list(list: &mut List) {
    list.every_pair("pq/default", |pair| policy(pair, default), default_policy);
    list.tunnel("pq/cnsa2", policy(Pair::OursToOurs, cnsa2), suite_b);
    list.every_pair("pq/ppk-required", |pair| with(pair, both), used);
    list.every_pair("pq/ppk-optional", |pair| with(pair, right_alone), unused);
    list.every_pair("pq/ppk-missing", |pair| with(pair, left_insists), missing);
    for pair in [Pair::SwanToOurs, Pair::OursToOurs] {
        list.tunnel("pq/ppk-wrong", with(pair, others), wrong);
    }
}

/// Ours with a built-in policy as it is, strongSwan with what it is made to offer elsewhere.
fn policy(
    pair: Pair,
    edit: fn(&mut testkit::peer::ConnectionSpec, &mut testkit::peer::ConnectionSpec),
) -> Tunnel {
    Tunnel {
        edit,
        ..Tunnel::new(pair).suite("aes256gcm16-prfsha384-curve25519", "aes256gcm16-curve25519")
    }
}

type Side = testkit::peer::ConnectionSpec;

fn default(left: &mut Side, right: &mut Side) {
    for side in [left, right] {
        side.built_in = Some("default".into());
    }
}

fn cnsa2(left: &mut Side, right: &mut Side) {
    for side in [left, right] {
        side.built_in = Some("cnsa2".into());
    }
}

fn with(pair: Pair, edit: fn(&mut Side, &mut Side)) -> Tunnel {
    Tunnel { edit, ..Tunnel::new(pair) }
}

fn ppk(key: char, required: bool) -> PpkSpec {
    PpkSpec { id: "site.ppk".into(), key: key.to_string().repeat(44), required }
}

fn both(left: &mut Side, right: &mut Side) {
    (left.ppk, right.ppk) = (Some(ppk('a', true)), Some(ppk('a', true)));
}

fn right_alone(_: &mut Side, right: &mut Side) {
    right.ppk = Some(ppk('a', false));
}

fn left_insists(left: &mut Side, _: &mut Side) {
    left.ppk = Some(ppk('a', true));
}

fn others(left: &mut Side, right: &mut Side) {
    (left.ppk, right.ppk) = (Some(ppk('a', true)), Some(ppk('b', true)));
}

fn default_policy(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = case.tunnel.pair == Pair::OursToOurs;
    let suite = suite(case)?;
    ensure!(suite.contains("/KE1_ML_KEM_768") == ours, "{suite}");
    case.ping_all()
}

fn suite_b(case: &mut Case) -> Result<()> {
    case.up()?;
    let wanted = "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384/KE1_ML_KEM_1024";
    ensure!(suite(case)? == wanted, "{}", suite(case)?);
    let before = (case.left.facts("site")?, suite(case)?);
    case.left.rekey_child("site")?;
    case.left.rekey_ike("site")?;
    wait_for("both rekeys", Duration::from_secs(10), || {
        let now = case.left.facts("site")?;
        let other = now.ike_spi != before.0.ike_spi && now.child_spis != before.0.child_spis;
        Ok((now.up && other).then_some(()))
    })?;
    ensure!(suite(case)? == before.1, "{}", suite(case)?);
    let all = case.left.facts("site")?.suites;
    ensure!(all.matches("ECP_384/KE1_ML_KEM_1024").count() >= 2, "the child, too: {all}");
    case.ping_all()
}

fn used(case: &mut Case) -> Result<()> {
    case.up()?;
    let found = connection(case)?;
    ensure!(found.pointer("/ike/ppk").is_some_and(|name| name == "site.ppk"), "{found}");
    case.ping_all()
}

fn unused(case: &mut Case) -> Result<()> {
    case.up()?;
    let found = connection(case)?;
    ensure!(found.pointer("/ike/ppk").is_none(), "{found}");
    case.ping_all()
}

/// The left side insists and the right side has none.
fn missing(case: &mut Case) -> Result<()> {
    case.start()?;
    if case.left.kind() != "ours" {
        // strongSwan says why in its log alone; we hear nothing of it.
        pause(Duration::from_secs(4));
        return ensure_down(case);
    }
    reason(case, "E1021")?;
    ensure_down(case)
}

/// Both insist, on different keys under one name: the side that is called knows.
fn wrong(case: &mut Case) -> Result<()> {
    case.start()?;
    let ours = case.right.as_ours().context("the right one is ours")?;
    wait_for("a refusal", PATIENCE, || {
        let status = ours.json()?;
        let code = status.pointer("/connections/0/reason/code");
        Ok(code.is_some_and(|code| code == "E1021").then_some(()))
    })?;
    ensure_down(case)
}

fn ensure_down(case: &Case) -> Result<()> {
    for side in [&case.left, &case.right] {
        ensure!(!side.facts("site")?.up, "{} is up", side.kind());
    }
    Ok(())
}

fn reason(case: &Case, wanted: &str) -> Result<()> {
    wait_for("a reason", PATIENCE, || {
        let found = connection(case)?;
        let code = found.pointer("/reason/code");
        Ok(code.is_some_and(|code| code == wanted).then_some(()))
    })
}

fn suite(case: &Case) -> Result<String> {
    let found = connection(case)?;
    let suite = found.pointer("/ike/suite").and_then(Value::as_str);
    Ok(suite.with_context(|| format!("no IKE SA: {found}"))?.to_owned())
}

fn connection(case: &Case) -> Result<Value> {
    let ours = case.left.as_ours().or_else(|| case.right.as_ours()).context("one is ours")?;
    let status = ours.json()?;
    Ok(status.pointer("/connections/0").cloned().unwrap_or_default())
}

const PATIENCE: Duration = Duration::from_secs(15);
