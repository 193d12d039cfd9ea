//! Routes for a router on our LAN: what is behind the peer, by way of this gateway.

use std::fmt::Write as _;

use super::Made;
use crate::config::Connection;

pub(super) fn text(connection: &Connection, via: Option<&str>) -> Made {
    let mut notes = Vec::new();
    let inside = connection.management_ip.map(|address| address.to_string());
    let gateway = via.map(str::to_owned).or(inside).unwrap_or_else(|| {
        notes.push("GATEWAY is this gateway's address on the LAN; --via fills it in".into());
        "GATEWAY".into()
    });
    let mut nets: Vec<_> = connection.children.iter().flat_map(|child| &child.remote).collect();
    nets.sort_unstable();
    nets.dedup();
    let mut text =
        format!("# networks behind \"{}\": for a router on this side\n", connection.name);
    for net in nets {
        let family = if matches!(net, ipnet::IpNet::V6(_)) { "-6 " } else { "" };
        let _ = writeln!(text, "ip {family}route add {net} via {gateway}");
    }
    Made { text, notes }
}
