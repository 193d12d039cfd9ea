//! Perfect forward secrecy that the two sides do not agree on: found out half a minute after the start, while the tunnel works,
//! rather than an hour later, when it breaks.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::peer::wait_for;

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    for pair in [Pair::OursToSwan, Pair::SwanToOurs] {
        list.tunnel("pfs/differs", apart(pair), differs);
    }
    list.tunnel("pfs/verified", with(gcm(Pair::OursToSwan)), verified);
}

fn with(tunnel: Tunnel) -> Tunnel {
    tunnel.suite("aes256gcm16-prfsha256-curve25519", "aes256gcm16-curve25519")
}

/// The groups of the two sides are others; the first SAs, which have none, come up all the same.
fn apart(pair: Pair) -> Tunnel {
    Tunnel { edit: |left, _| left.esp = "aes256gcm16-modp3072".into(), ..with(gcm(pair)) }
}

fn differs(case: &mut Case) -> Result<()> {
    case.up()?;
    let found = wait_for("the early rekey to fail", PATIENCE, || {
        let found = connection(case)?;
        Ok((at(&found, "/state") != "up").then_some(found))
    })?;
    ensure!(at(&found, "/state") == "degraded" && at(&found, "/aws_status") == "UP", "{found}");
    ensure!(at(&found, "/reason/code") == "E1011", "{found}");
    ensure!(at(&found, "/children/0/pfs") == "mismatch", "{found}");
    let ours = if case.left.kind() == "ours" { "modp3072" } else { "curve25519" };
    ensure!(at(&found, "/reason/message").as_str().is_some_and(|it| it.contains(ours)), "{found}");
    case.ping_all()
}

fn verified(case: &mut Case) -> Result<()> {
    case.up()?;
    ensure!(at(&connection(case)?, "/children/0/pfs") == "pending");
    let found = wait_for("the early rekey", PATIENCE, || {
        let found = connection(case)?;
        Ok((at(&found, "/children/0/pfs") == "verified").then_some(found))
    })?;
    ensure!(at(&found, "/state") == "up" && at(&found, "/reason").is_null(), "{found}");
    ensure!(at(&found, "/children/0/rekeys") == 1, "once: {found}");
    let rtt = at(&found, "/peer/rtt_seconds").as_f64().context("a round trip time")?;
    ensure!(rtt < 1.0, "{rtt} s within one host");
    case.ping_all()
}

fn connection(case: &Case) -> Result<Value> {
    let ours = case.left.as_ours().or_else(|| case.right.as_ours()).context("one is ours")?;
    Ok(at(&ours.json()?, "/connections/0").clone())
}

/// What is there; null if nothing is.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// 30 s, what the spread adds, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
