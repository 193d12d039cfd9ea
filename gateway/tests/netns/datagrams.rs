//! UDP: whatever its length, alone, in bursts that travel as one super-packet (USO), or in fragments, a datagram arrives
//! unchanged, once, and in its order.

use std::thread::ScopedJoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::datagrams::{Load, Shape, datagrams};
use testkit::netns::Family;
use testkit::peer::ConnectionSpec;

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    for (name, family) in [("speed/datagrams/v4", Family::V4), ("speed/datagrams/v6", Family::V6)] {
        let tunnel = Tunnel { inner: vec![family], ..gcm(Pair::OursToOurs) };
        list.tunnel(name, tunnel, move |case| of_every_length(case, family));
    }
    // Here what is padded to one length may be of several.
    let cbc = Tunnel::new(Pair::OursToOurs);
    list.tunnel("speed/datagrams/cbc", cbc, |case| of_every_length(case, Family::V4));
    list.tunnel("speed/datagrams/through-rekeys", gcm(Pair::OursToOurs), through_rekeys);
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        left.split = true;
        right.split = true;
    };
    let inner = vec![Family::V4, Family::V6];
    let eight = Tunnel { inner, subnets: 2, edit, ..gcm(Pair::OursToOurs) };
    list.tunnel("speed/datagrams/several-sas", eight, several_sas);
}

fn of_every_length(case: &mut Case, family: Family) -> Result<()> {
    case.up()?;
    let loads = [
        Load { flows: 8, bursts: 500, shape: Shape::Single(1400), pace: 4_000_000 },
        Load { flows: 8, bursts: 40, shape: Shape::Burst(1350), pace: 8_000_000 },
        Load { flows: 4, bursts: 150, shape: Shape::Exactly(4000), pace: 4_000_000 },
        // Some of these in fragments, and in order all the same.
        Load { flows: 4, bursts: 300, shape: Shape::Single(4000), pace: 4_000_000 },
    ];
    let sides = [(&case.sites.left, &case.sites.right), (&case.sites.right, &case.sites.left)];
    for load in loads {
        let before = device_packets(case)?;
        let carried = std::thread::scope(|scope| {
            let both = sides.map(|(from, to)| {
                let address = to.host_address(family, 0);
                scope.spawn(move || datagrams(&from.host, &to.host, address, load))
            });
            let joined = both.map(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked")));
            joined.into_iter().collect::<Result<Vec<u64>>>()
        });
        let all: u64 = carried.with_context(|| format!("{:?}", load.shape))?.iter().sum();
        let through = device_packets(case)? - before;
        if let Shape::Burst(_) = load.shape {
            // Each direction goes through two devices, twice the number of datagrams if nothing is merged.
            ensure!(through < all, "{all} datagrams were {through} packets: not as super-packets");
        }
    }
    case.encrypted()?;
    case.dropped_only(&[])
}

/// A rekey moves a flow from one SA to the next in the middle of its bursts.
fn through_rekeys(case: &mut Case) -> Result<()> {
    case.up()?;
    let load = Load { flows: 4, bursts: 150, shape: Shape::Burst(1350), pace: 4_000_000 };
    let case = &*case;
    let sides = [(&case.sites.left, &case.sites.right), (&case.sites.right, &case.sites.left)];
    std::thread::scope(|scope| {
        let both = sides.map(|(from, to)| {
            let address = to.host_address(Family::V4, 0);
            scope.spawn(move || datagrams(&from.host, &to.host, address, load))
        });
        for left in [true, false, true] {
            crate::rekey::child_now(case, left)?;
            crate::rekey::ike_now(case, left)?;
        }
        ensure!(!both.iter().any(ScopedJoinHandle::is_finished), "it ended before the rekeys");
        for one in both {
            one.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        }
        Ok(())
    })?;
    case.encrypted()?;
    case.dropped_only(&[])
}

/// Flows of both families and between four pairs of networks, each pair with an SA of its own, at the same time.
fn several_sas(case: &mut Case) -> Result<()> {
    case.up()?;
    let bursts = Load { flows: 4, bursts: 30, shape: Shape::Burst(1350), pace: 2_000_000 };
    let single = Load { flows: 4, bursts: 200, shape: Shape::Single(1400), pace: 1_000_000 };
    let (from, to) = (&case.sites.left, &case.sites.right);
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        for family in [Family::V4, Family::V6] {
            for index in 0..2 {
                for load in [bursts, single] {
                    let address = to.host_address(family, index);
                    all.push(scope.spawn(move || datagrams(&from.host, &to.host, address, load)));
                }
            }
        }
        for one in all {
            one.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    case.encrypted()?;
    case.dropped_only(&[])
}

/// Both gateways' devices, both ways.
fn device_packets(case: &Case) -> Result<u64> {
    let ours = [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours());
    ours.map(|ours| ours.device_packets().map(|(rx, tx)| rx + tx)).sum()
}
