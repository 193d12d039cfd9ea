//! One of the tunnels: its namespaces and gateways, and what is done to them.
//!
//! ```text
//!   left.host ── left (ours) ══ out ══ right (ours or strongSwan) ── right.host
//!                        └ nft: 5 % of what comes in is dropped, at times all ┘
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Netns, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, pause, wait_for};
use testkit::strongswan::StrongSwan;

use super::sample::{Sample, Series};

pub(super) struct Tunnel {
    pub(super) name: &'static str,
    // Before the namespaces that they run in.
    left: Box<dyn Peer>,
    right: Box<dyn Peer>,
    sites: Sites,
}

/// Percent of the packets that come in from outside, at each end.
const LOSS: u32 = 5;
const CHILD_SECONDS: u32 = 10;
const IKE_SECONDS: u32 = 40;
const GAP: Duration = Duration::from_millis(150);

impl Tunnel {
    /// Builds it and waits until it is up; the loss begins then.
    pub(super) fn start(
        name: &'static str,
        with_swan: bool,
        program: &Path,
        dir: &Path,
    ) -> Result<Self> {
        let sites = Sites::uncounted(Between::Wire)?;
        let (left, right) = connections(&sites);
        let ours = |netns: &Netns, spec: GatewaySpec| -> Result<Box<dyn Peer>> {
            let ours = Ours::new(program, netns, spec, dir)?.quiet();
            rewrite(&ours, |text| {
                let lives = format!(
                    "allow_legacy = true\nesp_lifetime = \"{CHILD_SECONDS}s\"\nike_lifetime = \"{IKE_SECONDS}s\""
                );
                text.replace("allow_legacy = true", &lives)
            })?;
            Ok(Box::new(ours))
        };
        let right_spec = spec("right", right);
        let right: Box<dyn Peer> = if with_swan {
            Box::new(StrongSwan::new(&sites.right.gateway, right_spec, dir)?)
        } else {
            ours(&sites.right.gateway, right_spec)?
        };
        let left = ours(&sites.left.gateway, spec("left", left))?;
        let mut tunnel = Self { name, left, right, sites };
        tunnel.right.start().context("right")?;
        tunnel.left.start().context("left")?;
        let _after = tunnel.agreed(Duration::from_secs(20))?;
        for gateway in tunnel.gateways() {
            gateway.nft(&format!(
                "table inet soak {{\n\
                 chain in {{ type filter hook prerouting priority -310; }}\n\
                 chain cut {{ type filter hook prerouting priority -311; }}\n\
                 }}\n\
                 add rule inet soak in iifname \"out\" meta l4proto {{ udp, esp }} \
                 numgen random mod 100 < {LOSS} drop\n"
            ))?;
        }
        Ok(tunnel)
    }

    fn gateways(&self) -> [&Netns; 2] {
        [&self.sites.left.gateway, &self.sites.right.gateway]
    }

    fn ours(&self) -> impl Iterator<Item = (&'static str, &Ours)> {
        let ends = [("left", &self.left), ("right", &self.right)];
        ends.into_iter().filter_map(|(side, peer)| Some((side, peer.as_ours()?)))
    }

    /// One for each gateway of ours.
    pub(super) fn series(&self) -> Vec<Series> {
        self.ours().map(|(side, _)| Series::new(format!("{}/{side}", self.name))).collect()
    }

    /// What each of ours is like now.
    pub(super) fn samples(&mut self) -> Result<Vec<Sample>> {
        let mut all = Vec::new();
        for (side, peer) in [("left", &mut self.left), ("right", &mut self.right)] {
            if peer.as_ours().is_none() {
                continue;
            }
            let ended = peer.daemon().ended()?;
            ensure!(ended.is_none(), "{side} of {} ended: {ended:?}\n{}", self.name, peer.log());
            let pid = peer.daemon().pid().context("not started")?;
            all.push(Sample::of(pid, &peer.sas()?)?);
        }
        Ok(all)
    }

    /// Pings for so long: asked, answered.
    pub(super) fn ping(&self, time: Duration) -> Result<(u16, u16)> {
        let count = time.saturating_sub(GAP * 4).as_millis() / GAP.as_millis();
        let count = u16::try_from(count.max(1))?;
        let to = self.sites.right.host_address(Family::V4, 0);
        Ok((count, self.sites.left.host.ping(to, count, GAP)?))
    }

