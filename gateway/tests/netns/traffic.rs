//! Suites, address families, subnets, identities, NAT: does traffic get through, whole, both ways?

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::netns::{Between, Family};
use testkit::peer::{ConnectionSpec, Peer as _};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel};
use crate::lifecycle::says;

pub(crate) fn list(list: &mut List) {
    let harness = Tunnel::new(Pair::SwanToSwan);
    list.tunnel("harness/baseline", harness, ping_and_exchange);
    for (name, ike, esp, word) in SUITES {
        for pair in Pair::all() {
            list.tunnel(name, Tunnel::new(pair).suite(ike, esp), move |case| {
                ping_and_exchange(case)?;
                suite_is(case, word)
            });
        }
    }
    for (name, inner, outer) in [
        ("family/v6-in-v4", Family::V6, Family::V4),
        ("family/v4-in-v6", Family::V4, Family::V6),
        ("family/v6-in-v6", Family::V6, Family::V6),
    ] {
        for pair in Pair::all() {
            let tunnel = Tunnel { outer, inner: vec![inner], ..gcm(pair) };
            list.tunnel(name, tunnel, ping_and_exchange);
        }
    }
    let dual = |pair| Tunnel { inner: vec![Family::V4, Family::V6], ..gcm(pair) };
    list.every_pair("family/both-inside", dual, ping_and_exchange);
    list.every_pair(
        "subnets/two-each-side",
        |pair| Tunnel { subnets: 2, ..gcm(pair) },
        ping_and_exchange,
    );
    for (name, left, right) in IDENTITIES {
        for pair in Pair::all() {
            let mut tunnel = gcm(pair);
            tunnel.identities = Some((left, right));
            list.tunnel(name, tunnel, |case| {
                case.up()?;
                case.ping_all()
            });
        }
    }
    list.every_pair(
        "nat/initiator-behind",
        |pair| Tunnel { between: Between::Nat, ..gcm(pair) },
        |case| {
            ping_and_exchange(case)?;
            from_translated_port(case)
        },
    );
    if Pair::all().contains(&Pair::OursToOurs) {
        ours_alone(list);
    }
    let groups = |pair| Tunnel {
        edit: |left, _| {
            left.ike = "aes256gcm16-prfsha256-ecp256-curve25519".into();
            left.esp = "aes256gcm16-ecp256-curve25519".into();
        },
        ..gcm(pair).suite(GCM.0, "aes256gcm16-curve25519")
    };
    list.every_pair("suite/invalid-ke", groups, invalid_ke);
    for pair in [Pair::OursToSwan, Pair::SwanToSwan] {
        if Pair::all().contains(&pair) {
            let edit = |_: &mut ConnectionSpec, right: &mut ConnectionSpec| {
                right.swan_extra = COOKIES.into();
            };
            list.tunnel("cookie", Tunnel { edit, ..gcm(pair) }, cookie);
        }
    }
}

/// What strongSwan's kernel-libipsec cannot do.
fn ours_alone(list: &mut List) {
    let esn = gcm(Pair::OursToOurs).suite(GCM.0, "aes256gcm16-esn");
    list.tunnel("esn", esn, |case| {
        ping_and_exchange(case)?;
        suite_is(case, "ESN")
    });
    let noesn = gcm(Pair::OursToOurs).suite(GCM.0, "aes256gcm16-noesn");
    list.tunnel("noesn", noesn, |case| {
        ping_and_exchange(case)?;
        let has_esn = case.facts()?.iter().any(|facts| facts.suites.contains("ESN"));
        ensure!(!has_esn, "ESN although nobody wants it");
        Ok(())
    });
    for (name, outer) in [("encap/raw-esp-v4", Family::V4), ("encap/raw-esp-v6", Family::V6)] {
        let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
            for side in [left, right] {
                side.ours_extra = "encap = \"auto\"".into();
            }
        };
        let tunnel = Tunnel { outer, edit, ..gcm(Pair::OursToOurs) };
        list.tunnel(name, tunnel, |case| {
            ping_and_exchange(case)?;
            let udp = case
                .sites
                .right
                .gateway
                .run("nft", &["list", "counter", "inet", "watch", "esp_in_udp"])?;
            ensure!(udp.contains("packets 0 "), "ESP went in UDP: {udp}");
            Ok(())
        });
    }
}

