//! UDP: whatever its length, alone, in bursts that travel as one super-packet (USO), or in fragments, a datagram arrives
//! unchanged, once, and in its order.

use anyhow::{Context as _, Result, ensure};
use testkit::datagrams::{Load, Shape, datagrams};
use testkit::netns::Family;

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
}

fn of_every_length(case: &mut Case, family: Family) -> Result<()> {
    case.up()?;
    let loads = [
        Load { flows: 8, bursts: 500, shape: Shape::Single(1400), pace: 4_000_000 },
        Load { flows: 8, bursts: 40, shape: Shape::Burst(1350), pace: 8_000_000 },
        Load { flows: 4, bursts: 150, shape: Shape::Exactly(4000), pace: 4_000_000 },
    ];
    let sides = [(&case.sites.left, &case.sites.right), (&case.sites.right, &case.sites.left)];
    for load in loads {
        let before = device_packets(case)?;
        let carried = std::thread::scope(|scope| {
            let both = sides.map(|(from, to)| {
                let address = to.host_address(family, 0);
                scope.spawn(move || datagrams(&from.host, &to.host, address, load))
            });
            let joined = both.map(|one| one.join().unwrap_or_else(|_| anyhow::bail!("a panic")));
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

/// Both gateways' devices, both ways.
fn device_packets(case: &Case) -> Result<u64> {
    let ours = [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours());
    ours.map(|ours| ours.device_packets().map(|(rx, tx)| rx + tx)).sum()
}
