//! The matrix of interoperation with strongSwan: a dozen suites, over IPv4, IPv6 and a NAT, at three rates of loss, both
//! programs in both roles, each through the life of a tunnel.
//!
//! ```text
//!   up ─► child ─► ike ─► delete ─► dpd        stages; the first that fails ends the row
//!         │        │      │         └ the responder is killed: noticed, and the tunnel is back when it is
//!         │        │      └ by the responder; the initiator calls again
//!         └────────┴ replaced by either side
//! ```
//!
//! All of it is 216 tests: `cargo xtask interop`, or `INTEROP=all`, which leaves all others out. Otherwise ten, spread over everything. Where `INTEROP_RESULTS`
//! names a file, a JSON line for each row is appended to it.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::netns::{Between, Family};
use testkit::peer::{Facts, Peer, now, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};

/// Each 23rd, which has no factor in common with the numbers of suites, ways, losses and roles: ten of them.
const SAMPLE: usize = 23;

pub(crate) fn list(list: &mut List) {
    let all = alone();
    for (index, row) in rows().enumerate() {
        if (all || index % SAMPLE == 0) && Pair::all().contains(&row.pair) {
            list.tunnel(&row.to_string(), row.tunnel(), move |case| row.run(case));
        }
    }
}

/// Whether the matrix is wanted as a whole, and nothing else.
pub(crate) fn alone() -> bool {
    std::env::var("INTEROP").is_ok_and(|value| value == "all")
}

/// IKE, ESP: what people use, what they should, what old devices have.
const SUITES: [(&str, &str); 12] = [
    ("aes256gcm16-prfsha256-curve25519", "aes256gcm16-curve25519"),
    ("aes128gcm16-prfsha256-ecp256", "aes128gcm16-ecp256"),
    ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
    ("aes192gcm16-prfsha512-ecp521", "aes192gcm16"),
    ("chacha20poly1305-prfsha256-curve25519", "chacha20poly1305-curve25519"),
    ("aes256ccm16-prfsha256-curve25519", "aes256ccm16"),
    ("aes256-sha256-modp2048", "aes256-sha256"),
    ("aes128-sha256-modp3072", "aes128-sha256-modp3072"),
    ("aes256-sha512-modp4096", "aes256-sha512"),
    ("aes256-sha384-ecp384", "aes256-sha384-ecp384"),
    ("aes128ctr-sha256-curve25519", "aes128ctr-sha256"),
    ("aes256-sha1-modp2048", "aes256-sha1"),
];

/// How long a step may take where nothing is lost.
const LOSSLESS: Duration = Duration::from_secs(10);

/// Something in the life of a tunnel; nothing in it takes longer.
type Stage = fn(&mut Case, Duration) -> Result<()>;

/// One row of the matrix.
#[derive(Clone, Copy)]
struct Row {
    suite: (&'static str, &'static str),
    way: Way,
    /// Percent of the IKE and ESP packets that reach each gateway.
    loss: u32,
    pair: Pair,
}

#[derive(Clone, Copy)]
enum Way {
    V4,
    V6,
    /// The initiator is behind it.
    Nat,
}

fn rows() -> impl Iterator<Item = Row> {
    SUITES.into_iter().flat_map(|suite| {
        [Way::V4, Way::V6, Way::Nat].into_iter().flat_map(move |way| {
            [0, 5, 20].into_iter().flat_map(move |loss| {
                let pairs = [Pair::OursToSwan, Pair::SwanToOurs].into_iter();
                pairs.map(move |pair| Row { suite, way, loss, pair })
            })
        })
    })
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ike, esp) = self.suite;
        write!(f, "interop/{ike}+{esp}/{}/loss-{}", self.way.word(), self.loss)
    }
}

impl Way {
    const fn word(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Nat => "nat",
        }
    }
}

impl Row {
    fn tunnel(&self) -> Tunnel {
        let (ike, esp) = self.suite;
        let mut tunnel = Tunnel::new(self.pair).suite(ike, esp);
        match self.way {
            Way::V4 => {}
            Way::V6 => (tunnel.outer, tunnel.inner) = (Family::V6, vec![Family::V6]),
            Way::Nat => tunnel.between = Between::Nat,
        }
        if self.loss > 0 {
            // Four transmissions of everything, with time between them: at 20 % each way one of them is not enough, by far.
            tunnel.dpd = (Duration::from_secs(2), Duration::from_secs(14));
        }
        tunnel
    }

    fn run(self, case: &mut Case) -> Result<()> {
        let begun = now();
        let stages: [(&str, Stage); 5] =
            [("up", up), ("child", child), ("ike", ike), ("delete", delete), ("dpd", dpd)];
        let patience = if self.loss == 0 { LOSSLESS } else { Duration::from_mins(1) };
        self.lossy(case)?;
        let mut passed = Vec::new();
        let mut failed = None;
        for (name, stage) in stages {
            if let Err(error) = stage(case, patience) {
                failed = Some((name, error));
                break;
            }
            passed.push(name);
        }
        let took = begun.elapsed().as_secs_f32();
        self.note(&passed, failed.as_ref().map(|(_, error)| error), took);
        failed.map_or(Ok(()), |(name, error)| Err(error.context(name)))
    }

