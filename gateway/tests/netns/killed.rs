//! A gateway that is killed in the midst of a change comes back with what the files say, and nothing is left of the half.
//!
//! ```text
//!   files changed ─► s2s-gw reload ─► SIGKILL after 0, 1, 2 .. ms ─► started again
//!                                                                    the new files, their routes, no others
//! ```

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::{Family, Netns};
use testkit::peer::{pause, wait_for};

use crate::List;
use crate::case::{Case, Pair};
use crate::leak::guards;
use crate::reload::{less, more, other, rewrite};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("killed/reload", gcm(Pair::OursToOurs), reload);
}

/// Milliseconds after the command was started.
pub(crate) const MOMENTS: [u64; 6] = [0, 3, 6, 10, 20, 60];

fn reload(case: &mut Case) -> Result<()> {
    // The right one has all of it, and a second connection that is to come and go on the left.
    let all =
        other(ours(case, false)?, false).replace("192.0.2.1", &case.sites.left.outer(Family::V4));
    rewrite(ours(case, false)?, &|text| more(case, false)(text) + &all)?;
    case.up()?;
    let second =
        other(ours(case, true)?, true).replace("192.0.2.2", &case.sites.right.outer(Family::V4));
    for (turn, moment) in MOMENTS.into_iter().enumerate() {
        let grows = turn % 2 == 0;
        if grows {
            rewrite(ours(case, true)?, &|text| more(case, true)(text) + &second)?;
        } else {
            rewrite(ours(case, true)?, &|text| less(case, true)(text.replace(&second, "")))?;
        }
        let socket = ours(case, true)?.config().with_extension("sock");
        let mut command = ours(case, true)?.command(&["reload", "--control"]);
        command.arg(socket).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn()?;
        pause(Duration::from_millis(moment));
        case.left.daemon().kill()?;
        client.wait()?;
        let gateway = &case.sites.left.gateway;
        ensure!(routes(gateway)?.is_empty(), "{moment} ms: left over: {:?}", routes(gateway)?);
        // Whether the reload came to that or not, what was protected by the old file still is.
        let first = case.sites.right.subnet(Family::V4, 0);
        ensure!(guards(gateway)?.contains(&first), "{moment} ms: {first} is not guarded");

        case.left.start()?;
        let names: &[&str] = if grows { &["site", "other"] } else { &["site"] };
        for name in names {
            wait_for(&format!("{name} after {moment} ms"), Duration::from_secs(10), || {
                Ok(case.left.facts(name)?.up.then_some(()))
            })?;
        }
        ensure!(grows || case.left.facts("other").is_err(), "a connection that the file has not");
        let mut expected = vec![case.sites.right.subnet(Family::V4, 0)];
        if grows {
            expected.extend([case.sites.right.subnet(Family::V4, 1), "10.202.0.0/24".to_owned()]);
        }
        let expected: BTreeSet<String> = expected.into_iter().collect();
        let found = routes(&case.sites.left.gateway)?;
        ensure!(found == expected, "{moment} ms: {found:?} instead of {expected:?}");
        let network = u8::from(grows);
        let to = case.sites.right.host_address(Family::V4, network);
        wait_for(
            &format!("an answer from {to} after {moment} ms"),
            Duration::from_secs(5),
            || Ok((case.sites.left.host.ping(to, 1, crate::case::GAP)? == 1).then_some(())),
        )?;
    }
    case.encrypted()
}

fn ours(case: &Case, left: bool) -> Result<&Ours> {
    let peer = if left { &case.left } else { &case.right };
    peer.as_ours().context("this one is ours")
}

/// Where the routes of our gateway lead, and whether the same networks, and no others, lead nowhere when it is gone.
pub(crate) fn routes(gateway: &Netns) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for line in gateway.run("ip", &["route", "show", "table", "all", "proto", "77"])?.lines() {
        found.extend(line.split_whitespace().next().map(str::to_owned));
    }
    for kind in ["unreachable", "prohibit"] {
        let dead = gateway.run("ip", &["route", "show", "table", "all", "type", kind])?;
        ensure!(dead.trim().is_empty(), "a route that leads nowhere: {dead}");
    }
    let guards: BTreeSet<String> = guards(gateway)?.into_iter().collect();
    ensure!(found.is_empty() || found == guards, "routes {found:?}, guards {guards:?}");
    Ok(found)
}
