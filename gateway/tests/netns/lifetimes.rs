//! How an IKE SA begins and how its authentication ends: without a first child (RFC 6023), and with another SA when the
//! peer wants to authenticate anew (RFC 7296 §2.8.3).
//!
//! ```text
//!   childless   IKE_AUTH without SA, TS  ─►  CREATE_CHILD_SA     strongSwan: force, never (it has no other words)
//!   reauth      DELETE, then a new SA; or a new SA, then DELETE; by the initiator or by the responder
//! ```
//!
//! AUTH_LIFETIME (RFC 4478) is not here: strongSwan sends none with pre-shared keys, ours is five minutes at least. The
//! virtual clock of `ikev2` has it.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::peer::{ConnectionSpec, now, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel, measured};
use crate::collide::at_rest;
use crate::lifecycle::says;
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    type Edit = fn(&mut ConnectionSpec, &mut ConnectionSpec);
    let swan = |edit: Edit| Tunnel { edit, ..gcm(Pair::SwanToOurs) };
    let ours = |edit: Edit| Tunnel { edit, ..gcm(Pair::OursToSwan) };
    if !Pair::all().contains(&Pair::OursToSwan) {
        return;
    }
    let force = swan(|left, _| left.swan_connection = "childless = force".into());
    list.tunnel("childless/force", force, childless);
    let never = ours(|_, right| right.swan_connection = "childless = never".into());
    list.tunnel("childless/never", never, with_child);
    let turned = ours(|_, right| right.swan_connection = REAUTH.into());
    list.tunnel("reauth/by-responder", turned, |case| by_swan(case, false));
    let breaks = swan(|left, _| left.swan_connection = REAUTH.into());
    list.tunnel("reauth/break-before-make", breaks, |case| by_swan(case, false));
    let makes = swan(|left, _| {
        left.swan_connection = REAUTH.into();
        left.swan_extra = "make_before_break = yes".into();
    });
    list.tunnel("reauth/make-before-break", makes, |case| by_swan(case, true));
}

/// strongSwan begins without a child and asks for it after that.
fn childless(case: &mut Case) -> Result<()> {
    case.up()?;
    says(case.left.as_ref(), &[("swan", "generating CREATE_CHILD_SA request")])?;
    at_rest(case, 1)?;
    case.ping_all()?;
    crate::rekey::ike_now(case, true)?;
    crate::rekey::child_now(case, false)?;
    case.ping_all()
}

/// A peer that wants its child with the IKE SA gets it so.
fn with_child(case: &mut Case) -> Result<()> {
    case.up()?;
    ensure!(!case.right.log().contains("CREATE_CHILD_SA"), "the child came later");
    case.ping_all()
}

/// strongSwan authenticates anew, as responder by calling us. By default it breaks before it makes.
fn by_swan(case: &mut Case, whole: bool) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    if whole {
        case.while_flowing(|case| another_sa(case, &before[0].ike_spi))?;
    } else {
        another_sa(case, &before[0].ike_spi)?;
        let changed = now();
        case.wait_ping(Duration::from_secs(3))?;
        measured(&format!("reauth, {}: {:.1?}", case.tunnel.pair.name(), changed.elapsed()));
    }
    at_rest(case, 1)?;
    case.ping_all()
}

fn another_sa(case: &Case, before: &str) -> Result<()> {
    wait_for("a new IKE SA on both sides", Duration::from_secs(12), || {
        let [left, right] = case.facts()?;
        let new = left.up && right.up && left.ike_spi != before && left.ike_spi == right.ike_spi;
        Ok(new.then_some(()))
    })
}

/// Five seconds, and three to spare; no rekey meanwhile.
const REAUTH: &str = "rekey_time = 0
    reauth_time = 5s
    rand_time = 0s
    over_time = 4s";
