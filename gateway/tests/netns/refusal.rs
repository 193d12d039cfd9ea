//! Sides that do not fit: wrong key, wrong identity, no common proposal, no common networks. No tunnel comes up, and
//! each side says what is wrong in the words of the message catalogue.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::peer::{ConnectionSpec, Peer, pause};

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::lifecycle::says;
use crate::traffic::gcm;

/// What differs, and what each kind of gateway then says on each side.
struct Misfit {
    name: &'static str,
    edit: fn(&mut ConnectionSpec, &mut ConnectionSpec),
    /// Code and words of ours as initiator; words of strongSwan as initiator.
    left: [&'static str; 3],
    /// The same as responder.
    right: [&'static str; 3],
}

const MISFITS: [Misfit; 6] = [
    Misfit {
        name: "refused/wrong-key",
        edit: |left, _| left.psk = OTHER_KEY.into(),
        left: ["E1007", "AUTHENTICATION_FAILED", "received AUTHENTICATION_FAILED notify"],
        right: ["E1008", "another key", "MAC mismatched"],
    },
    Misfit {
        name: "refused/wrong-identity-of-initiator",
        edit: |left, _| left.local_id = "stranger.example.org".into(),
        left: ["E1007", "stranger.example.org", "received AUTHENTICATION_FAILED notify"],
        right: ["E1009", "stranger.example.org", "no matching peer config found"],
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
    },
    Misfit {
        name: "refused/ike-proposal",
        edit: |left, _| left.ike = "aes256-sha256-ecp256".into(),
        left: ["E1003", "NO_PROPOSAL_CHOSEN", "received NO_PROPOSAL_CHOSEN"],
        right: ["E1003", "ecp256", "no acceptable|no matching proposal"],
    },
    Misfit {
        name: "refused/esp-proposal",
        edit: |left, _| left.esp = "aes256-sha256".into(),
        left: ["E1004", "NO_PROPOSAL_CHOSEN", "received NO_PROPOSAL_CHOSEN"],
        right: ["E1004", "aes256-sha256", "no acceptable|no matching proposal"],
    },
    Misfit {
        name: "refused/networks",
        edit: |left, _| left.remote_subnets = vec!["10.77.0.0/24".into()],
        left: ["E1005", "TS_UNACCEPTABLE", "received TS_UNACCEPTABLE"],
        right: ["E1005", "networks", "unacceptable"],
    },
];

pub(crate) fn list(list: &mut List) {
    for misfit in MISFITS {
        let Misfit { name, edit, left, right } = misfit;
        for pair in Pair::all() {
            list.tunnel(name, Tunnel { edit, ..gcm(pair) }, move |case| refused(case, left, right));
        }
    }
}

fn refused(case: &mut Case, left: [&str; 3], right: [&str; 3]) -> Result<()> {
    case.start()?;
    explains(case.left.as_ref(), left)?;
    explains(case.right.as_ref(), right)?;
    // And not by the next attempt either.
    pause(Duration::from_secs(1));
    for peer in [&case.left, &case.right] {
        ensure!(!peer.facts("site")?.up, "{} says that the tunnel is up", peer.kind());
    }
    let to = case.sites.right.host_address(testkit::netns::Family::V4, 0);
    ensure!(case.sites.left.host.ping(to, 1, crate::case::GAP)? == 0, "a ping got through");
    for site in [&case.sites.left, &case.sites.right] {
        ensure!(site.counted()?.1 == 0, "packets for the tunnel left in the clear");
    }
    Ok(())
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