/// The initiator guesses a group that the responder does not want, in all three exchanges with a key exchange
/// (RFC 7296 §1.2, §1.3).
fn invalid_ke(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    crate::rekey::child_now(case, true)?;
    crate::rekey::ike_now(case, true)?;
    crate::rekey::child_now(case, true)?;
    suite_is(case, "CURVE25519")?;
    case.ping_all()
}

/// A responder with a half-open SA asks for a cookie (RFC 7296 §2.6), and gets it.
fn cookie(case: &mut Case) -> Result<()> {
    let wire = "add rule inet watch in iifname \"out\" udp dport 4500 drop\n";
    case.sites.right.gateway.nft(wire)?;
    case.start()?;
    says(case.right.as_ref(), &[("swan", "generating IKE_SA_INIT response")])?;
    match case.left.as_ours() {
        Some(ours) => ours.restart("site")?,
        // Its `restart` would wait for the tunnel.
        None => case.left.daemon().kill().and_then(|()| case.left.start())?,
    }
    says(case.right.as_ref(), &[("swan", "sending COOKIE notify")])?;
    case.sites.right.gateway.nft("flush chain inet watch in\n")?;
    case.wait_up(Duration::from_secs(10))?;
    ensure!(
        case.sites.left.host.ping(case.sites.right.host_address(Family::V4, 0), 5, GAP)? == 5,
        "pings lost"
    );
    Ok(())
}

fn ping_and_exchange(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    case.exchange()
}

/// Both sides name the algorithm that only this suite has.
fn suite_is(case: &Case, word: &str) -> Result<()> {
    for facts in case.facts()? {
        // strongSwan writes CURVE_25519 where we write CURVE25519.
        let said = facts.suites.to_uppercase().replace("CURVE_", "CURVE");
        ensure!(said.contains(word), "{word} is not in {said}");
    }
    Ok(())
}

/// The NAT did translate: the responder never saw the initiator's own address, and the mapping outlives a pause.
fn from_translated_port(case: &Case) -> Result<()> {
    let nat = case
        .sites
        .nat
        .as_ref()
        .map_or(Ok(String::new()), |nat| nat.run("nft", &["list", "ruleset"]))?;
    ensure!(nat.contains("masquerade"), "no NAT in the way");
    testkit::peer::pause(Duration::from_secs(2));
    case.ping_all()
}

pub(crate) fn gcm(pair: Pair) -> Tunnel {
    Tunnel::new(pair).suite(GCM.0, GCM.1)
}

const GCM: (&str, &str) = ("aes256gcm16-prfsha256-curve25519", "aes256gcm16");

/// Name, IKE, ESP, and a word that only the right choice has in the gateways' status.
const SUITES: [(&str, &str, &str, &str); 5] = [
    ("suite/baseline", "aes256-sha256-modp2048", "aes256-sha256", "SHA2_256_128"),
    ("suite/gcm-group31", GCM.0, GCM.1, "CURVE25519"),
    ("suite/gcm-group19-prf512", "aes256gcm16-prfsha512-ecp256", "aes256gcm16-ecp256", "SHA2_512"),
    ("suite/gcm-group20-prf384", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384", "ECP_384"),
    ("suite/cbc-group20", "aes256-sha256-ecp384", "aes256-sha256", "ECP_384"),
];

/// Name, left identity, right identity, in the notation that both programs read.
const IDENTITIES: [(&str, &str, &str); 3] = [
    ("identity/addresses", "192.0.2.1", "192.0.2.2"),
    ("identity/email", "left@example.org", "right@example.org"),
    ("identity/key-id", "@#6c656674", "@#7269676874"),
];

/// The second half-open SA is one too many; and say so in the log.
const COOKIES: &str = "cookie_threshold = 1
  filelog {
    log {
      net = 2
    }
  }";