    /// Drops some of what comes in at both ends, before anything counts it.
    fn lossy(self, case: &Case) -> Result<()> {
        if self.loss == 0 {
            return Ok(());
        }
        for site in [&case.sites.left, &case.sites.right] {
            site.gateway.nft(&format!(
                "table inet loss {{\n\
                 chain in {{\n\
                 type filter hook prerouting priority -310;\n\
                 iifname \"out*\" meta l4proto {{ udp, esp }} numgen random mod 100 < {} drop\n\
                 }}\n\
                 }}\n",
                self.loss
            ))?;
        }
        Ok(())
    }

    /// For the table of the chore.
    fn note(self, passed: &[&str], error: Option<&anyhow::Error>, took: f32) {
        let Some(path) = std::env::var_os("INTEROP_RESULTS") else { return };
        let (ike, esp) = self.suite;
        let error = error.map(|error| format!("{error:#}"));
        let line = json!({
            "suite": format!("{ike}+{esp}"), "way": self.way.word(), "loss": self.loss,
            "roles": self.pair.name(), "passed": passed, "error": error, "seconds": took,
        });
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn up(case: &mut Case, patience: Duration) -> Result<()> {
    case.start()?;
    stands(case, patience)
}

fn child(case: &mut Case, patience: Duration) -> Result<()> {
    for left in [true, false] {
        let other = |before: &Facts, after: &Facts| {
            after.child_spis.iter().all(|spi| !before.child_spis.contains(spi))
        };
        changes(case, "a new child", patience, other, |case| side(case, left).rekey_child("site"))?;
    }
    carries(case, patience)
}

fn ike(case: &mut Case, patience: Duration) -> Result<()> {
    for left in [true, false] {
        changes(case, "a new IKE SA", patience, other_ike, |case| {
            side(case, left).rekey_ike("site")
        })?;
    }
    carries(case, patience)
}

fn delete(case: &mut Case, patience: Duration) -> Result<()> {
    changes(case, "another IKE SA", patience, other_ike, |case| {
        // A lost DELETE leaves strongSwan with two SAs of one peer, of which it cannot end both: what counts is the new one.
        match case.right.restart("site") {
            Err(error) if patience > LOSSLESS => {
                eprintln!("the responder says: {error:#}");
                case.right.restart("site").or(Ok(()))
            }
            other => other,
        }
    })?;
    carries(case, patience)
}

fn dpd(case: &mut Case, patience: Duration) -> Result<()> {
    case.right.daemon().kill()?;
    let (interval, timeout) = case.tunnel.dpd;
    // strongSwan's four transmissions begin at its next look at the clock.
    let limit = timeout + interval + Duration::from_secs(3);
    wait_for(
        "the initiator to notice",
        limit,
        || Ok((!case.left.facts("site")?.up).then_some(())),
    )?;
    case.right.start()?;
    stands(case, patience).context("after the responder came back")
}

/// Both sides say that it is up, and packets pass.
fn stands(case: &Case, patience: Duration) -> Result<()> {
    for peer in [&case.left, &case.right] {
        wait_for(&format!("{} to say that the tunnel is up", peer.kind()), patience, || {
            Ok(peer.facts("site")?.up.then_some(()))
        })?;
    }
    carries(case, patience)
}

fn side(case: &Case, left: bool) -> &dyn Peer {
    if left { case.left.as_ref() } else { case.right.as_ref() }
}

fn other_ike(before: &Facts, after: &Facts) -> bool {
    before.ike_spi != after.ike_spi
}

/// Does something, and waits until both sides are up and say that it changed what they had.
fn changes(
    case: &mut Case,
    what: &str,
    patience: Duration,
    changed: impl Fn(&Facts, &Facts) -> bool,
    act: impl FnOnce(&Case) -> Result<()>,
) -> Result<()> {
    let before = case.facts()?;
    act(case)?;
    for (peer, before) in [&case.left, &case.right].into_iter().zip(&before) {
        wait_for(&format!("{what} at {}", peer.kind()), patience, || {
            let after = peer.facts("site")?;
            Ok((after.up && changed(before, &after)).then_some(()))
        })?;
    }
    Ok(())
}

/// A packet passes each way, and none in the clear.
fn carries(case: &Case, patience: Duration) -> Result<()> {
    case.wait_ping(patience)?;
    let family = case.tunnel.inner.first().copied().unwrap_or(Family::V4);
    let to = case.sites.left.host_address(family, 0);
    wait_for(&format!("a ping to {to}"), patience, || {
        let gap = Duration::from_millis(50);
        Ok((case.sites.right.host.ping(to, 1, gap)? == 1).then_some(()))
    })?;
    for site in [&case.sites.left, &case.sites.right] {
        let (esp, readable) = site.counted()?;
        ensure!(readable == 0 && esp > 0, "{esp} ESP packets, {readable} readable ones");
    }
    Ok(())
}
