//! Sides that do not fit: wrong key, wrong identity, no common proposal, no common networks. No tunnel comes up, and
//! each side says what is wrong in the words of the message catalogue.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::peer::{ConnectionSpec, Peer, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::lifecycle::says;
use crate::traffic::gcm;

/// What differs, and what each kind of gateway then says on each side.
#[derive(Clone, Copy)]
struct Misfit {
    name: &'static str,
    edit: fn(&mut ConnectionSpec, &mut ConnectionSpec),
    /// Code and words of ours as initiator; words of strongSwan as initiator.
    left: [&'static str; 3],
    /// The same as responder.
    right: [&'static str; 3],
    /// Only the initiator can see what does not fit: the responder holds the SA, and says so honestly, from its
    /// IKE_AUTH response until the initiator's AUTHENTICATION_FAILED has come (RFC 7296 §2.21.2).
    seen_by_initiator_only: bool,
}

const MISFITS: [Misfit; 6] = [
    Misfit {
        name: "refused/wrong-key",
        edit: |left, _| left.psk = OTHER_KEY.into(),
        left: ["E1007", "AUTHENTICATION_FAILED", "received AUTHENTICATION_FAILED notify"],
        right: ["E1008", "another key", "MAC mismatched"],
        seen_by_initiator_only: false,
    },
    Misfit {
        name: "refused/wrong-identity-of-initiator",
        edit: |left, _| left.local_id = "stranger.example.org".into(),
        left: ["E1007", "stranger.example.org", "received AUTHENTICATION_FAILED notify"],
        right: ["E1009", "stranger.example.org", "no matching peer config found"],
        seen_by_initiator_only: false,
    },
    Misfit {
        name: "refused/wrong-identity-of-responder",
        edit: |_, right| right.local_id = "stranger.example.org".into(),
        left: [
            "E1009|E1007",
            "stranger.example.org|right.example.org",
            "identity 'right.example.org' required|AUTHENTICATION_FAILED",
        ],
        right: ["", "", "no matching peer config found|received AUTHENTICATION_FAILED"],
        seen_by_initiator_only: true,
    },
    Misfit {
        name: "refused/ike-proposal",
        edit: |left, _| left.ike = "aes256-sha256-ecp256".into(),
        left: ["E1003", "NO_PROPOSAL_CHOSEN", "received NO_PROPOSAL_CHOSEN"],
        right: ["E1003", "ecp256", "no acceptable|no matching proposal"],
        seen_by_initiator_only: false,
    },
    Misfit {
        name: "refused/esp-proposal",
        edit: |left, _| left.esp = "aes256-sha256".into(),
        left: ["E1004", "NO_PROPOSAL_CHOSEN", "received NO_PROPOSAL_CHOSEN"],
        right: ["E1004", "aes256-sha256", "no acceptable|no matching proposal"],
        seen_by_initiator_only: false,
    },
    Misfit {
        name: "refused/networks",
        edit: |left, _| left.remote_subnets = vec!["10.77.0.0/24".into()],
        left: ["E1005", "TS_UNACCEPTABLE", "received TS_UNACCEPTABLE"],
        right: ["E1005", "networks", "unacceptable"],
        seen_by_initiator_only: false,
    },
];

pub(crate) fn list(list: &mut List) {
    for misfit in MISFITS {
        for pair in Pair::all() {
            let tunnel = Tunnel { edit: misfit.edit, ..gcm(pair) };
            list.tunnel(misfit.name, tunnel, move |case| refused(case, &misfit));
        }
    }
}

fn refused(case: &mut Case, misfit: &Misfit) -> Result<()> {
    case.start()?;
    explains(case.left.as_ref(), misfit.left)?;
    explains(case.right.as_ref(), misfit.right)?;
    // And not by the next attempt either.
    pause(Duration::from_secs(1));
    stays_down(case.left.as_ref(), false)?;
    stays_down(case.right.as_ref(), misfit.seen_by_initiator_only)?;
    let to = case.sites.right.host_address(testkit::netns::Family::V4, 0);
    ensure!(case.sites.left.host.ping(to, 1, crate::case::GAP)? == 0, "a ping got through");
    for site in [&case.sites.left, &case.sites.right] {
        ensure!(site.counted()?.1 == 0, "packets for the tunnel left in the clear");
    }
    Ok(())
}

/// A peer that cannot know yet may say "up" while the refusal is on its way, which is one trip, and no longer.
fn stays_down(peer: &dyn Peer, up_for_a_moment: bool) -> Result<()> {
    if !peer.facts("site")?.up {
        return Ok(());
    }
    ensure!(up_for_a_moment, "{} says that the tunnel is up", peer.kind());
    wait_for("the initiator's refusal to arrive", Duration::from_millis(200), || {
        Ok((!peer.facts("site")?.up).then_some(()))
    })
}

fn explains(peer: &dyn Peer, [code, ours, swan]: [&str; 3]) -> Result<()> {
    if peer.kind() == "ours" {
        any(peer, code)?;
        any(peer, ours)
    } else {
        any(peer, swan)
    }
}

/// One of the words, separated by `|`.
fn any(peer: &dyn Peer, words: &str) -> Result<()> {
    let mut outcome = Ok(());
    for word in words.split('|') {
        outcome = says(peer, &[(peer.kind(), word)]);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

const OTHER_KEY: &str = "s2st-another-key-of-forty-octets-xxxxxxx";