    /// Nothing passes for so long.
    pub(super) fn cut(&self, time: Duration) -> Result<()> {
        for gateway in self.gateways() {
            gateway.nft("add rule inet soak cut iifname \"out\" drop\n")?;
        }
        pause(time);
        self.gateways().iter().try_for_each(|gateway| gateway.nft("flush chain inet soak cut\n"))
    }

    pub(super) fn end_loss(&self) -> Result<()> {
        self.gateways().iter().try_for_each(|gateway| gateway.nft("delete table inet soak\n"))
    }

    /// Another description, and another set of networks every other time, so that the SAs are concerned.
    pub(super) fn reload(&self, number: u32) -> Result<()> {
        for (_, ours) in self.ours() {
            let line = format!("description = \"{number}\"");
            rewrite(ours, |text| {
                let old = text.lines().find(|line| line.starts_with("description"));
                match old.map(str::to_owned) {
                    Some(old) => text.replace(&old, &line),
                    None => {
                        text.replace("[connection.site]", &format!("[connection.site]\n{line}"))
                    }
                }
            })?;
            ours.tell(&["reload"])?;
        }
        Ok(())
    }

    /// Waits until both ends say that they have the same one child, and packets pass; how long that took.
    pub(super) fn agreed(&self, patience: Duration) -> Result<Duration> {
        let begun = Instant::now();
        wait_for("both ends to agree", patience, || {
            let one = |peer: &dyn Peer| -> Result<Vec<(String, String)>> {
                let sas = peer.sas()?;
                let children = sas.iter().flat_map(|sa| &sa.children).filter(|it| it.installed);
                Ok(children.map(|child| child.spis.clone()).collect())
            };
            let (left, right) = (one(self.left.as_ref())?, one(self.right.as_ref())?);
            let same = match (left.as_slice(), right.as_slice()) {
                ([(ours, theirs)], [(their_in, their_out)]) => {
                    ours == their_out && theirs == their_in
                }
                _ => false,
            };
            let to = self.sites.right.host_address(Family::V4, 0);
            Ok((same && self.sites.left.host.ping(to, 5, GAP)? == 5).then_some(()))
        })
        .with_context(|| format!("{}\n{}", self.left.status(), self.right.status()))?;
        Ok(begun.elapsed())
    }
}

/// Writes another configuration, in one step, as an editor does.
fn rewrite(ours: &Ours, edit: impl FnOnce(String) -> String) -> Result<()> {
    let file = ours.config();
    let text = edit(std::fs::read_to_string(&file)?);
    let beside = file.with_extension("new");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(beside, file)?)
}

fn spec(name: &str, connection: ConnectionSpec) -> GatewaySpec {
    let listen = vec![connection.local.clone()];
    GatewaySpec { name: name.into(), listen, connections: vec![connection] }
}

fn connections(sites: &Sites) -> (ConnectionSpec, ConnectionSpec) {
    let left = ConnectionSpec {
        name: "site".into(),
        local: sites.own_outer(&sites.left, Family::V4),
        remote: Some(sites.right.outer(Family::V4)),
        local_id: "left.example.org".into(),
        remote_id: "right.example.org".into(),
        psk: "s2soak-Hn5uTf2gRm9cJe4aiOq3vY8sLw1dKx7Zp0b".into(),
        ppk: None,
        built_in: None,
        ike: "aes256gcm16-prfsha256-curve25519".into(),
        esp: "aes256gcm16-curve25519".into(),
        local_subnets: vec![sites.left.subnet(Family::V4, 0)],
        remote_subnets: vec![sites.right.subnet(Family::V4, 0)],
        initiate: true,
        dpd: (Duration::from_secs(2), Duration::from_secs(6)),
        ours_extra: String::new(),
        swan_extra: String::new(),
        swan_connection: format!("rekey_time = {IKE_SECONDS}s"),
        swan_child: format!("rekey_time = {CHILD_SECONDS}s"),
        proofs: None,
        split: false,
    };
    let right = left.mirrored();
    (left, right)
}
